"""``brainjepa phenotypes``: the tables that a cohort hands out, in our words."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from brainjepa_core.command.command_log import keep_log
from brainjepa_core.command.print_config import ReadBy
from brainjepa_core.command.terminal import console, errors_in_one_line, file_to_write
from brainjepa_core.problems import counted


def phenotypes(
    cohort: Annotated[
        str,
        typer.Argument(help="ukb, hcp_aging, adni, macc, oasis3, camcan, or a YAML."),
        ReadBy("brainjepa_core.signals.tables.cohorts.recipes:load_recipe"),
    ],
    tables: Annotated[
        list[Path], typer.Argument(help="Tables that the cohort hands out.", exists=True)
    ],
    out: Annotated[
        Path,
        typer.Option(help="participants.tsv that is written.", callback=file_to_write),
    ],
    column: Annotated[
        list[str] | None,
        typer.Option(
            metavar="OURS=THEIRS", help="The cohort's name of one of our columns; may be repeated."
        ),
    ] = None,
) -> None:
    """Bring a cohort's own tables to the columns and words of the shipped tasks."""
    from brainjepa_core.signals.tables.cohorts.recipes import load_recipe
    from brainjepa_core.signals.tables.cohorts.tables import read_cohort, write_participants

    with errors_in_one_line():
        named = dict(_pair(word) for word in column or ())
        recipe = load_recipe(cohort)
        keep_log(out.parent)
        found = read_cohort(recipe, tables, named)
        write_participants(out, found)
        for note in found.notes:
            console.print(escape(note))
        console.print(
            f"{counted(len(found.people), 'person', 'people')} of {recipe.cohort}: "
            f"{', '.join(found.columns)} in [bold]{escape(str(out))}[/bold]",
            soft_wrap=True,
        )


def _pair(word: str) -> tuple[str, str]:
    ours, equals, theirs = word.partition("=")
    if not (ours and equals and theirs):
        raise ValueError(
            f"expected --column OURS=THEIRS, such as age=AGE_AT_SCAN, found '{word}'; write both"
        )
    return ours, theirs
