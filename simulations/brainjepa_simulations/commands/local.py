"""Commands of a researcher at one machine: import scans, pretrain, measure."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.markup import escape
from rich.table import Table

from brainjepa_core.command.command_log import keep_log, print_only
from brainjepa_core.command.print_config import ReadBy
from brainjepa_core.command.terminal import (
    AGAIN,
    Json,
    console,
    errors_in_one_line,
    folder_to_write,
    print_json,
)
from brainjepa_core.command.waiting import waiting
from brainjepa_core.files import require_outside
from brainjepa_core.problems import counted

if TYPE_CHECKING:  # torch, scipy and the like are imported by the commands that need them
    from brainjepa_core.evaluation.measure import YardstickScore
    from brainjepa_core.pretraining.parallel.settings import Devices, Reduce
    from brainjepa_core.pretraining.settings import PretrainingSettings
    from brainjepa_core.signals.storing.store import ScanStore

Stores = Annotated[
    list[Path], typer.Argument(help="Scan stores, or folders of scan stores.", exists=True)
]
SettingsFile = Annotated[
    Path | None,
    typer.Option(help="YAML of pretraining (site_configs/); defaults without."),
    ReadBy("brainjepa_core.pretraining.settings:PretrainingSettings"),
]
Participants = Annotated[
    Path | None, typer.Option(help="BIDS participants.tsv.", exists=True, dir_okay=False)
]


Missing = Annotated[
    list[str] | None, typer.Option(help="Code for missing in participants.tsv, such as -9999.")
]
Device = Annotated[str, typer.Option(help="cpu, cuda, cuda:1 ...")]


def import_scans(
    archives: Annotated[
        list[Path], typer.Argument(help="Site archives (.npz, .h5 or .mat).", exists=True)
    ],
    out: Annotated[
        Path, typer.Option(help="Folder that gets one store a site.", callback=folder_to_write)
    ],
    participants: Participants = None,
    missing: Missing = None,
) -> None:
    """Import site archives, one store each; repeating it changes nothing."""
    from brainjepa_core.signals.importing.importers import import_site_archive

    with errors_in_one_line(AGAIN):
        if len({archive.stem for archive in archives}) < len(archives):
            raise ValueError(
                "expected archives of different names, found two of one name, whose sites would "
                "become one store; rename one, or import them into different folders"
            )
        keep_log(out)
        with waiting(console, "Importing", len(archives)) as work:
            for archive in archives:
                work.update(f"Importing {archive.stem}")
                store = import_site_archive(
                    archive,
                    out / archive.stem,
                    participants,
                    say=_note(archive.stem),
                    missing=missing or (),
                )
                work.advance()
                console.print(f"{escape(archive.stem)}: {_holds(store)}")


def _holds(store: ScanStore) -> str:
    return f"{counted(len(store.records), 'scan')}, {counted(len(store.atlas), 'ROI')}"


def _note(where: str) -> Callable[[str], None]:
    return lambda text: print_only(console, f"{where}: {text}")  # may name people


def import_folder(
    folder: Annotated[
        Path,
        typer.Argument(help="Series of scans, as tables or arrays.", exists=True, file_okay=False),
    ],
    names: Annotated[
        Path, typer.Option(help="ROI names, one a line.", exists=True, dir_okay=False)
    ],
    tr: Annotated[float, typer.Option(help="Repetition time in seconds.")],
    out: Annotated[Path, typer.Option(help="Folder of the store.", callback=folder_to_write)],
    participants: Participants = None,
    missing: Missing = None,
    time: Annotated[
        Literal["rows", "columns"] | None,
        typer.Option(help="What frames are, if files do not say."),
    ] = None,
) -> None:
    """Import a folder of parcellated scans."""
    from brainjepa_core.signals.importing.importers import import_directory

    with errors_in_one_line(AGAIN):
        require_outside(out, folder)
        keep_log(out.parent)
        with waiting(console, "Importing"):
            store = import_directory(
                folder,
                names,
                out,
                tr,
                participants,
                say=_note(folder.name),
                time=time,
                missing=missing or (),
            )
        console.print(_holds(store))


def relabel(
    store: Annotated[Path, typer.Argument(help="A store that was imported.", exists=True)],
    participants: Annotated[
        list[Path], typer.Option(help="participants.tsv, or another table of people.", exists=True)
    ],
) -> None:
    """Give scans that are in a store already the phenotypes of tables, and no others."""
    from brainjepa_core.signals.importing.relabel import relabel_imported
    from brainjepa_core.signals.storing.store import ScanStore

    with errors_in_one_line(AGAIN):
        opened = ScanStore.open(store)
        changed, notes = relabel_imported(opened, participants)
        for note in notes:
            console.print(escape(note))
        scans = counted(len(opened.records), "scan")
        console.print(f"{changed} of {scans} have other phenotypes now")


def pretrain(
    stores: Stores,
    out: Annotated[
        Path,
        typer.Option(help="Run folder; an unfinished run is resumed.", callback=folder_to_write),
    ],
    settings: SettingsFile = None,
    device: Annotated[
        str | None, typer.Option(help="cpu, cuda, cuda:1 ...", show_default="cpu")
    ] = None,
    precision: Annotated[
        Literal["fp32", "tf32", "bf16"],
        typer.Option(help="Of products; within the study's training.tolerance."),
    ] = "fp32",
    compile: Annotated[
        bool, typer.Option("--compile", help="Pass steps through torch.compile.")
    ] = False,
    attention: Annotated[
        Literal["fused", "cudnn", "packed"],
        typer.Option(help="Kernel; cudnn and packed (bf16) are a GPU's."),
    ] = "fused",
    devices: Annotated[
        str | None,
        typer.Option(help="Several in place of --device, a process each: cuda:0,cuda:1"),
    ] = None,
    reduce: Annotated[
        Literal["ordered", "sum"] | None,
        typer.Option(help="Several: the bits of one, or the fastest sum.", show_default="ordered"),
    ] = None,
    shard: Annotated[
        bool, typer.Option("--shard", help="Share AdamW's moments out among them.")
    ] = False,
) -> None:
    """Pretrain on the stores' people pooled; ends with OUT/final."""
    with errors_in_one_line(AGAIN):
        from brainjepa_core.machine.processors import usable_cores, use_threads
        from brainjepa_core.pretraining.computing.settings import Computing
        from brainjepa_core.pretraining.local import pretrain_locally
        from brainjepa_core.signals.storing.stores import open_stores
        from brainjepa_simulations.run_tracking import tracked

        computing = Computing(precision=precision, compile=compile, attention=attention)
        opened, study = open_stores(stores), _read_study(settings)
        together = _together(device, devices, reduce, shard)
        use_threads()
        keep_log(out)
        with tracked(out) as tracker:
            model = pretrain_locally(
                opened,
                out,
                study,
                device or "cpu",
                computing,
                say=console.print,
                on_begin=partial(tracker.start, study.model_dump(mode="json"), opened),
                on_log=tracker.log_line,
                together=together,
                processes=usable_cores(),
            )
            tracker.publish(model)
        console.print(f"[bold]{escape(str(model))}[/bold] holds the model", soft_wrap=True)


