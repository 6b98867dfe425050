"""Settings of a pretraining run: what every step does, as a function of the step's number."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from brainjepa_core.models.masks.settings import MaskSettings
from brainjepa_core.pretraining.schedules import ScheduleSettings
from brainjepa_core.settings import Frozen


class TrainingSettings(Frozen):
    """The recipe of a run; sizes of the model are in the settings of its family.

    Attributes
    ----------
    seed : int
        Of weights, sampling and masks.
    batch_size : int
        Subjects an optimiser step (one window each).
    accumulation : int
        Equal micro-batches a step is computed in.
    schedule : ScheduleSettings
    masks : MaskSettings
    optimizer : {"adamw", "sgd"}
        ``sgd`` is without momentum, for checks: averaged steps of it are a step on the average.
    betas : (float, float)
        Of AdamW.
    train : {"all", "adapters"}
        All weights, or adapters of the attention and the LayerNorms (`models.adapters`): little
        travels, and little noise suffices for differential privacy.
    adapter_rank : int
        Of adapters.
    clip_norm : float, optional
        Largest norm of a step's gradient; none by default, as published.
    tolerance : float
        How far a step's loss may be from that of exact float32, relative to it. How a machine
        computes is its own choice within that (`pretraining.computing`); 0 asks for float32 by
        plain kernels.
    """

    seed: int = Field(0, ge=0)
    batch_size: int = Field(16, ge=1)
    accumulation: int = Field(1, ge=1)
    schedule: ScheduleSettings
    masks: MaskSettings = MaskSettings()
    optimizer: Literal["adamw", "sgd"] = "adamw"
    betas: tuple[float, float] = (0.9, 0.999)
    train: Literal["all", "adapters"] = "all"
    adapter_rank: int = Field(4, ge=1)
    clip_norm: float | None = Field(None, gt=0)
    tolerance: float = Field(0.01, ge=0, allow_inf_nan=False)

    @model_validator(mode="after")
    def _one_accumulation(self) -> TrainingSettings:
        found = self.schedule.accumulation
        if self.schedule.ema_mode == "official" and found != self.accumulation:
            raise ValueError(
                f"expected schedule.accumulation to be accumulation ({self.accumulation}), by "
                f"which the official momentum counts, found {found}; set both to one number"
            )
        return self

    @model_validator(mode="after")
    def _whole_micro_batches(self) -> TrainingSettings:
        if self.batch_size % self.accumulation:
            raise ValueError(
                f"expected batch_size to be a multiple of accumulation, found {self.batch_size} "
                f"and {self.accumulation}; change one of the two"
            )
        return self
