"""Pretraining on this machine's devices together: who asks for it, and what each process does.

``python -m brainjepa_core.pretraining.parallel.local FOLDER`` is one of the processes.
"""

from __future__ import annotations

import json
import shutil
import signal
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from brainjepa_core.command.waiting import Work, waiting
from brainjepa_core.files import read_json, write_private
from brainjepa_core.gradients import ConsensusBasis
from brainjepa_core.machine.processors import use_threads
from brainjepa_core.pretraining.computing.settings import Computing
from brainjepa_core.pretraining.loop import LOG_EVERY, DeferredSignals, RunLog, pretrain
from brainjepa_core.pretraining.parallel.launching import TICK, launched, wait_until_over
from brainjepa_core.pretraining.parallel.member import exit_code, one_of
from brainjepa_core.pretraining.parallel.settings import Devices
from brainjepa_core.pretraining.settings import PretrainingSettings, provenance
from brainjepa_core.pretraining.state import state_folders
from brainjepa_core.pretraining.step import Training
from brainjepa_core.signals.storing.store import ScanStore

FOLDER, PROCESSES_LOG, _ASKED = "processes", "processes.log", "asked.json"
Line = dict[str, Any]  # of the log


def pretrain_together(
    stores: Sequence[Path],
    run: Path,
    basis: Path,
    study: PretrainingSettings,
    devices: Devices,
    computing: Computing,
    progress: bool,
    on_log: Callable[[Line], None] | None = None,
) -> None:
    """Train to the study's last step in one process for each device, resuming what the run holds.

    Parameters
    ----------
    stores : sequence of Path
    run, basis : Path
        Folder of the run, and the file of its basis.
    study : PretrainingSettings
    devices : Devices
    computing : Computing
    progress : bool
        Show a bar.
    on_log : callable, optional
        As `loop.pretrain` takes it; called in this process.

    Raises
    ------
    ValueError
        If they cannot begin, or one of them fails; what it met is in ``RUN/processes.log``.
    """
    folder, console = run / FOLDER, Console(quiet=not progress)
    if folder.exists():
        with waiting(console, "processes that are left of a killed run"):
            wait_until_over(folder, lambda: None)
        shutil.rmtree(folder)
    folder.mkdir(mode=0o700)
    threads = max(1, torch.get_num_threads() // devices.processes)  # of each
    asked = {
        "stores": [str(store.absolute()) for store in stores],
        "run": str(run.absolute()),
        "basis": str(basis.absolute()),
        "study": study.model_dump(mode="json"),
        "devices": devices.model_dump(mode="json"),
        "computing": computing.model_dump(mode="json"),
        "threads": threads,
    }
    write_private(folder / _ASKED, json.dumps(asked).encode())
    program = ["-m", "brainjepa_core.pretraining.parallel.local", str(folder.absolute())]
    total, final = study.training.schedule.total_steps, run / "final"
    with (
        waiting(console, "pretraining", total) as work,
        DeferredSignals() as deferred,
    ):
        log = _LogOfOthers(run, work, on_log)
        with launched(devices, program, folder.absolute(), run / PROCESSES_LOG, threads) as launch:
            while not (launch.is_over and final.exists()) and deferred.number is None:
                launch.require_at_work()
                log.tell()
                time.sleep(TICK)
        log.tell(ended=True)
    shutil.rmtree(folder)
    if deferred.number is not None:
        signal.raise_signal(deferred.number)


class _LogOfOthers:
    """What the processes log, told here as `loop.pretrain` would tell it: every line once."""

    def __init__(self, run: Path, work: Work, on_log: Callable[[Line], None] | None) -> None:
        saved = state_folders(run)
        first = int(saved[-1].name.removeprefix("step-")) if saved else 0
        self._path = RunLog(run, first).path  # as the processes will cut it
        self._read = self._path.stat().st_size
        self._untold: Line | None = None
        self._work, self._on_log = work, on_log or (lambda _: None)
        work.update(done=first)

    def tell(self, ended: bool = False) -> None:
        """Show the newest step, and call on what is new; the last line of all is one to tell."""
        with self._path.open("rb") as file:
            file.seek(self._read)
            text, end, _ = file.read().rpartition(b"\n")
        self._read += len(text + end)
        lines: list[Line] = [json.loads(line) for line in text.splitlines()]
        for line in lines:
            due = (line["step"] + 1) % LOG_EVERY == 0
            self._untold = None if due else line
            if due:
                self._on_log(line)
        if ended and self._untold is not None:
            self._on_log(self._untold)
        if lines:
            newest = lines[-1]
            self._work.update(f"pretraining, loss {newest['loss']:.4f}", done=newest["step"] + 1)


def _train(folder: Path) -> int:
    asked: dict[str, Any] = read_json(folder / _ASKED)
    study = PretrainingSettings.model_validate(asked["study"])
    use_threads(asked["threads"])  # MKL_NUM_THREADS would go before what the launcher sets
    with one_of(folder, Devices.model_validate(asked["devices"])) as (processes, own):
        windows = study.windows_of([ScanStore.open(path) for path in asked["stores"]])
        basis = ConsensusBasis.load(Path(asked["basis"]))
        training = Training(
            study.new_model(basis),
            study.training,
            own.device,
            computing=Computing.model_validate(asked["computing"]),
            processes=processes,
            shard_optimizer=own.shard_optimizer,
        )
        pretrain(training, windows, provenance(windows, basis), asked["run"], progress=False)
    return 0


if __name__ == "__main__":
    sys.exit(exit_code(Path(sys.argv[1]), lambda: _train(Path(sys.argv[1]))))
