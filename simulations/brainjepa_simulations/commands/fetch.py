"""``brainjepa fetch``: public data, for those with a network."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from brainjepa_core.command.command_log import keep_log
from brainjepa_core.command.terminal import (
    AGAIN,
    Commands,
    console,
    errors_in_one_line,
    folder_to_write,
)
from brainjepa_core.command.waiting import waiting
from brainjepa_core.problems import counted

app = Commands(name="fetch", help="Public data, for those with network access.")


@app.callback()
def _main() -> None:
    """Public data, for those with network access."""


@app.command()
def abide(
    out: Annotated[Path, typer.Option(help="Folder of the archives.", callback=folder_to_write)],
    sites: Annotated[list[str] | None, typer.Option("--site", help="Only this hospital.")] = None,
    max_mean_fd: Annotated[
        float | None, typer.Option(help="Most mean framewise displacement in mm.")
    ] = None,
) -> None:
    """ABIDE I through nilearn's fetcher, one site archive a hospital; CC BY-NC-SA, cite it."""
    from brainjepa_simulations.datasets.abide import fetch_abide

    with errors_in_one_line(AGAIN):
        keep_log(out.parent)
        with waiting(console, "Fetching"):
            counts = fetch_abide(
                out, sites, max_mean_fd=max_mean_fd, tell=lambda line: console.print(escape(line))
            )
        people = counted(sum(counts.values()), "person", "people")
        console.print(f"{people} of {counted(len(counts), 'hospital')} fetched")
