"""The programs of a started site, each kept alive: a SuperNode, and the worker that answers.

What a program has to tell is read from its log; when it ends, it is started anew after a wait that
doubles up to half a minute. It ends with the process that started it, however that one ends.
"""

from __future__ import annotations

import ctypes
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from brainjepa_core.files import bound_log

LONGEST_WAIT = 30.0  # seconds between two starts of a program that ends again and again
STEADY = 60.0  # seconds of life after which a program's earlier ends are forgotten
_PR_SET_PDEATHSIG = 1  # Linux: the signal that a process gets when its parent ends
_SYSTEM = ctypes.CDLL(None)


class Part:
    """A program of the site.

    Parameters
    ----------
    name : str
    command : sequence of str
    environment : mapping
    log : Path
        What it prints is added there.
    signs, reasons : mapping of str to str
        Regular expressions of its log; what they mean, for people. The last one in the log holds;
        one of `reasons` also says why the program ended.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        environment: Mapping[str, str],
        log: Path,
        signs: Mapping[str, str],
        reasons: Mapping[str, str],
    ) -> None:
        self.name, self.log, self.state, self.ends = name, log, "not started", 0
        self._command, self._environment = command, environment
        self._reasons, self._phrases = reasons, {**signs, **reasons}
        self._process: subprocess.Popen[bytes] | None = None
        self._due = self._started = 0.0
        self._waits = 0  # ends without a steady life between them
        self._read_to = 0

    @property
    def pid(self) -> int | None:
        """Of the process, while it lives."""
        return None if self._process is None else self._process.pid

    def tend(self) -> None:
        """Start the program where it is due, and notice what it tells and that it ended."""
        now = time.monotonic()
        if self._process is None:
            if now >= self._due:
                self._start(now)
            return
        code = self._process.poll()
        self._listen()
        if bound_log(self.log):
            self._read_to = 0
        if code is None:
            return
        self._waits = 0 if now - self._started > STEADY else self._waits
        wait = min(2.0**self._waits, LONGEST_WAIT)
        self._waits, self.ends, self._due = self._waits + 1, self.ends + 1, now + wait
        self._process = None
        if self.state not in self._reasons.values():
            self.state = f"ended (exit code {code}) and is started again; see '{self.log}'"

    def stop(self, patience: float) -> None:
        """End the program, with force where it takes longer than `patience` seconds."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(patience)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process, self.state = None, "stopped"

    def _start(self, now: float) -> None:
        with self.log.open("ab") as output:
            self._read_to = output.tell()
            self._process = subprocess.Popen(
                self._command,
                env=dict(self._environment),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C is for the start, which ends them in order
                preexec_fn=_ending_with(os.getpid()),
            )
        self.state, self._started = "starting", now

    def _listen(self) -> None:
        """Take up the last thing of meaning in what the program has printed since."""
        try:
            with self.log.open("rb") as file:
                file.seek(self._read_to)
                lines = file.read().splitlines(keepends=True)
        except FileNotFoundError:  # put away by somebody
            return
        for line in lines:
            if not line.endswith(b"\n"):
                break
            self._read_to += len(line)
            text = line.decode(errors="replace")
            for phrase, meaning in self._phrases.items():
                if re.search(phrase, text):
                    self.state = meaning


def _ending_with(parent: int) -> Callable[[], None]:
    """What a child does before its program begins, so that it does not outlive a killed parent."""

    def ask() -> None:
        _SYSTEM.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:  # it ended before the system was asked
            os._exit(1)

    return ask
