"""What every command shares: one console, ``--verbose``, and errors in one line each."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, overload

import click
import typer
from rich.console import Console
from rich.markup import escape
from typer.core import TyperCommand, TyperGroup, TyperOption

from brainjepa_core.command.command_log import (
    LoggedConsole,
    be_verbose,
    keep_line,
    log_defect,
    log_error,
    logs,
)
from brainjepa_core.command.print_config import ReadBy, print_config, readers_of
from brainjepa_core.files import final_name
from brainjepa_core.problems import is_out_of_memory, plainly
from brainjepa_core.version import versions

console = LoggedConsole()
Json = Annotated[
    bool, typer.Option("--json", help="Print JSON, for programs; all else on standard error.")
]
AGAIN = "run the same command again to go on"
ANEW = "run the same command again, which begins anew"
_DEFECT = (
    "expected an end, or an error that says how to mend it, found a defect of brainjepa itself; "
    "report it with the end of '{}', which says where it is (look first whether it names a person)"
)
PASSED_ON = (click.exceptions.Exit, click.exceptions.Abort, click.ClickException)


class Commands(typer.Typer):
    """A group of commands, each a `Command`."""

    def __init__(self, **more: Any) -> None:
        super().__init__(cls=Group, **more)

    def command(self, name: str | None = None, **more: Any) -> Callable[[Any], Any]:
        """As typer's."""
        return super().command(name, cls=Command, **more)


class Group(TyperGroup):
    """Commands; a name that is one of a group below is told with that group's name.

    The name of a command may be two words, the first of which is another command's own name: then
    these two together mean the former.
    """

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As typer's."""
        if " ".join(args[:2]) in self.commands:
            args = [" ".join(args[:2]), *args[2:]]
        groups = [name for name, one in self.commands.items() if args[0] in _below(one)]
        if groups and args[0] not in self.commands:
            ctx.fail(f"No such command '{args[0]}'. Did you mean '{groups[0]} {args[0]}'?")
        return super().resolve_command(ctx, args)


def _below(command: click.Command) -> Collection[str]:
    return command.commands if isinstance(command, click.Group) else ()


class Command(TyperCommand):
    """A command that takes ``--verbose`` and ends with no traceback, whatever went wrong."""

    def __init__(
        self, name: str | None, *, params: list[click.Parameter] | None = None, **more: Any
    ) -> None:
        verbose = TyperOption(
            param_decls=["--verbose", "-v"],
            is_flag=True,
            default=False,
            expose_value=False,
            callback=lambda context, _, asked: context.meta.update({Command.__name__: asked}),
            help="Tell every step, and where in the code an error arose.",
        )
        self.readers = readers_of(more["callback"])
        config = TyperOption(
            param_decls=["--print-config"],
            is_flag=True,
            default=False,
            expose_value=False,
            callback=lambda context, _, asked: context.meta.update({ReadBy.__name__: asked}),
            help="Print all settings as they are read from YAML, and do nothing.",
        )
        shown = [*(params or ()), *([config] if self.readers else ()), verbose]
        super().__init__(name, params=shown, **more)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """As click's, which takes the words from the list."""
        keep_line(ctx, args)
        return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        """As click's, within `errors_in_one_line`."""
        with logs():
            if ctx.meta[Command.__name__]:
                be_verbose()
            if ctx.meta.get(ReadBy.__name__):
                with errors_in_one_line():
                    print_config(self.readers, ctx.params)
                return None
            with errors_in_one_line(), _alone(json=ctx.params.get("as_json", False)):
                return super().invoke(ctx)


@contextmanager
def _alone(*, json: bool) -> Iterator[None]:
    """With ``--json``, standard output is for what `print_json` prints alone."""
    before, console.stderr = console.stderr, json or console.stderr
    try:
        yield
    finally:
        console.stderr = before


