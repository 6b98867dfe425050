"""Commands of a researcher at one machine: run a whole consortium here."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.table import Table

from brainjepa_core.command.command_log import keep_log
from brainjepa_core.command.print_config import ReadBy
from brainjepa_core.command.terminal import (
    Json,
    console,
    errors_in_one_line,
    folder_to_write,
    print_json,
)
from brainjepa_core.command.waiting import waiting
from brainjepa_core.extras import require
from brainjepa_core.machine.processors import usable_cores

if TYPE_CHECKING:
    from brainjepa_server.record.gains import Gain
    from brainjepa_server.record.history import RunHistory
    from brainjepa_server.settings import StudySettings


def simulate(
    scenario: Annotated[
        str,
        typer.Argument(help="YAML, or a shipped scenario such as demo."),
        ReadBy("brainjepa_simulations.scenario:read_scenario", beside=("data", "device")),
    ],
    out: Annotated[Path, typer.Option(help="Folder of the run.", callback=folder_to_write)],
    data: Annotated[Path | None, typer.Option(help="Folder of stores or site archives.")] = None,
    site: Annotated[
        list[Path] | None,
        typer.Option(help="A real site's YAML: it is prepared, then takes a virtual one's place."),
        ReadBy("brainjepa_client.settings:SiteSettings"),
    ] = None,
    engine: Annotated[
        Literal["inprocess", "flower"], typer.Option(help="flower: Flower's simulation on Ray.")
    ] = "inprocess",
    address: Annotated[
        str | None, typer.Option(help="HOST:PORT of a Ray cluster, for --engine flower.")
    ] = None,
    device: Annotated[
        str | None,
        typer.Option(help="cpu, cuda, cuda:1 ..., of all sites; the scenario's without."),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue what OUT holds.")] = False,
    compare: Annotated[
        bool, typer.Option("--compare", help="Also train pooled, and each site alone.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Run a study with virtual sites on this machine; ends with OUT/final and OUT/report.html."""
    again = (
        f"`brainjepa simulate {scenario} --out {out} --resume`, with your other options, goes on"
    )
    with errors_in_one_line(again):
        require(*(("flwr", "ray") if engine == "flower" else ("flwr",)))
        from brainjepa_client.cli import prepared_site
        from brainjepa_core.machine.devices import require_device
        from brainjepa_server.record.history import SUMMARY, read_history
        from brainjepa_server.reporting.pages import write_pages
        from brainjepa_simulations.engines.engine import claim_run, run_study
        from brainjepa_simulations.engines.flower_engine import require_cluster
        from brainjepa_simulations.engines.virtual_sites import make_sites
        from brainjepa_simulations.left_out import tell_left_out, told_already
        from brainjepa_simulations.scenario import read_scenario

        if address is not None:
            if engine != "flower":
                raise ValueError(
                    f"expected --engine flower beside --address, found --engine {engine}; give "
                    "both to work on a Ray cluster, or neither"
                )
            require_cluster(address)
        chosen = read_scenario(scenario, data, device)
        require_device(chosen.device)
        if compare:
            require_comparable(chosen.study)
        _require_free(out, SUMMARY, resume)
        claim_run(out, chosen)
        keep_log(out)
        guests = [prepared_site(path) for path in site or ()]
        with waiting(console, "Making the sites"):
            stores = make_sites(chosen, out, guests)
        tell_left_out(chosen, stores, lambda line: console.print(line, markup=False))
        with waiting(console, "Study"), told_already():
            run_study(engine, chosen, out, len(stores), address)
        if compare:
            from brainjepa_simulations.baselines.compare import compare as train_baselines

            console.print("Baselines, with the same seed, basis and number of local steps:")
            # On a GPU one after the other: what several hold at once may be more than it has.
            processes = max(1, usable_cores() // chosen.threads) if chosen.device == "cpu" else 1
            baselines = train_baselines(chosen, out, stores, processes)
            with waiting(console, "Baselines", len(stores) + 1) as work, closing(baselines) as done:
                for name in done:
                    console.print(f"  {name}")
                    work.advance()
        history = read_history(out)
        if history.baselines and not as_json:
            console.print(comparison(history))
        with waiting(console, "Drawing the report"):
            report = write_pages(out, stores[0].atlas)
        if as_json:
            told = {"baselines": history.baselines, "gains": history.gains}
            print_json({"model": out / "final", "report": report, **told})
        console.print(
            f"Model: [bold]{out / 'final'}[/bold]", f"Report: [bold]{report}[/bold]", sep="\n"
        )


def demo(
    out: Annotated[
        Path,
        typer.Option(
            help="Folder of the demo; an earlier demo in it is replaced.", callback=folder_to_write
        ),
    ] = Path("demo-run"),
    as_json: Json = False,
) -> None:
    """A consortium of synthetic hospitals in minutes, beside pooled data and each site alone."""
    with errors_in_one_line():
        require("flwr")  # before anything is removed
        from brainjepa_simulations.demo_folder import demo_folder

        with demo_folder(out):
            simulate("demo", out, compare=True, as_json=as_json)


def comparison(history: RunHistory) -> Table:
    """R2 of each model by group of outcomes, from the headline pool; and of the other half."""
    from brainjepa_core.evaluation.measure import HEADLINE
    from brainjepa_core.wire.messages import OTHER_HALF
    from brainjepa_server.record.history import FEDERATED, POOLED, RANDOM, START, is_alone

    known = [row for row in history.baselines if row.r2 is not None]
    probes = [row for row in known if row.pool == HEADLINE]
    windows = [row for row in known if row.outcome == OTHER_HALF]
    rows = probes + windows
    outcomes = sorted({row.outcome for row in rows})
    own = any(row.own_probes for row in probes)
    what = "R2 of the sites' own probes" if own else "R2 of held-out people"
    half = f"; {OTHER_HALF}: of a scan, by one window, held-out people" if windows else ""
    table = Table(title=f"{what}, pool {HEADLINE}{half}; 0 is knowing nothing")
    table.add_column("trained", no_wrap=True)
    for outcome in outcomes:
        table.add_column(textwrap.fill(outcome, 10, break_long_words=False), justify="right")
    kinds: dict[str, Callable[[str], bool]] = {
        "on all data in one place": lambda name: name == POOLED,
        "by the federation": lambda name: name == FEDERATED,
        "by each site alone (mean)": is_alone,
        "the model it began with": lambda name: name == START,
        "untrained (random weights)": lambda name: name == RANDOM,
    }
    for title, is_kind in kinds.items():
        cells = []
        for outcome in outcomes:
            found = [r.r2 for r in rows if is_kind(r.model) and r.outcome == outcome]
            cells.append(f"{sum(found) / len(found):.3f}" if found else "-")  # type: ignore[arg-type]
        if any(cell != "-" for cell in cells):
            table.add_row(title, *cells)
    shown = [g for g in history.gains if g.pool == HEADLINE or g.outcome == OTHER_HALF]
    _add_gains(table, outcomes, shown)
    return table


def _add_gains(table: Table, outcomes: Sequence[str], gains: Sequence[Gain]) -> None:
    """What the federation is ahead by at a site, with its interval; or that sites are too few."""
    from brainjepa_server.record.gains import FEWEST
    from brainjepa_server.record.history import POOLED, RANDOM

    sites = max((gain.sites for gain in gains), default=0)
    if not any(gain.low is not None for gain in gains):
        few = f"too few sites for an interval ({sites}; it takes {FEWEST})"
        table.caption = few if sites else None
        return
    for beside, title in ((RANDOM, "untrained"), (POOLED, "all in one place")):
        found = {gain.outcome: gain for gain in gains if gain.beside == beside}
        if found:
            table.add_section()
            lines = {"mean": f"federated less {title}", "low": "  95 % from", "high": "  to"}
            for name, label in lines.items():
                values = [getattr(found.get(outcome), name, None) for outcome in outcomes]
                table.add_row(label, *("-" if v is None else f"{v:+.3f}" for v in values))
    table.caption = f"differences: on a site's own people, mean over {sites} sites, Student's t"


def require_comparable(study: StudySettings) -> None:
    """Refuse to compare models by a yardstick that no site tells of.

    Raises
    ------
    ValueError
    """
    if study.privacy is not None:
        raise ValueError(
            "expected a study whose sites are asked for the yardstick, found protect: dp; leave "
            "--compare out, and measure the model on people of your own (brainjepa measure)"
        )


def _require_free(out: Path, summary: str, resume: bool) -> None:
    if (out / summary).exists() and not resume:
        raise ValueError(
            f"expected a new folder, found a study's {summary} in it; give --resume to continue "
            "that study, or another --out"
        )
