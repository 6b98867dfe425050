"""``brainjepa schema``: what a YAML may hold, for editors that complete and check it."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from brainjepa_core.command.terminal import errors_in_one_line
from brainjepa_simulations.yaml_kinds import YAML_KINDS, Kind


def schema(kind: Annotated[Kind, typer.Argument(help="Of YAML.")]) -> None:
    """Print the JSON schema of a kind of YAML, by which editors complete and check such files."""
    with errors_in_one_line():
        typer.echo(text_of(kind), nl=False)


def text_of(kind: Kind) -> str:
    """The JSON schema of a kind, as a file has it."""
    from brainjepa_core.command.settings_schema import schema_of

    found = schema_of(YAML_KINDS[kind].settings)
    return json.dumps(found, indent=1, ensure_ascii=False) + "\n"