def _together(
    device: str | None, devices: str | None, reduce: Reduce | None, shard: bool
) -> Devices | None:
    """Several devices, where they are asked for; refuses what the other way never reads."""
    from brainjepa_core.pretraining.parallel.settings import several

    if devices is None:
        if reduce is not None or shard:
            raise ValueError(
                f"expected {'--shard' if shard else '--reduce'} beside --devices, found no "
                "--devices; name several, or leave it out"
            )
        return None
    if device is not None:
        raise ValueError("expected --device or --devices, found both; leave out one of them")
    return several(devices, reduce or "ordered", shard)


def measure(
    run: Annotated[
        Path, typer.Argument(help="Folder of a finished run.", exists=True, file_okay=False)
    ],
    stores: Stores,
    settings: SettingsFile = None,
    device: Device = "cpu",
    as_json: Json = False,
) -> None:
    """The yardstick: R2 of held-out people from pooled embeddings, beside random weights."""
    with errors_in_one_line():
        from brainjepa_core.evaluation.measured_run import measure_run
        from brainjepa_core.evaluation.run_figure import draw_run
        from brainjepa_core.signals.storing.stores import open_stores

        study, opened = _read_study(settings), open_stores(stores)
        keep_log(run)
        with waiting(console, "Measuring"):
            rows = measure_run(run, opened, study, device)
            picture = draw_run(run, opened[0].atlas)
        if as_json:
            print_json(rows)
        else:
            print_rows(rows)
        console.print(f"The run in one picture: [bold]{escape(str(picture))}[/bold]")


def export(
    model: Annotated[
        Path, typer.Argument(help="Folder of a model, a run or a study; or a .zip.", exists=True)
    ],
    out: Annotated[
        Path, typer.Option(help="New folder, or a new .zip of one.", callback=folder_to_write)
    ],
    form: Annotated[
        Literal["safetensors", "published", "onnx"],
        typer.Option(
            "--format",
            metavar="FORM",
            help="safetensors, onnx (the encoder), or published (as its authors keep theirs).",
        ),
    ] = "safetensors",
    licence: Annotated[
        str | None, typer.Option(help="Of the data, such as cc-by-nc-sa-3.0; for the card.")
    ] = None,
    results: Annotated[
        list[Path] | None,
        typer.Option(help="Folder of an evaluation of the model; its figures are in the card."),
    ] = None,
) -> None:
    """Write a model to hand on: weights, how signals are brought to them, and a card."""
    with errors_in_one_line():
        from brainjepa_core.models.sharing.export import export_model

        measured = []
        if results:  # what a card alone does not need takes seconds to import
            from brainjepa_core.evaluation.report.card_figures import figures_of

            measured = [partial(figures_of, folder) for folder in results]
        with waiting(console, "Writing the model"):
            export_model(model, out, form, licence, measured)
        console.print(f"[bold]{escape(str(out))}[/bold]", soft_wrap=True)


def print_rows(rows: list[YardstickScore]) -> None:
    """Print the yardstick: one line a model and pool, one column an outcome."""
    outcomes = list(dict.fromkeys(row.outcome for row in rows))
    table = Table(title="Held-out R2 (5 folds, ridge); 0 is knowing nothing")
    for heading in ("model", "pool", "features", *outcomes):
        justify: Literal["left", "right"] = "left" if heading in ("model", "pool") else "right"
        table.add_column(heading, justify=justify, overflow="fold")
    cells: dict[tuple[str, str, int], dict[str, float]] = {}
    for row in rows:
        cells.setdefault((row.model, row.pool, row.features), {})[row.outcome] = row.r2
    for (model, pool, features), values in cells.items():
        shown = [f"{values[o]:.3f}" if o in values else "-" for o in outcomes]
        table.add_row(model, pool, str(features), *shown)
    console.print(table)


def _read_study(path: Path | None) -> PretrainingSettings:
    from brainjepa_core.pretraining.settings import PretrainingSettings
    from brainjepa_core.settings import read_settings

    return PretrainingSettings() if path is None else read_settings(path, PretrainingSettings)
