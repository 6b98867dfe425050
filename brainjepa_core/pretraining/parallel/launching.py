"""Whoever asks for processes that train together starts them, watches them and sees them end.

Both sides know one another by files of one folder, which all machines of the processes reach:

asker     locked as long as somebody waits for the processes
meeting   where they find one another, so that no port is opened for that
begun     they have met
stop      they have to end after the step at hand
failed    why one of them cannot go on, in one line
running   locked by the launcher and by each of them
"""

from __future__ import annotations

import fcntl
import os
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from brainjepa_core.files import write_private
from brainjepa_core.pretraining.parallel.settings import Devices
from brainjepa_core.problems import counted

ASKER, MEETING, BEGUN, STOP, FAILED = "asker", "meeting", "begun", "stop", "failed"
RUNNING = "running"
TICK = 0.1  # seconds between looks
LAG = 30.0  # seconds in which files of another machine show here after its program's end
ENDING = 1800.0  # seconds for the step at hand to be done
KILLING = 20.0  # seconds between SIGTERM and SIGKILL


class LaunchFailed(ValueError):
    """The processes are over, or never began, and there is no result."""


def words_of(devices: Devices, program: Sequence[str], folder: Path) -> list[str]:
    """The command that starts `program` once for each of the devices.

    Parameters
    ----------
    devices : Devices
    program : sequence of str
        What Python is given: ``-m``, a module, its arguments.
    folder : Path
    """
    if devices.launcher is not None:
        whole = [sys.executable, *program]
        words = []
        for word in shlex.split(devices.launcher):
            if word == "{program}":
                words += whole
            else:
                told = word.replace("{program}", shlex.join(whole))
                words.append(told.replace("{n}", str(devices.processes)))
        return words
    return [
        sys.executable,
        "-m",
        "torch.distributed.run",
        f"--nproc-per-node={devices.processes}",
        "--rdzv-backend=c10d",
        f"--rdzv-endpoint={folder / MEETING}.launcher",
        "--rdzv-conf=store_type=file",
        f"--rdzv-id={folder.name}",
        "--local-addr=127.0.0.1",
        "--max-restarts=0",
        *program,
    ]


def _environment(devices: Devices, threads: int) -> dict[str, str]:
    """Of a launcher; on this machine alone, processes talk on its own network."""
    if devices.launcher is not None:
        return dict(os.environ)
    own = next(name for _, name in socket.if_nameindex() if name.startswith("lo"))
    return {
        **os.environ,
        "OMP_NUM_THREADS": str(threads),
        "GLOO_SOCKET_IFNAME": own,
        "NCCL_SOCKET_IFNAME": own,
        "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1",  # else torchrun opens a port
    }


class Launch:
    """Processes that were started."""

    def __init__(self, devices: Devices, folder: Path, process: subprocess.Popen[bytes]) -> None:
        self._devices, self._folder, self._process = devices, folder, process
        self._started = time.monotonic()
        self._over: float | None = None

    @property
    def _begun(self) -> bool:
        return (self._folder / BEGUN).exists()

    @property
    def _failed(self) -> bool:
        return (self._folder / FAILED).exists()

    @property
    def is_over(self) -> bool:
        """Whether nothing of it runs any more."""
        return self._process.poll() is not None

    def require_at_work(self) -> None:
        """Called while there is no result: see that there still can be one.

        Raises
        ------
        LaunchFailed
            Once one of the processes cannot go on, they have ended, or have not begun in time.
        """
        now, wanted = time.monotonic(), counted(self._devices.processes, "process", "processes")
        if self._failed:  # the others may wait for it for ever
            raise LaunchFailed((self._folder / FAILED).read_text(encoding="utf-8"))
        if self.is_over:
            self._over = self._over or now
            if now - self._over > (0 if self._devices.launcher is None else LAG) + 2 * TICK:
                raise LaunchFailed(
                    f"expected {wanted} to train to the end, found that they ended with code "
                    f"{self._process.returncode} and without a result; look at their log"
                )
        elif not self._begun and now - self._started > self._devices.begins_within:
            raise LaunchFailed(
                f"expected {wanted} to begin within {self._devices.begins_within} s "
                "(begins_within), found that they did not; look at what the launcher waits for, "
                "or allow more time"
            )

    def end(self) -> None:
        """Have the processes end, and wait until they are gone.

        They end after the step at hand, which is not waited for where one of them has failed.
        """
        write_private(self._folder / STOP, b"")
        patience = ENDING if self._begun and not self._failed else 0.0
        for number in (signal.SIGTERM, signal.SIGKILL):
            try:
                self._process.wait(patience)
            except subprocess.TimeoutExpired:
                _signal_all(self._process, number)
                patience = KILLING
        self._process.wait()


def _signal_all(process: subprocess.Popen[bytes], number: int) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, number)


@contextmanager
def launched(
    devices: Devices, program: Sequence[str], folder: Path, log: Path, threads: int = 1
) -> Iterator[Launch]:
    """Start a program once for each of the devices; at the end of the block it is over.

    Parameters
    ----------
    devices : Devices
    program : sequence of str
        What Python is given: ``-m``, a module, its arguments.
    folder : Path
        Of both sides; new, and its owner's alone.
    log : Path
        What launcher and processes print.
    threads : int
        Of each process, where this machine starts them.

    Yields
    ------
    Launch

    Raises
    ------
    LaunchFailed
        If the launcher cannot be started.
    """
    words = words_of(devices, program, folder)
    with (
        (folder / ASKER).open("w") as asker,
        (folder / RUNNING).open("a") as running,
        log.open("ab") as output,
    ):
        fcntl.flock(asker, fcntl.LOCK_EX)
        fcntl.flock(running, fcntl.LOCK_SH)  # which the launcher inherits
        try:
            process = subprocess.Popen(
                words,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=_environment(devices, threads),
                start_new_session=True,  # what ends this process ends them by the file alone
                pass_fds=[running.fileno()],
            )
        except OSError as error:
            raise LaunchFailed(
                f"expected a launcher that this machine has, found '{words[0]}', which cannot be "
                "started; correct launcher, or take it out: torchrun is the default"
            ) from error
        launch = Launch(devices, folder, process)
        try:
            yield launch
        finally:
            launch.end()


def is_waited_for(folder: Path) -> bool:
    """Whether somebody still waits for the processes of a folder."""
    return not (folder / STOP).exists() and _is_locked(folder / ASKER)


def wait_until_over(folder: Path, at_each_look: Callable[[], object]) -> None:
    """Have what a killed asker has left in a folder end, and wait until it is gone.

    Parameters
    ----------
    folder : Path
    at_each_look : callable
        What it raises ends the waiting.
    """
    write_private(folder / STOP, b"")
    while _is_locked(folder / RUNNING):
        at_each_look()
        time.sleep(TICK)


def _is_locked(path: Path) -> bool:
    try:
        with path.open("r+") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except OSError:  # by another one; or a file system without locks, where only `stop` tells
        return True
    return False
