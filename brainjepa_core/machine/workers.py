"""Work on many items at once, results in the order of the items, nobody left behind by a kill."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

THREADS = "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"
MMAP_THRESHOLD, TRIM_THRESHOLD = -3, -1  # of glibc's malloc.h
AHEAD = 2  # items a process that may be done before their turn: what a slow one holds up


def in_order(
    work: Callable[[Item], Result], items: Iterable[Item], processes: int
) -> Generator[Result, None, None]:
    """Apply `work` to items in so many processes; results come in the order of items.

    Whoever stops early (Ctrl-C, an error) closes this iterator: the processes are killed, whatever
    they are at.

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
    others = set(multiprocessing.active_children())
    pool = ProcessPoolExecutor(processes, context, _start)
    waiting: deque[Future[Result]] = deque()
    try:
        for item in items:
            with _uninterrupted():  # the process that this may start never hears of Ctrl-C
                waiting.append(pool.submit(work, item))
            if len(waiting) >= AHEAD * processes:
                yield _first_of(waiting)
        while waiting:
            yield _first_of(waiting)
    except BrokenProcessPool as error:
        raise ValueError(
            f"expected {processes} processes to work to the end, found one killed, mostly for "
            "want of memory; use fewer of them, or free some memory, and run again: what is "
            "finished is kept"
        ) from error
    finally:
        with _uninterrupted():  # a second Ctrl-C waits until nothing is left behind
            if waiting:
                for process in set(multiprocessing.active_children()) - others:
                    process.terminate()
            pool.shutdown(cancel_futures=True)


def _first_of(waiting: deque[Future[Result]]) -> Result:
    """Wait for the first result and take it out; it stays in while it is at work."""
    result = waiting[0].result()
    waiting.popleft()
    return result


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Put Ctrl-C off until the block is done; processes that it starts inherit that for good."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _start() -> None:
    """One thread of linear algebra a process, and no life of its own after the command's death."""
    from threadpoolctl import threadpool_limits

    threadpool_limits(1)  # of libraries that are loaded; the others read how many they may take
    os.environ |= dict.fromkeys(THREADS, "1")
    _keep_freed_memory()
    parent = multiprocessing.parent_process()
    assert parent is not None

    def follow() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()


def _keep_freed_memory() -> None:
    """Have glibc keep what arrays of one item free for those of the next.

    By itself it gives arrays of a megabyte back to the system and asks for them anew, item by
    item, which took half the time of sums of connectivity.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # elsewhere there is none, or no need
    if mallopt is not None:
        mallopt(MMAP_THRESHOLD, 32 << 20)
        mallopt(TRIM_THRESHOLD, 512 << 20)
