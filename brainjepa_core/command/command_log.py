"""The log of a command, beside what it writes: what the terminal showed, how far it was, warnings.

Levels: INFO is on the terminal in some form, DEBUG on it with ``--verbose`` only; ERROR is what a
user can mend, CRITICAL a defect of ours, with its traceback.
"""

from __future__ import annotations

import io
import logging
import shlex
import tempfile
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.control import Control
from rich.logging import RichHandler

from brainjepa_core.version import versions

LOG = "brainjepa.log"
WIDTH = 160  # of tables
PEOPLE = "--participant-label"  # an option whose words name people
PERSON = "person"  # an argument that names one; it comes last
LINE = "brainjepa line"  # of click's context: the command as it was written
logger = logging.getLogger("brainjepa")
logger.setLevel(logging.DEBUG)
logger.propagate = False
_core = logging.getLogger("brainjepa_core")  # warnings of the library, on the terminal as well
_HEARD = (logger, _core, logging.getLogger("py.warnings"))  # Python's once they are captured
_SHOWN = logging.lastResort  # Python's handler of warnings that nobody hears
_open: list[logging.Handler] = []


class LoggedConsole(Console):
    """A console whose lines go to the command's log as well."""

    def print(self, *objects: Any, **how: Any) -> None:
        """As rich's, which calls it also to move the cursor; text is broken on terminals only."""
        if not self.is_terminal and all(isinstance(thing, str) for thing in objects):
            how.setdefault("soft_wrap", True)
        if _open and not any(isinstance(thing, Control) for thing in objects):
            plain = Console(file=io.StringIO(), width=WIDTH, color_system=None)
            plain.print(*objects, **how)
            for line in plain.file.getvalue().splitlines():  # type: ignore[attr-defined]
                if line.strip():
                    logger.info(line.rstrip())
        super().print(*objects, **how)  # last: what is on the terminal is in the log


def print_only(console: Console, text: str) -> None:
    """Print a line that is not for the log: it may name people, or the log has it already."""
    Console.print(console, text, markup=False, highlight=False, soft_wrap=True)


class _LogFile(logging.Handler):
    """Appends to a file from the first line of work on; a refusal before it leaves no trace."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path, self._begun = path, False
        self._first = f"{command_line()} ({versions()})"  # now: other threads have no context
        self.setLevel(logging.DEBUG if _is_verbose() else logging.INFO)
        self.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))

    def emit(self, record: logging.LogRecord) -> None:
        makes = record.levelno in (logging.INFO, logging.CRITICAL)
        try:
            if not (self._begun or makes):
                return
            text = self.format(record) + "\n"
            if not self._begun:
                heading = {"levelname": "INFO", "msg": self._first, "created": record.created}
                text = f"{self.format(logging.makeLogRecord(heading))}\n{text}"
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("a", encoding="utf-8") as file:
                file.write(text)
            self._begun = True
        except OSError:
            pass  # a full disk stops no work that has room: the terminal shows the same lines


@contextmanager
def logs() -> Iterator[None]:
    """Logs that are opened in the block (`keep_log`, `be_verbose`) end with it."""
    before = len(_open)
    try:
        yield
    finally:
        while len(_open) > before:
            handler = _open.pop()
            for heard in _HEARD:
                heard.removeHandler(handler)
            handler.close()
        if not _open:
            logging.captureWarnings(False)
            _core.setLevel(logging.NOTSET)
            if _SHOWN is not None:
                _core.removeHandler(_SHOWN)


def keep_log(folder: Path) -> None:
    """Append to ``FOLDER/brainjepa.log`` what the command tells from here on.

    Parameters
    ----------
    folder : Path
        What the command writes, or what it is in where that is a file, a store, or a folder that
        is made whole at the end. Whom a command names on the terminal (`print_only`) is not in it,
        but with ``--verbose``.
    """
    path = folder.absolute() / LOG
    if path not in _files():
        _add(_LogFile(path))


def be_verbose() -> None:
    """Show on the terminal what else only a log holds."""
    handler = RichHandler(console=Console(stderr=True), show_path=False, markup=False)
    handler.addFilter(lambda record: record.levelno not in (logging.INFO, logging.ERROR))
    _add(handler)
    _core.setLevel(logging.DEBUG)


def log_error(text: str, error: BaseException | None = None) -> None:
    """Log what the terminal was told of an error and, for ``--verbose``, where it arose."""
    if _open:  # Python's logging would print it where nobody listens
        logger.error(text)
        if error is not None:
            logger.debug("".join(traceback.format_exception(error)).rstrip())


def log_defect(error: BaseException) -> Path:
    """Write the traceback of what no user can mend into the log, or a file of its own."""
    if not _files():
        with tempfile.NamedTemporaryFile(prefix="brainjepa-", suffix=".log", delete=False) as file:
            _add(_LogFile(Path(file.name)))
    logger.critical("".join(traceback.format_exception(error)).rstrip())
    return _files()[0]


def _add(handler: logging.Handler) -> None:
    _open.append(handler)
    for heard in _HEARD:
        heard.addHandler(handler)
    if _SHOWN is not None and not _is_verbose():  # a handler keeps it from being the last resort
        _core.addHandler(_SHOWN)
    logging.captureWarnings(True)


def _files() -> list[Path]:
    return [handler.path for handler in _open if isinstance(handler, _LogFile)]


def _is_verbose() -> bool:
    return any(isinstance(handler, RichHandler) for handler in _open)


def command_line() -> str:
    """The command as it was written, people aside."""
    context = click.get_current_context(silent=True)
    return "brainjepa" if context is None else str(context.meta.get(LINE, context.command_path))


def keep_line(context: click.Context, words: list[str]) -> None:
    """Remember a command as it was written, for logs and pages; people aside."""
    told = words[: words.index(PEOPLE) + 1] if PEOPLE in words else words
    if PERSON in {parameter.name for parameter in context.command.params}:
        told = words[:1]
    context.meta[LINE] = shlex.join([*context.command_path.split(), *told])
