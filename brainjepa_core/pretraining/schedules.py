"""Learning rate, weight decay and EMA momentum as pure functions of the optimiser step.

Nothing here keeps state: a resumed run, and a site that joins a federation late, read the same
numbers as one that never stopped.
"""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

from pydantic import Field, model_validator

from brainjepa_core.settings import Frozen


class StepValues(NamedTuple):
    """Values in force for one optimiser step."""

    lr: float
    weight_decay: float
    momentum: float


class ScheduleSettings(Frozen):
    """Warm-up then cosine learning rate, cosine weight decay, linear EMA momentum.

    Attributes
    ----------
    total_steps, warmup_steps : int
        Optimiser steps of the whole study, and those of the linear warm-up.
    start_lr, lr, final_lr : float
        Learning rate at the first step, after the warm-up, and at the last step.
    weight_decay, final_weight_decay : float
        AdamW's, at the first and last step.
    ema, final_ema : float
        Momentum of the target encoder at the first and last step.
    ema_mode : {"exact", "official"}
        ``exact`` reaches `final_ema` at the last step. ``official`` reproduces the published
        code, whose momentum advances once an optimiser step but is spread over
        ``total_steps * accumulation`` iterations, so that it ends short of `final_ema`.
    accumulation : int
        Micro-batches a step; read by the ``official`` momentum only.
    """

    total_steps: int = Field(ge=1)
    warmup_steps: int = Field(0, ge=0)
    start_lr: float = Field(5e-5, ge=0)
    lr: float = Field(1e-3, gt=0)
    final_lr: float = Field(1e-6, ge=0)
    weight_decay: float = Field(0.04, ge=0)
    final_weight_decay: float = Field(0.4, ge=0)
    ema: float = Field(0.996, ge=0, le=1)
    final_ema: float = Field(1.0, ge=0, le=1)
    ema_mode: Literal["exact", "official"] = "exact"
    accumulation: int = Field(1, ge=1)

    @model_validator(mode="after")
    def _warmup_within_study(self) -> ScheduleSettings:
        if self.warmup_steps > self.total_steps:
            raise ValueError(
                f"expected warmup_steps of at most total_steps ({self.total_steps}), found "
                f"{self.warmup_steps}; shorten the warm-up or lengthen the study"
            )
        return self


def learning_rate(s: ScheduleSettings, step: int) -> float:
    """Learning rate of optimiser step `step` (0 is the first).

    Steps are counted from 1 inside, as the published scheduler is called once before training.
    """
    count = step + 1
    if count < s.warmup_steps:
        return s.start_lr + (s.lr - s.start_lr) * count / s.warmup_steps
    progress = (count - s.warmup_steps) / max(1, s.total_steps - s.warmup_steps)
    return _cosine(s.lr, s.final_lr, progress)


def weight_decay(s: ScheduleSettings, step: int) -> float:
    """Weight decay of optimiser step `step`."""
    return _cosine(s.weight_decay, s.final_weight_decay, (step + 1) / s.total_steps)


def ema_momentum(s: ScheduleSettings, step: int) -> float:
    """Momentum of the target update that follows optimiser step `step`."""
    if s.ema_mode == "official":
        span = s.total_steps * s.accumulation
    else:
        span = max(1, s.total_steps - 1)
    return s.ema + (s.final_ema - s.ema) * min(1.0, step / span)


def values_at(s: ScheduleSettings, step: int) -> StepValues:
    """All three values of optimiser step `step`."""
    return StepValues(learning_rate(s, step), weight_decay(s, step), ema_momentum(s, step))


def _cosine(start: float, end: float, progress: float) -> float:
    return end + (start - end) * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))
