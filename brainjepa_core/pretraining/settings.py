"""A local study in one file: model, windows, basis and recipe, and how they fit together."""

from __future__ import annotations

from typing import Any, Literal

import torch
from pydantic import Field, ValidationError, model_validator

from brainjepa_core.gradients import ConsensusBasis
from brainjepa_core.models.brain_jepa.model import BrainJEPA
from brainjepa_core.models.brain_jepa.settings import ModelSettings
from brainjepa_core.models.checkpoint import Provenance
from brainjepa_core.pretraining.schedules import ScheduleSettings
from brainjepa_core.pretraining.step import Training
from brainjepa_core.pretraining.training_settings import TrainingSettings
from brainjepa_core.settings import Frozen, problems_of
from brainjepa_core.signals.windows import Windows, WindowSettings


class BasisSettings(Frozen):
    """How the ROI basis is computed (`brainjepa_core.gradients`)."""

    components: int = Field(30, ge=1)
    sparsity: float = Field(0.9, ge=0, lt=1)


class PretrainingSettings(Frozen):
    """Everything that decides what local pretraining computes, but for the data.

    Attributes
    ----------
    preset : {"tiny", "small", "base", "large"}
    recipe : {"default", "published"}
    model : dict
        Fields of `ModelSettings` that differ from the preset's; R, T and m follow from the data,
        the windows and the basis.
    windows : WindowSettings
    basis : BasisSettings
    training : TrainingSettings
    """

    preset: str = "tiny"
    recipe: Literal["default", "published"] = "default"
    model: dict[str, Any] = {}
    windows: WindowSettings = WindowSettings()
    basis: BasisSettings = BasisSettings()
    training: TrainingSettings = TrainingSettings(
        schedule=ScheduleSettings(total_steps=1000, warmup_steps=100)
    )

    @model_validator(mode="after")
    def _sizes_fit(self) -> PretrainingSettings:
        derived = sorted({"rois", "frames", "components"} & self.model.keys())
        if derived:
            raise ValueError(
                f"expected a model without {', '.join(derived)}, which follow from the data; "
                "set windows.frames and basis.components instead"
            )
        try:  # now, not when the data has been read
            self.model_settings(rois=1)
        except ValidationError as error:
            raise ValueError(f"model: {problems_of(error)}") from error
        return self

    def model_settings(self, rois: int) -> ModelSettings:
        """Settings of the model for an atlas of `rois` ROIs."""
        return ModelSettings.preset(
            self.preset,
            rois=rois,
            recipe=self.recipe,
            frames=self.windows.frames,
            components=self.basis.components,
            **self.model,
        )

    def new_model(self, basis: ConsensusBasis) -> BrainJEPA:
        """A model with random weights, a function of the study's seed."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.training.seed)
            settings = self.model_settings(len(basis.rois))
            return BrainJEPA(settings, torch.tensor(basis.gradients))

    def new_training(self, basis: ConsensusBasis, device: str | torch.device) -> Training:
        """Training at step 0."""
        return Training(self.new_model(basis), self.training, device)


def provenance(windows: Windows, basis: ConsensusBasis) -> Provenance:
    """What a model trained on these windows and this basis is tied to."""
    return Provenance(
        atlas=windows.atlas.name,
        rois=windows.atlas.rois,
        basis_hash=basis.hash,
        signals=windows.describe(),
    )
