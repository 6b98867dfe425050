"""``brainjepa simulate study``: the paper's studies, by one command each."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from brainjepa_core.command.command_log import keep_log
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
from brainjepa_core.machine.devices import require_device


def study(
    study: Annotated[
        str | None,
        typer.Argument(help="A study by name, or a YAML; lists them without."),
        ReadBy("brainjepa_simulations.paper_studies.settings:load_study"),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(
            help="Folder of stores or site archives; made-up people without.",
            exists=True,
            file_okay=False,
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder of the study; goes on where it stopped. By default study-NAME.",
            callback=folder_to_write,
        ),
    ] = None,
    minutes: Annotated[
        float, typer.Option(min=0, help="Leave out a model whose training takes longer.")
    ] = 30.0,
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:1 ...")] = "cpu",
    as_json: Json = False,
) -> None:
    """One of the paper's studies: models side by side, a page, a table, the paper's numbers."""
    with errors_in_one_line(AGAIN):
        if study is None:
            _list_studies()
            return
        from brainjepa_core.extras import require
        from brainjepa_simulations.paper_studies.running import run_paper_study

        require("flwr")
        require_device(device)
        folder = out or folder_to_write(Path(f"study-{Path(study).stem}"))
        keep_log(folder)
        with waiting(console, "Study") as work:
            found, page = run_paper_study(
                study, data, folder, device, minutes, say=lambda line: work.update(line)
            )
        if as_json:
            print_json(found.plain(page))
        for asked in () if as_json else found.asked:
            table = Table(title=asked.title)
            for heading in ("read by", *asked.metrics):
                table.add_column(heading)
            figures = {(row.model, row.metric): row.mean for row in asked.rows}
            for model in dict.fromkeys(row.model for row in asked.rows):
                cells = [figures.get((model, metric), float("nan")) for metric in asked.metrics]
                table.add_row(escape(model), *(f"{c:.3f}" if c == c else "n/a" for c in cells))
            console.print(table)
        for note in found.notes:
            console.print(escape(note))
        console.print(f"Page: [bold]{escape(str(page))}[/bold]", soft_wrap=True)


def _list_studies() -> None:
    from brainjepa_simulations.paper_studies.settings import shipped_studies

    for name, asks in shipped_studies().items():
        console.print(f"[bold]{name}[/bold]: {escape(asks)}", soft_wrap=True)
