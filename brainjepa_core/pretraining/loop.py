"""The local loop: run steps, log, save, stop at the first loss that is no number."""

from __future__ import annotations

import json
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any, Self

import torch
from rich.console import Console

from brainjepa_core.command.waiting import waiting
from brainjepa_core.files import atomic_path, room_for
from brainjepa_core.models.checkpoint import Provenance, write_model
from brainjepa_core.pretraining.metrics import collapse_metrics
from brainjepa_core.pretraining.sampling import (
    Batch,
    WindowSource,
    batches_ahead,
    draws_of_step,
)
from brainjepa_core.pretraining.schedules import values_at
from brainjepa_core.pretraining.state import read_state, state_folders, write_state
from brainjepa_core.pretraining.step import Training
from brainjepa_core.pretraining.training_settings import TrainingSettings

LOG = "metrics.jsonl"
BAD_BATCH = "nonfinite.json"
LOG_EVERY = 25  # steps between waits for the device


class NonFiniteLoss(ValueError):
    """Training met a loss that is not a number; the last saved state is good."""


class RunLog:
    """One JSON line a step in ``RUN/metrics.jsonl``; lines of a lost future are cut at resume."""

    def __init__(self, run: Path, first_step: int) -> None:
        self.path = run / LOG
        kept = [line for line in self.lines(run) if line["step"] < first_step]
        with atomic_path(self.path) as temporary:
            temporary.write_text("".join(json.dumps(line) + "\n" for line in kept))

    @staticmethod
    def lines(run: Path) -> list[dict[str, Any]]:
        """What a run has logged; none where there is no log."""
        path = run / LOG
        lines = []
        for text in path.read_text().splitlines() if path.exists() else ():
            try:
                lines.append(json.loads(text))
            except json.JSONDecodeError:
                break  # a torn last line of a killed run
        return lines

    def append(self, lines: list[dict[str, Any]]) -> None:
        """Add lines, each a dict with at least ``step``."""
        with room_for(self.path), self.path.open("a") as file:
            file.writelines(json.dumps(line) + "\n" for line in lines)


def pretrain(
    training: Training,
    windows: WindowSource,
    provenance: Provenance,
    run: str | Path,
    *,
    until: int | None = None,
    log_every: int = LOG_EVERY,
    save_every: int = 500,
    progress: bool = True,
    on_log: Callable[[dict[str, Any]], None] | None = None,
) -> None:
    """Train to step `until`, resuming from the newest state in the run folder.

    Of several processes that train together all call it, and the first one alone writes.

    Parameters
    ----------
    training : Training
    windows : WindowSource
    provenance : Provenance
        Checked against the state that is resumed; written into every state.
    run : path
        Gets ``metrics.jsonl``, ``states/step-*`` and, at the study's last step, ``final``.
    until : int, optional
        Stop before this step; the schedule's last step by default.
    log_every, save_every : int
        Steps between waits for the device, and between states. A state is also saved at the
        end, and when SIGINT or SIGTERM interrupts training (one of the processes): the step at
        hand is finished and saved before the signal takes its course.
    progress : bool
    on_log : callable, optional
        Called after each wait with the newest line, which carries collapse metrics.

    Raises
    ------
    NonFiniteLoss
        Naming the step; also if its update was not finite. The people of its batch are in
        ``RUN/nonfinite.json``, on this machine.
    ValueError
        If the state in the folder belongs to other settings, another atlas or another basis.
    """
    run = Path(run)
    run.mkdir(parents=True, exist_ok=True)
    saved = state_folders(run)
    if saved:
        read_state(saved[-1], training, provenance)
    total = training.settings.schedule.total_steps
    end = total if until is None else min(until, total)
    processes = training.processes
    first_one = processes.rank == 0
    processes.any(False)  # all have read the state, before the first one writes
    log = RunLog(run, training.step) if first_one else None
    losses: list[torch.Tensor] = []

    def settle(batches: list[Batch]) -> None:
        """Wait for the device: check, then log the steps since the last time."""
        bad = training.first_bad_step()
        if bad is not None:
            _stop(bad, training, windows, run)
        if log is None:
            losses.clear()
            return
        first = training.step - len(losses)
        schedule = training.settings.schedule
        lines = [
            {"step": step, "loss": loss, **values_at(schedule, step)._asdict()}
            for step, loss in enumerate(torch.stack(losses).tolist(), first)
        ]
        batch = batches[0].to(training.device)
        if len(batch.x) > 1:
            tokens = training.model.encode(batch.x, batch.token_valid)
            lines[-1] |= collapse_metrics(tokens, batch.token_valid)
        log.append(lines)
        losses.clear()
        work.update(f"pretraining, loss {lines[-1]['loss']:.4f}", done=training.step)
        if on_log is not None:
            on_log(lines[-1])

    console = Console(quiet=not (progress and first_one))
    with waiting(console, "pretraining", total) as work, DeferredSignals() as deferred:
        work.update(done=training.step)
        steps = range(training.step, end)
        made = (windows, training.model, training.settings, steps, processes.parts())
        for batches in batches_ahead(*made):
            losses.append(training.advance(batches))
            interrupted = processes.any(deferred.number is not None)
            save = interrupted or training.step == end or training.step % save_every == 0
            if save or training.step % log_every == 0:
                settle(batches)
            if save:
                training.prepare_to_save()
            if save and first_one:
                write_state(run, training, provenance)
            if interrupted:
                break
    if first_one and training.step == total and not (run / "final").exists():
        write_model(run / "final", training.model, provenance)
    if deferred.number is not None:
        signal.raise_signal(deferred.number)


class DeferredSignals:
    """Puts SIGINT and SIGTERM off, so that no step is cut in half; a second one acts at once."""

    def __init__(self) -> None:
        self.number: int | None = None
        self._handlers: dict[int, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():  # others receive none
            for number in (signal.SIGINT, signal.SIGTERM):
                # Ignored signals (nohup) stay ignored; None is a handler that is not Python's.
                if signal.getsignal(number) not in (signal.SIG_IGN, None):
                    self._handlers[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        self._handlers.clear()

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.number = number
        self.__exit__()


def write_bad_batch(
    folder: Path, step: int, settings: TrainingSettings, windows: WindowSource
) -> None:
    """Write who was in a step's batch to ``FOLDER/nonfinite.json``; it stays on this machine."""
    draws = draws_of_step(settings.seed, step, settings.batch_size, windows.subjects)
    people = [windows.name(draw.subject) for draw in draws]
    with atomic_path(folder / BAD_BATCH) as temporary:
        temporary.write_text(json.dumps({"step": step, "people": people}, indent=1) + "\n")


def _stop(step: int, training: Training, windows: WindowSource, run: Path) -> None:
    if training.processes.rank == 0:
        write_bad_batch(run, step, training.settings, windows)
    raise NonFiniteLoss(
        f"expected a finite loss, found NaN or infinity at step {step}; the last saved state is "
        f"good. Look at the scans listed in {BAD_BATCH} of the run folder (it stays here), or "
        "lower the learning rate, or set clip_norm"
    )
