"""Commands of a consortium's coordinator."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from brainjepa_core.terminal import Commands, console, errors_in_one_line
from brainjepa_core.waiting import waiting
from brainjepa_server.deploying.cli import admit, init, propose, revoke, sites

app = Commands(name="server", help="Coordinate a study of several sites.", no_args_is_help=True)
for command in (init, admit, revoke, sites, propose):
    app.command()(command)


@app.callback()
def _main() -> None:
    """Coordinate a study of several sites."""


@app.command()
def report(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="Folder of the study.", file_okay=False)
    ],
) -> None:
    """Write DIR/report.html: what the study reached, round by round and site by site."""
    from brainjepa_server.record.report import write_report

    with errors_in_one_line():
        with waiting(console, "Drawing the report"):
            page = write_report(folder)
        console.print(f"Report: [bold]{escape(str(page))}[/bold]", soft_wrap=True)
