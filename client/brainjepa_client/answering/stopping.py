"""Whether the process that answers has been asked to stop; long answers look between two steps."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from brainjepa_client.guarding.policy import Refusal

STOPPED = (
    "this site was stopped before its answer was done, and kept the state of the round before; ask "
    "again once it is back"
)
_asked: ContextVar[Callable[[], bool]] = ContextVar("asked", default=lambda: False)


@contextmanager
def stopping_when(asked: Callable[[], bool]) -> Iterator[None]:
    """Within the block, answers end after the step at hand once this is true.

    Parameters
    ----------
    asked : callable
        Called between two steps; it has to be fast.
    """
    token = _asked.set(asked)
    try:
        yield
    finally:
        _asked.reset(token)


def require_going_on() -> None:
    """End an answer that nobody waits for any more, or that this machine has no time for.

    Raises
    ------
    Refusal
    """
    if _asked.get()():
        raise Refusal(STOPPED)
