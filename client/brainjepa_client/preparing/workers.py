"""Work on many scans at once, results in the order of the scans, nobody left behind by a kill."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

AHEAD = 2  # scans a process that may be done before their turn: what a slow one holds up


def in_order(
    work: Callable[[Item], Result], items: Iterable[Item], processes: int
) -> Iterator[Result]:
    """Apply `work` to items in so many processes; results come in the order of items.

    Memory holds a few results a process, however many items there are.

    Parameters
    ----------
    work : callable
        Can be pickled; what it raises ends the work.
    items : iterable
    processes : int
        With one, work is done here.

    Raises
    ------
    ValueError
        If a process was killed, mostly for want of memory.
    """
    if processes == 1:
        yield from map(work, items)
        return
    # A fresh interpreter for each: this one may run threads (progress bars), which a fork breaks.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, context, _start) as pool:
        waiting: deque[Future[Result]] = deque()
        try:
            for item in items:
                waiting.append(pool.submit(work, item))
                if len(waiting) >= AHEAD * processes:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        except BrokenProcessPool as error:
            raise ValueError(
                f"expected {processes} processes to work to the end, found one killed, mostly for "
                "want of memory; lower prepare.processes and run again: finished scans are kept"
            ) from error
        finally:
            for future in waiting:
                future.cancel()


def _start() -> None:
    """One thread of linear algebra a process, and no life of its own after the command's death."""
    from threadpoolctl import threadpool_limits

    threadpool_limits(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the command's to answer
    parent = multiprocessing.parent_process()
    assert parent is not None

    def follow() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()
