"""Commands of a consortium's coordinator."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from brainjepa_core.command.print_config import ReadBy
from brainjepa_core.command.terminal import Commands, Json, console, errors_in_one_line, print_json
from brainjepa_core.command.waiting import waiting
from brainjepa_server.consortium.cli import admit, init, propose, revoke, sites
from brainjepa_server.deploying.running_cli import log, start, status, stop

app = Commands(name="server", help="Coordinate a study of several sites.", no_args_is_help=True)
for command in (init, admit, revoke, sites, propose, start, status, log, stop):
    app.command()(command)


@app.callback()
def _main() -> None:
    """Coordinate a study of several sites."""


@app.command()
def plan(
    study: Annotated[
        Path,
        typer.Argument(metavar="STUDY.yaml", help="The study.", exists=True, dir_okay=False),
        ReadBy("brainjepa_server.settings:StudySettings"),
    ],
    people: Annotated[
        list[int], typer.Option(min=1, help="Of each site, rounded down; repeat it for each.")
    ],
    sites: Annotated[
        int | None, typer.Option(min=1, help="How many; those of the study's roster by default.")
    ] = None,
    epsilon: Annotated[
        float | None, typer.Option(help="To promise; the study's own by default, or else 8.")
    ] = None,
    noise: Annotated[
        float | None, typer.Option(help="Instead: its standard deviation, in units of the clip.")
    ] = None,
    delta: Annotated[
        float | None, typer.Option(help="Probability with which more may be told; else 1e-5.")
    ] = None,
    honest_sites: Annotated[
        int | None, typer.Option(min=1, help="Sites that share the noise, of each secure sum.")
    ] = None,
    rois: Annotated[int, typer.Option(min=4, help="ROIs of the atlas.")] = 450,
    as_json: Json = False,
) -> None:
    """Tell what differential privacy would cost a study, and what it would leave to learn from."""
    with errors_in_one_line():
        from brainjepa_core.settings import read_settings
        from brainjepa_server.planning import plan_lines, plan_study
        from brainjepa_server.settings import StudySettings

        settings = read_settings(study, StudySettings)
        found = plan_study(
            settings,
            sites=sites,
            people=people,
            rois=rois,
            epsilon=epsilon,
            noise=noise,
            delta=delta,
            honest_sites=honest_sites,
        )
        if as_json:
            print_json(found)
            return
        for line in plan_lines(found):
            console.print(escape(line), highlight=False, soft_wrap=True)


@app.command()
def report(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="Folder of the study.", file_okay=False)
    ],
) -> None:
    """Write DIR/report.html, what the study reached round by round, and its models' cards."""
    from brainjepa_server.reporting.pages import write_pages

    with errors_in_one_line():
        with waiting(console, "Drawing the report"):
            page = write_pages(folder)
        console.print(f"Report: [bold]{escape(str(page))}[/bold]", soft_wrap=True)
