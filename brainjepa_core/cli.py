"""Commands of a researcher at one machine: import scans, pretrain, measure."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

if TYPE_CHECKING:  # torch, scipy and the like are imported by the commands that need them
    import numpy as np
    from numpy.typing import NDArray

    from brainjepa_core.downstream.measure import Row
    from brainjepa_core.gradients import ConsensusBasis
    from brainjepa_core.pretraining.study import LocalStudy
    from brainjepa_core.signals.store import ScanStore
    from brainjepa_core.signals.windows import Windows

app = typer.Typer(
    help="Hospitals pretrain one Brain-JEPA together; scans stay where they are.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_show_locals=False,
)
console = Console()

Stores = Annotated[
    list[Path], typer.Argument(help="Scan stores, or folders of scan stores.", exists=True)
]
SettingsFile = Annotated[
    Path | None, typer.Option("--settings", help="YAML of a local study (site_configs/).")
]
Participants = Annotated[
    Path | None, typer.Option(help="BIDS participants.tsv.", exists=True, dir_okay=False)
]
Device = Annotated[str, typer.Option(help="cpu, cuda, cuda:1 ...")]


@app.callback()
def _main() -> None:
    """Hospitals pretrain one Brain-JEPA together; scans stay where they are."""


@app.command("import")
def import_scans(
    archives: Annotated[list[Path], typer.Argument(help="Site archives (.npz).", exists=True)],
    out: Annotated[Path, typer.Option(help="Folder that gets one store a site.")],
    participants: Participants = None,
) -> None:
    """Import site archives, one store each; repeating it changes nothing."""
    from brainjepa_core.signals.archives import import_site_archive

    with errors_in_one_line():
        if len({archive.stem for archive in archives}) < len(archives):
            raise ValueError(
                "expected archives of different names, found two of one name, whose sites would "
                "become one store; rename one, or import them into different folders"
            )
        for archive in archives:
            store = import_site_archive(archive, out / archive.stem, participants)
            name = escape(archive.stem)
            console.print(f"{name}: {len(store.records)} scans, {len(store.atlas)} ROIs")


@app.command("import-folder")
def import_folder(
    folder: Annotated[
        Path, typer.Argument(help="One TSV, CSV or NPY a scan.", exists=True, file_okay=False)
    ],
    names: Annotated[
        Path, typer.Option(help="ROI names, one a line.", exists=True, dir_okay=False)
    ],
    tr: Annotated[float, typer.Option(help="Repetition time in seconds.")],
    out: Annotated[Path, typer.Option(help="Folder of the store.")],
    participants: Participants = None,
) -> None:
    """Import a folder of parcellated scans."""
    from brainjepa_core.signals.archives import import_directory

    with errors_in_one_line():
        store = import_directory(folder, names, out, tr, participants)
        console.print(f"{len(store.records)} scans, {len(store.atlas)} ROIs")


@app.command()
def pretrain(
    stores: Stores,
    out: Annotated[Path, typer.Option(help="Run folder; an unfinished run is resumed.")],
    settings: SettingsFile = None,
    device: Device = "cpu",
) -> None:
    """Pretrain on the stores' people pooled; ends with OUT/final."""
    with errors_in_one_line():
        pretrain_run(out, find_stores(stores), _read_study(settings), device)
        place = escape(str(out / "final"))
        console.print(f"[bold]{place}[/bold] holds the model", soft_wrap=True)


@app.command()
def measure(
    run: Annotated[Path, typer.Argument(help="Folder of a finished run.", exists=True)],
    stores: Stores,
    settings: SettingsFile = None,
    device: Device = "cpu",
) -> None:
    """The yardstick: R2 of held-out people from pooled embeddings, beside random weights."""
    with errors_in_one_line():
        from brainjepa_core.downstream.figure import draw_run

        study, opened = _read_study(settings), find_stores(stores)
        print_rows(measure_run(run, opened, study, device))
        console.print(f"The run in one picture: [bold]{draw_run(run, opened[0].atlas)}[/bold]")


def pretrain_run(run: Path, stores: list[ScanStore], study: LocalStudy, device: str) -> None:
    """Train to the study's last step, resuming what RUN holds."""
    from brainjepa_core.pretraining.loop import pretrain as run_loop
    from brainjepa_core.pretraining.study import provenance
    from brainjepa_core.signals.windows import Windows

    require_device(device)
    windows = Windows(stores, study.windows)
    _print_start(windows, study)  # refuses settings of the model before anything is written
    basis, _ = _basis_of_run(windows, study, run)
    training = study.new_training(basis, device)
    run_loop(training, windows, provenance(windows, basis), run)