def print_json(found: Any) -> None:
    """Print settings, dataclasses, mappings and lists as JSON; what is not a number is null."""
    from pydantic import TypeAdapter

    text = TypeAdapter(Any).dump_json(found, indent=1, fallback=str).decode()
    sys.stdout.write(f"{text}\n")


@overload
def folder_to_write(path: Path) -> Path: ...
@overload
def folder_to_write(path: None) -> None: ...
def folder_to_write(path: Path | None) -> Path | None:
    """Of an option: a folder, or the name of a new one; asked before any work.

    Raises
    ------
    typer.BadParameter
        If it is a file, or cannot be made.
    """
    if path is None:
        return None
    if path.exists() and not path.is_dir():
        raise typer.BadParameter(
            f"expected a folder or the name of a new one, found the file '{path}'; give another"
        )
    return _can_be_made(path)


def file_to_write(path: Path | None) -> Path | None:
    """Of an option: a file, or the name of a new one; asked before any work.

    Raises
    ------
    typer.BadParameter
        If it is a folder, or cannot be made.
    """
    if path is None:
        return None
    if path.is_dir():
        raise typer.BadParameter(
            f"expected a file or the name of a new one, found the folder '{path}'; add a name"
        )
    return _can_be_made(path)


def _can_be_made(path: Path) -> Path:
    broken = next((p for p in (path, *path.parents) if p.is_symlink() and not p.exists()), None)
    if broken is not None:
        raise typer.BadParameter(
            f"expected a place to write to, found a link to nowhere in '{broken}'; mend or remove "
            "it, or give another place"
        )
    there = next(p for p in (path, *path.absolute().parents) if p.exists())
    if there != path and not there.is_dir():
        raise typer.BadParameter(
            f"expected a place to write to, found '{there}' in the way, a file; give another place"
        )
    if not os.access(there, os.W_OK):
        raise typer.BadParameter(
            f"expected a place to write to, found no permission to write to '{there}'; change "
            "that, or give another place"
        )
    return path


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
def errors_in_one_line(stopped: str = ANEW) -> Iterator[None]:
    """Print what went wrong, one line a problem, without a traceback, and exit with 1.

    A log that the command keeps (`command_log.keep_log`) ends with it. What no user can mend is a
    defect of ours: the line names the log, which has the traceback.

    Parameters
    ----------
    stopped : str
        What Ctrl-C is answered with: how to go on, where what is done is kept. It exits with 130.
    """
    with logs():
        try:
            yield
        except PASSED_ON:
            raise
        except KeyboardInterrupt as error:
            text = f"stopped; {stopped}"
            Console(stderr=True).print(escape(text), highlight=False, soft_wrap=True)
            log_error(text)
            raise typer.Exit(130) from error
        except Exception as error:
            mendable = _text(error)
            text = mendable or _DEFECT.format(log_defect(error))
            lines = (" ".join(line.split()) for line in text.splitlines())
            text = "\n".join(line for line in lines if line)
            Console(stderr=True).print(
                f"[red]Error:[/red] {escape(text)}", highlight=False, soft_wrap=True
            )
            log_error(text, error if mendable else None)
            raise typer.Exit(1) from error


def _text(error: Exception) -> str:
    """What a user can mend; nothing of a defect of ours."""
    from pydantic import ValidationError

    from brainjepa_core.settings import list_problems

    if isinstance(error, ValidationError):
        return "\n".join(list_problems(error))
    if is_out_of_memory(error):
        return (
            "expected memory for this step, found none left; close other programs, or take "
            "smaller batches or fewer processes"
        )
    if isinstance(error, OSError) and error.filename is not None:
        return (
            f"expected to read or write '{final_name(error.filename)}', found {plainly(error)}; "
            "check the path, its permissions and the disk"
        )
    if isinstance(error, OSError) and error.strerror:  # without "[Errno 28]"
        return error.strerror
    return str(error) if isinstance(error, (ValueError, OSError)) else ""
