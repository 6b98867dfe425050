"""Whether an answer may go on; long answers look between two steps."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from brainjepa_client.guarding.policy import Refusal
from brainjepa_core.pretraining.parallel.processes import Processes

STOPPED = (
    "this site was stopped before its answer was done, and kept the state of the round before; ask "
    "again once it is back"
)
ELSEWHERE = "another of the processes that answer together has refused, and says why"
_required: ContextVar[tuple[Callable[[], None], ...]] = ContextVar("required", default=())


class RefusedElsewhere(Refusal):
    """Another process has the reason; this one has nothing to say."""


@contextmanager
def going_on_while(required: Callable[[], None]) -> Iterator[None]:
    """Within the block, answers end after the step at hand once this raises.

    Parameters
    ----------
    required : callable
        Called between two steps; it has to be fast.
    """
    token = _required.set((*_required.get(), required))
    try:
        yield
    finally:
        _required.reset(token)


@contextmanager
def stopping_when(asked: Callable[[], bool]) -> Iterator[None]:
    """Within the block, answers end after the step at hand once this is true: the site stops.

    Parameters
    ----------
    asked : callable
        As fast.
    """

    def require_not_asked() -> None:
        if asked():
            raise Refusal(STOPPED)

    with going_on_while(require_not_asked):
        yield


def require_going_on() -> None:
    """End an answer that nobody waits for, that is allowed no more or has no time any more.

    Raises
    ------
    Refusal
    """
    for required in _required.get():
        required()


def require_all_going_on(processes: Processes) -> None:
    """`require_going_on` at all processes that train together: where one has to end, all do.

    Raises
    ------
    Refusal
        A `RefusedElsewhere` where this process has no reason of its own.
    """
    found: Refusal | None = None
    try:
        require_going_on()
    except Refusal as refusal:
        found = refusal
    if processes.any(found is not None):
        raise found or RefusedElsewhere(ELSEWHERE)
