"""How far long work is: a bar or a spinner on a terminal, a line every so often in a log."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from brainjepa_core.command.command_log import logger, print_only

EVERY = 30.0  # seconds between the lines of a log


class Work:
    """Long work, and how far it is; whoever does it calls `update`.

    Parameters
    ----------
    what : str
        What is done, or at.
    total : int, optional
        Of what is counted.
    show : callable, optional
        Called with the work after each change.
    """

    def __init__(
        self,
        what: str,
        total: int | None = None,
        show: Callable[[Work], None] = lambda _: None,
    ) -> None:
        self.what, self.done, self.total, self._show = what, 0, total, show
        self.began = time.monotonic()

    def update(
        self, what: str | None = None, *, done: int | None = None, total: int | None = None
    ) -> None:
        """Tell what has changed."""
        self.what = self.what if what is None else what
        self.done = self.done if done is None else done
        self.total = self.total if total is None else total
        self._show(self)
        logger.debug(self.line())

    def advance(self) -> None:
        """Tell that one more is done."""
        self.update(done=self.done + 1)

    def line(self) -> str:
        """What, how far, and for how long."""
        seconds = int(time.monotonic() - self.began)
        spent = f"{seconds // 60} min {seconds % 60:02d} s"
        if self.total is None:
            return f"{self.what}: {spent} so far"
        return f"{self.what}: {self.done} of {self.total}, {spent} so far"


@contextmanager
def waiting(
    console: Console,
    what: str,
    total: int | None = None,
    *,
    counted: bool = False,
    transient: bool = False,
) -> Iterator[Work]:
    """Show long work while the block runs.

    Parameters
    ----------
    console : rich.console.Console
        Where it is no terminal (a pipe, a batch log), a plain line tells every `EVERY` seconds how
        far the work is, and for how long it has run; the command's log gets that line anyway.
    what : str
    total : int, optional
        Of what is counted.
    counted : bool
        Whether something is counted whose total is told later.
    transient : bool
        Whether the bar goes away at the end.

    Yields
    ------
    Work
    """
    with _shown(console, what, total, counted, transient) as work, _lines(console, work):
        yield work


@contextmanager
def _shown(
    console: Console, what: str, total: int | None, counted: bool, transient: bool
) -> Iterator[Work]:
    """The work, with a bar or a spinner where there is a terminal."""
    if not console.is_terminal:
        yield Work(what, total)
    elif counted or total is not None:
        columns = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        text = TextColumn("{task.description}", markup=False)
        with Progress(text, *columns, console=console, transient=transient) as bar:
            task = bar.add_task(what, total=total)

            def show(work: Work) -> None:
                bar.update(task, description=work.what, completed=work.done, total=work.total)

            yield Work(what, total, show)
    else:
        with console.status(escape(what)) as status:
            yield Work(what, show=lambda work: status.update(escape(work.what)))


@contextmanager
def _lines(console: Console, work: Work) -> Iterator[None]:
    """A thread that tells how far the work is, which itself may not say a word for hours."""
    ended = threading.Event()

    def tell() -> None:
        while not ended.wait(EVERY):
            if not console.is_terminal:
                print_only(console, work.line())
            logger.info(work.line())

    teller = threading.Thread(target=tell, daemon=True)
    teller.start()
    try:
        yield
    finally:
        ended.set()
        teller.join()
