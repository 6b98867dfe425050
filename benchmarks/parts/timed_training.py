"""Training that times its own steps within the loop, and ends it when there are enough."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import torch
from parts.flops import step_flops

from brainjepa_core.pretraining.sampling import Batch
from brainjepa_core.pretraining.step import Training

WARM_UP, MOST_STEPS = 3, 60


class Enough(Exception):
    """All steps of a case have been timed."""


class TimedTraining(Training):
    """Training that times its own steps, and ends the loop when there are enough.

    Parameters
    ----------
    *given
        Of `Training`.
    seconds : float
        After which it ends, warm-up apart.
    **more
        Of `Training`.
    """

    def __init__(self, *given: Any, seconds: float, **more: Any) -> None:
        super().__init__(*given, **more)
        self.allowed = seconds
        self.flops, self.people = 0.0, 0
        self._marks: list[tuple[Any, Any, Any]] = []  # loop ready, batches there, step done
        self._ready: Any = None

    def advance(self, batches: Sequence[Batch]) -> torch.Tensor:
        """A step, which is timed once the device is warm."""
        if self.step == WARM_UP:
            self._settle()
            self._began, self._ready = time.perf_counter(), self._mark()
        there = self._mark()
        loss = super().advance(batches)
        if self.step > WARM_UP:
            done = self._mark()
            self._marks.append((self._ready, there, done))
            self._ready = done
            self._count(batches)
            late = time.perf_counter() - self._began > self.allowed
            if late or len(self._marks) == MOST_STEPS:
                self._settle()
                self.seconds = time.perf_counter() - self._began
                raise Enough
        return loss

    def logged(self, _: dict[str, Any]) -> None:
        """What the loop has done for its log since the last step is no wait for data."""
        self._ready = self._mark()

    def waited(self) -> float:
        """Seconds in which the device had nothing to do, for want of data."""
        return sum(self._between(ready, there) for ready, there, _ in self._marks)

    def steps(self) -> list[float]:
        """Seconds of each step on the device."""
        return [self._between(there, done) for _, there, done in self._marks]

    def _count(self, batches: Sequence[Batch]) -> None:
        for batch in batches:
            context, target = batch.draws["context_index"], batch.draws["target_index"]
            sizes = context.shape[-1], target.shape[-1]
            shape = self.model.settings
            self.flops += sum(step_flops(shape, *sizes, batch=len(batch.x)).values())
            self.people += len(batch.x)

    def _settle(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def _mark(self) -> Any:
        """A moment, on the device's own time where it has one."""
        if self.device.type != "cuda":
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def _between(self, first: Any, second: Any) -> float:
        if self.device.type != "cuda":
            return second - first
        return first.elapsed_time(second) / 1e3