def measure_run(run: Path, stores: list[ScanStore], study: LocalStudy, device: str) -> list[Row]:
    """Rows of the yardstick for RUN/final; also written to RUN/yardstick.json."""
    from dataclasses import asdict

    from brainjepa_core.downstream.measure import (
        measure_connectivity,
        measure_model,
        networks_of,
        outcomes_of,
    )
    from brainjepa_core.files import atomic_path
    from brainjepa_core.model.checkpoint import read_model
    from brainjepa_core.pretraining.study import provenance
    from brainjepa_core.signals.windows import Windows

    require_device(device)
    model, found = read_model(run / "final")
    windows = Windows(stores, study.windows)
    basis, mean_fc = _basis_of_run(windows, study, run)
    provenance(windows, basis).require(found)
    if model.settings != study.model_settings(len(basis.rois)):
        raise ValueError(
            "expected the model settings of the run, found others, so that random weights would "
            "be those of another model; give the --settings it was pretrained with"
        )
    outcomes = outcomes_of(windows, mean_fc)
    rows = measure_model("pretrained", model.to(device), windows, outcomes)
    rows += measure_model("random weights", study.new_model(basis).to(device), windows, outcomes)
    rows += measure_connectivity(windows, outcomes, networks_of(windows, basis.gradients))
    with atomic_path(run / "yardstick.json") as temporary:
        temporary.write_text(json.dumps([asdict(row) for row in rows], indent=1) + "\n")
    return rows


def find_stores(paths: list[Path]) -> list[ScanStore]:
    """Open stores; a folder of stores stands for all of them, in order of their names."""
    from brainjepa_core.signals.store import HEADER, ScanStore

    found = []
    for path in paths:
        inside = sorted(p.parent for p in path.glob(f"*/{HEADER}"))
        found += [path] if (path / HEADER).exists() or not inside else inside
    # A store named twice (by itself and in its folder) would make every person two people.
    once: dict[Path, Path] = {}
    for path in found:
        once.setdefault(path.resolve(), path)
    return [ScanStore.open(path) for path in once.values()]


def require_device(device: str) -> None:
    """Refuse a device that this machine does not have.

    Raises
    ------
    ValueError
        Naming it.
    """
    import torch

    try:
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:  # torch's own texts run over many lines
        raise ValueError(
            f"expected a device of this machine, found '{device}'; use cpu, or cuda where torch "
            "sees a GPU"
        ) from error


def print_rows(rows: list[Row]) -> None:
    """Print the yardstick: one line a model and pool, one column an outcome."""
    outcomes = list(dict.fromkeys(row.outcome for row in rows))
    table = Table(title="Held-out R2 (5 folds, ridge); 0 is knowing nothing")
    for heading in ("model", "pool", "features", *outcomes):
        table.add_column(heading, justify="left" if heading in ("model", "pool") else "right")
    cells: dict[tuple[str, str, int], dict[str, float]] = {}
    for row in rows:
        cells.setdefault((row.model, row.pool, row.features), {})[row.outcome] = row.r2
    for (model, pool, features), values in cells.items():
        shown = [f"{values[o]:.3f}" if o in values else "-" for o in outcomes]
        table.add_row(model, pool, str(features), *shown)
    console.print(table)


def _read_study(path: Path | None) -> LocalStudy:
    from brainjepa_core.pretraining.study import LocalStudy
    from brainjepa_core.settings import read_settings

    return LocalStudy() if path is None else read_settings(path, LocalStudy)


def _basis_of_run(
    windows: Windows, study: LocalStudy, run: Path
) -> tuple[ConsensusBasis, NDArray[np.float64]]:
    """The run's basis, computed once and kept in RUN/basis.npz, and the mean connectivity."""
    from brainjepa_core.gradients import ConsensusBasis
    from brainjepa_core.pretraining.basis import connectivity_sum

    total = connectivity_sum(windows)
    path = run / "basis.npz"
    if path.exists():
        basis = ConsensusBasis.load(path)
        basis.require_rois(windows.atlas.rois)
    else:
        basis = ConsensusBasis.from_sum(total, study.basis.components, study.basis.sparsity)
        basis.save(path)
    return basis, total.mean_fc()


def _print_start(windows: Windows, study: LocalStudy) -> None:
    s = study.model_settings(len(windows.atlas))
    console.print(
        f"{windows.subjects} people of {len(windows.stores)} sites, {s.rois} ROIs x {s.frames} "
        f"frames = {s.tokens} tokens; {study.preset}, recipe {study.recipe}, "
        f"{study.training.schedule.total_steps} steps of {study.training.batch_size}"
    )


@contextmanager
def errors_in_one_line() -> Iterator[None]:
    """Print what a user can mend in one line, without a traceback, and exit with 1."""
    try:
        yield
    except (ValueError, OSError) as error:
        text = escape(" ".join(_text(error).split()))
        Console(stderr=True).print(f"[red]Error:[/red] {text}", highlight=False, soft_wrap=True)
        raise typer.Exit(1) from error


def _text(error: ValueError | OSError) -> str:
    from pydantic import ValidationError

    from brainjepa_core.settings import problems_of

    return problems_of(error) if isinstance(error, ValidationError) else str(error)
