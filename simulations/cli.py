"""Commands of a researcher who has no data at hand yet."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from brainjepa_core.cli import console, errors_in_one_line, measure_run, pretrain_run, print_rows


def demo(
    out: Annotated[Path, typer.Option(help="Folder of the demo.")] = Path("demo-run"),
    scenario: Annotated[
        Path | None, typer.Option(help="YAML of another cohort and study.", exists=True)
    ] = None,
) -> None:
    """Pretrain on synthetic hospitals, then ask what was learned; minutes, no data needed."""
    from brainjepa_core.downstream.figure import draw_run
    from brainjepa_core.settings import read_settings
    from brainjepa_core.signals.store import ScanStore
    from simulations.scenario import SCENARIOS, Scenario
    from simulations.stores import write_cohort

    with errors_in_one_line():
        chosen = read_settings(scenario or SCENARIOS / "demo.yaml", Scenario)
        console.print(f"Writing {chosen.cohort.sites} synthetic hospitals to {out / 'stores'}")
        stores = [ScanStore.open(path) for path in write_cohort(chosen.cohort, out / "stores")]
        pretrain_run(out, stores, chosen.study, "cpu")
        print_rows(measure_run(out, stores, chosen.study, "cpu"))
        console.print(f"Model: [bold]{out / 'final'}[/bold]; pictures: {draw_run(out, stores[0].atlas)}")
