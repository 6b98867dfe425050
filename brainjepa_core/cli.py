"""Commands of a researcher at one machine: import scans, pretrain, measure."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:  # torch, scipy and the like are imported by the commands that need them
    from brainjepa_core.downstream.measure import Row
    from brainjepa_core.pretraining.study import LocalStudy
    from brainjepa_core.signals.store import ScanStore

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
Device = Annotated[str, typer.Option(help="cpu, cuda, cuda:1 ...")]


@app.callback()
def _main() -> None:
    """Hospitals pretrain one Brain-JEPA together; scans stay where they are."""


@app.command("import")
def import_scans(
    archives: Annotated[list[Path], typer.Argument(help="Site archives (.npz).", exists=True)],
    out: Annotated[Path, typer.Option(help="Folder that gets one store a site.")],
    participants: Annotated[Path | None, typer.Option(help="BIDS participants.tsv.")] = None,
) -> None:
    """Import site archives, one store each; repeating it changes nothing."""
    from brainjepa_core.signals.archives import import_site_archive

    with _errors():
        for archive in archives:
            store = import_site_archive(archive, out / archive.stem, participants)
            console.print(f"{archive.stem}: {len(store.records)} scans, {len(store.atlas)} ROIs")


@app.command("import-folder")
def import_folder(
    folder: Annotated[Path, typer.Argument(help="One TSV, CSV or NPY a scan.", exists=True)],
    names: Annotated[Path, typer.Option(help="ROI names, one a line.", exists=True)],
    tr: Annotated[float, typer.Option(help="Repetition time in seconds.")],
    out: Annotated[Path, typer.Option(help="Folder of the store.")],
    participants: Annotated[Path | None, typer.Option(help="BIDS participants.tsv.")] = None,
) -> None:
    """Import a folder of parcellated scans."""
    from brainjepa_core.signals.archives import import_directory

    with _errors():
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
    from brainjepa_core.pretraining.loop import pretrain as run_loop
    from brainjepa_core.pretraining.study import provenance
    from brainjepa_core.signals.windows import Windows

    with _errors():
        study = _read_study(settings)
        windows = Windows(find_stores(stores), study.windows)
        basis, _ = _basis_of_run(windows, study, out)
        training = study.new_training(basis, device)
        _print_start(windows, study)
        run_loop(training, windows, provenance(windows, basis), out)
        console.print(f"[bold]{out / 'final'}[/bold] holds the model")


@app.command()
def measure(
    run: Annotated[Path, typer.Argument(help="Folder of a finished run.", exists=True)],
    stores: Stores,
    settings: SettingsFile = None,
    device: Device = "cpu",
) -> None:
    """The yardstick: R2 of held-out people from pooled embeddings, beside random weights."""
    with _errors():
        study = _read_study(settings)
        print_rows(measure_run(run, find_stores(stores), study, device))


def measure_run(run: Path, stores: list[ScanStore], study: LocalStudy, device: str) -> list[Row]:
    """Rows of the yardstick for RUN/final; also written to RUN/yardstick.json."""
    from dataclasses import asdict

    from brainjepa_core.downstream.measure import measure_connectivity, measure_model, outcomes_of
    from brainjepa_core.files import atomic_path
    from brainjepa_core.model.checkpoint import read_model
    from brainjepa_core.pretraining.study import provenance
    from brainjepa_core.signals.windows import Windows

    windows = Windows(stores, study.windows)
    basis, mean_fc = _basis_of_run(windows, study, run)
    model, found = read_model(run / "final")
    provenance(windows, basis).require(found)
    outcomes = outcomes_of(windows, mean_fc)
    rows = measure_model("pretrained", model.to(device), windows, outcomes)
    rows += measure_model("random weights", study.new_model(basis).to(device), windows, outcomes)
    rows += measure_connectivity(windows, outcomes)
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
    return [ScanStore.open(path) for path in found]


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


def _basis_of_run(windows, study, run):  # type: ignore[no-untyped-def]
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


def _print_start(windows, study) -> None:  # type: ignore[no-untyped-def]
    s = study.model_settings(len(windows.atlas))
    console.print(
        f"{windows.subjects} people of {len(windows.stores)} sites, {s.rois} ROIs x {s.frames} "
        f"frames = {s.tokens} tokens; {study.preset}, recipe {study.recipe}, "
        f"{study.training.schedule.total_steps} steps of {study.training.batch_size}"
    )


class _errors:  # noqa: N801  (reads as a statement: with _errors():)
    """Errors a user can mend are printed in one line, without a traceback."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type | None, error: BaseException | None, trace: object) -> None:
        if isinstance(error, ValueError):
            Console(stderr=True).print(f"[red]Error:[/red] {error}", highlight=False)
            raise typer.Exit(1) from error
