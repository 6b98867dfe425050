"""What every command shares: one console, and errors in one line each."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from brainjepa_core.version import versions

console = Console()
AGAIN = "run the same command again to go on"


def _print_versions(asked: bool) -> None:
    if asked:
        typer.echo(versions())
        raise typer.Exit


def options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", help="Print versions and exit.", callback=_print_versions, is_eager=True
        ),
    ] = False,
) -> None:
    """Hospitals pretrain one Brain-JEPA together; scans stay where they are."""


@contextmanager
def errors_in_one_line(stopped: str = "") -> Iterator[None]:
    """Print what a user can mend, one line a problem, without a traceback, and exit with 1.

    Parameters
    ----------
    stopped : str
        What Ctrl-C is answered with: how to go on, where what is done is kept. It exits with 130.
    """
    try:
        yield
    except (ValueError, OSError) as error:
        lines = (" ".join(line.split()) for line in _text(error).splitlines())
        text = escape("\n".join(line for line in lines if line))
        Console(stderr=True).print(f"[red]Error:[/red] {text}", highlight=False, soft_wrap=True)
        raise typer.Exit(1) from error
    except KeyboardInterrupt as error:
        text = f"stopped; {stopped}" if stopped else "stopped"
        Console(stderr=True).print(escape(text), highlight=False, soft_wrap=True)
        raise typer.Exit(130) from error


def _text(error: ValueError | OSError) -> str:
    from pydantic import ValidationError

    from brainjepa_core.settings import list_problems

    if isinstance(error, ValidationError):
        return "\n".join(list_problems(error))
    if isinstance(error, OSError) and error.strerror:  # without "[Errno 28]"
        where = "" if error.filename is None else f": '{error.filename}'"
        return f"{error.strerror[0].lower()}{error.strerror[1:]}{where}"
    return str(error)
