"""Processes of a deployment: each ends with the one that started it, however that one ends."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

PATIENCE = 10.0  # seconds for a process to end when it is asked to
_PR_SET_PDEATHSIG = 1  # prctl(2)


def start_process(
    command: Sequence[str], environment: Mapping[str, str], log: Path | None
) -> subprocess.Popen[bytes]:
    """Start a program in a session of its own: Ctrl-C is its parent's to answer.

    Parameters
    ----------
    command : sequence of str
    environment : mapping
        Added to this process' own.
    log : Path, optional
        Gets what the program prints; the terminal by default.
    """
    parent = os.getpid()
    library = ctypes.CDLL(None)

    def die_with_parent() -> None:
        library.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it died before this was asked for
            os._exit(1)

    output = None if log is None else log.open("ab")
    try:
        return subprocess.Popen(
            command,
            env={**os.environ, **environment},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=None if output is None else subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=die_with_parent,
        )
    finally:
        if output is not None:
            output.close()


def end_processes(processes: Iterable[subprocess.Popen[bytes]]) -> None:
    """Ask processes to end, and end those that do not."""
    alive = [process for process in processes if process.poll() is None]
    for process in alive:
        process.terminate()
    for process in alive:
        with suppress(subprocess.TimeoutExpired):
            process.wait(PATIENCE)
    for process in alive:
        process.kill()
        process.wait()
