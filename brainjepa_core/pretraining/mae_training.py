"""Pretraining of the masked-autoencoder baseline: the JEPA's people, windows, steps and schedules.

Shapes: B batch, N tokens.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from brainjepa_core.gradients import ConsensusBasis
from brainjepa_core.models.brain_jepa.model import BrainJEPA
from brainjepa_core.models.brain_jepa.settings import ModelSettings
from brainjepa_core.models.masked_autoencoder.model import MaskedAutoencoder, random_masks
from brainjepa_core.models.masks.draw import MaskBatch
from brainjepa_core.pretraining.sampling import Batch, WindowSource, batches_of_step
from brainjepa_core.pretraining.settings import PretrainingSettings
from brainjepa_core.pretraining.step import Training
from brainjepa_core.pretraining.training_settings import TrainingSettings


def pretrain_mae(
    windows: WindowSource,
    study: PretrainingSettings,
    basis: ConsensusBasis,
    *,
    steps: int | None = None,
    device: str | torch.device = "cpu",
    on_step: Callable[[int, Tensor], None] | None = None,
) -> BrainJEPA:
    """Train a study's encoder as a masked autoencoder.

    Parameters
    ----------
    windows : WindowSource
        The people a JEPA of this study is trained on.
    study : PretrainingSettings
        Sizes, recipe, seed and schedules; its masks and objective are not used.
    basis : ConsensusBasis
    steps : int, optional
        Stop after so many of the schedule's steps; all of them by default.
    device : str or torch.device
    on_step : callable, optional
        Called with each step's number and loss (a scalar still on the device).

    Returns
    -------
    BrainJEPA
        Encoder and target encoder both hold the trained weights, so that whatever embeds or
        fine-tunes a JEPA takes it; its predictor is the untrained one.

    Raises
    ------
    ValueError
        If a loss or an update was not finite.
    """
    training = new_mae_training(study, basis, device)
    total = study.training.schedule.total_steps
    for step in range(total if steps is None else min(steps, total)):
        batches = mae_batches_of_step(windows, training.model.settings, study.training, step)
        loss = training.advance(batches)
        if on_step is not None:
            on_step(step, loss)
    bad = training.first_bad_step()
    if bad is not None:
        raise ValueError(
            f"expected a finite loss of the masked autoencoder, found NaN or infinity at step "
            f"{bad}; lower the learning rate or set clip_norm"
        )
    model = study.new_model(basis).to(device)
    for part in (model.encoder, model.target_encoder):
        part.load_state_dict(training.model.encoder.state_dict())
    return model


def new_mae_training(
    study: PretrainingSettings, basis: ConsensusBasis, device: str | torch.device = "cpu"
) -> Training:
    """Training at step 0, from the encoder weights that the study's JEPA starts from."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(study.training.seed)
        settings = study.model_settings(len(basis.rois))
        model = MaskedAutoencoder(settings, torch.tensor(basis.gradients))
    return Training(model, study.training, device)


def mae_batches_of_step(
    windows: WindowSource, model: ModelSettings, settings: TrainingSettings, step: int
) -> list[Batch]:
    """The micro-batches of a step: `sampling.batches_of_step` with random masks."""

    def draw(samples: list[int], valid: NDArray[np.bool_] | None) -> MaskBatch:
        return random_masks(
            model.tokens, seed=settings.seed, step=step, samples=samples, token_valid=valid
        )

    return batches_of_step(windows, model, settings, step, draw)
