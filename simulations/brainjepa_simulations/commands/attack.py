"""The command that attacks a study of made-up people."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape
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
from brainjepa_core.files import atomic_path

if TYPE_CHECKING:
    from brainjepa_simulations.attacks.bench import Found

JSON = "attacks.json"


def attack(
    scenario: Annotated[
        str,
        typer.Argument(help="YAML with a cohort, or a shipped scenario."),
        ReadBy("brainjepa_simulations.scenario:read_scenario"),
    ] = "attacked",
    only: Annotated[
        list[str] | None, typer.Option(help="One attack by name; give it again for more.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder for a page of the results.", callback=folder_to_write),
    ] = None,
    as_json: Json = False,
) -> None:
    """Attack a study of made-up people, with and without each protection: what is found of them."""
    with errors_in_one_line():
        require("flwr", "opacus", "cryptography")
        from brainjepa_simulations.attacks.bench import broken, require_attacks, run_bench
        from brainjepa_simulations.attacks.page import write_attacks
        from brainjepa_simulations.scenario import read_scenario

        names = require_attacks(only or ())
        chosen = read_scenario(scenario)
        if out is not None:
            out.mkdir(parents=True, exist_ok=True)  # before minutes of work
            keep_log(out)
        shown = Console(stderr=True)  # what is printed may be read by a program
        with waiting(shown, "Attacks", len(names), transient=True) as work:
            found = []
            for one in run_bench(chosen, names, began=lambda name: work.update(name)):
                found.append(one)
                work.advance()
        told = json.dumps([one.told() for one in found], indent=1)
        if as_json:
            print_json([one.told() for one in found])
        else:
            console.print(_table(found))
        if out is not None:
            with atomic_path(out / JSON) as temporary:
                temporary.write_text(told + "\n", encoding="utf-8")
            page = write_attacks(out, scenario, found)
            shown.print(f"Page: [bold]{escape(str(page))}[/bold]", soft_wrap=True)
        wrong = broken(found)
        if wrong:
            raise ValueError(
                f"expected every protection to keep what it promises, found {len(wrong)} that do "
                f"not ({'; '.join(wrong)}); look for what was changed in it"
            )


def _table(found: Sequence[Found]) -> Table:
    from brainjepa_simulations.attacks.page import HEADINGS, cells

    table = Table("attack", *HEADINGS)
    for column in table.columns[3:]:
        column.justify = "right"
        column.no_wrap = True
    for one in found:
        for number, row in enumerate(one.rows):
            table.add_row("" if number else one.name, *cells(row), style="" if row.held else "bold")
        table.add_section()
    return table
