"""What each of the processes does that a launcher has started: meet the others, and train."""

from __future__ import annotations

import fcntl
import os
import signal
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

import torch

from brainjepa_core.files import write_private
from brainjepa_core.machine.devices import require_device
from brainjepa_core.pretraining.parallel.launching import (
    BEGUN,
    FAILED,
    MEETING,
    RUNNING,
    is_waited_for,
)
from brainjepa_core.pretraining.parallel.processes import Together, joined
from brainjepa_core.pretraining.parallel.settings import Devices

LOOK = 0.5  # seconds between looks at whether somebody waits
# Which of how many a process is, in the words of torchrun, srun and mpirun.
_WORDS = (
    ("RANK", "WORLD_SIZE"),
    ("SLURM_PROCID", "SLURM_NTASKS"),
    ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"),
)
AnyDevices = TypeVar("AnyDevices", bound=Devices)


def place_of(devices: Devices) -> int:
    """Which of the processes this is, by what the launcher says.

    Raises
    ------
    ValueError
        If it does not say, or has started another number than there are devices.
    """
    for rank, count in _WORDS:
        if rank in os.environ and count in os.environ:
            found = int(os.environ[count])
            if found != devices.processes:
                raise ValueError(
                    f"expected a launcher that starts {devices.processes} processes, one for each "
                    f"of devices, found {found}; give it {{n}} as their number"
                )
            return int(os.environ[rank])
    raise ValueError(
        "expected a launcher that numbers its processes (RANK and WORLD_SIZE, or as srun and "
        "mpirun do), found none of that; start them with torchrun, srun or mpirun"
    )


@contextmanager
def one_of(folder: Path, devices: AnyDevices) -> Iterator[tuple[Together, AnyDevices]]:
    """Be one of the processes of a folder while the block runs.

    SIGTERM comes, once, when nobody waits for them any more.

    Parameters
    ----------
    folder : Path
    devices : Devices

    Yields
    ------
    processes : Together
    devices : Devices
        Those of this process alone.

    Raises
    ------
    ValueError
        If the launcher has not done its part, or the device is not there.
    """
    rank = place_of(devices)
    own, over = devices.of_process(rank), threading.Event()
    require_device(own.device)
    watch = threading.Thread(target=_watch, args=(folder, over), daemon=True)
    watch.start()
    meeting = (folder / MEETING, rank, devices.processes, torch.device(own.device), devices.reduce)
    try:
        with (folder / RUNNING).open("a") as running:
            fcntl.flock(running, fcntl.LOCK_SH)
            with joined(*meeting) as processes:
                if rank == 0:
                    write_private(folder / BEGUN, b"")
                yield processes, own
    finally:
        over.set()


def _watch(folder: Path, over: threading.Event) -> None:
    while not over.wait(LOOK):
        if not is_waited_for(folder):
            os.kill(os.getpid(), signal.SIGTERM)
            return


def exit_code(folder: Path, work: Callable[[], int]) -> int:
    """Do a process' work; its exit code. Errors that are meant to be read go to who asks."""
    try:
        return work()
    except ValueError as error:
        traceback.print_exc()
        with suppress(OSError):
            write_private(folder / FAILED, str(error).encode())
    except Exception:
        traceback.print_exc()
    return 1
