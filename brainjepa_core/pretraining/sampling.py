"""Which people, windows and masks an optimiser step sees: pure functions of the step's number.

Shapes: B batch, K masks per sample, R ROIs, T frames, W time patches, N = R * W tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from brainjepa_core.arrays import Float32
from brainjepa_core.models.brain_jepa.settings import ModelSettings
from brainjepa_core.models.masks.draw import MaskBatch, mask_batch
from brainjepa_core.models.parts.tokens import token_validity
from brainjepa_core.pretraining.training_settings import TrainingSettings

DrawMasks = Callable[[list[int], NDArray[np.bool_] | None], MaskBatch]
"""Masks of a micro-batch, from its sample numbers and their valid tokens [B, N] (None: all)."""


class WindowSource(Protocol):
    """What training asks of data; `brainjepa_core.signals.windows.Windows` is one."""

    @property
    def subjects(self) -> int:
        """Number of people."""

    def batch(
        self, subjects: list[int], seeds: list[tuple[int, ...]]
    ) -> tuple[Float32, NDArray[np.bool_], NDArray[np.bool_]]:
        """Windows [B, R, T], valid frames [B, T] and valid ROIs [B, R]."""

    def name(self, subject: int) -> str:
        """What to call a person in files that stay on this machine."""


@dataclass(frozen=True)
class Batch:
    """One micro-batch on its device; the arguments of `BrainJEPA.sample_losses`."""

    x: Tensor
    context_index: Tensor
    target_index: Tensor
    context_valid: Tensor | None
    target_valid: Tensor | None
    token_valid: Tensor | None

    def to(self, device: torch.device) -> Batch:
        """Copy to a device without waiting for it."""
        moved: dict[str, Any] = {}
        for field in fields(self):
            value = getattr(self, field.name)
            if value is not None:
                value = value.pin_memory() if device.type == "cuda" else value
                value = value.to(device, non_blocking=True)
            moved[field.name] = value
        return Batch(**moved)


class Draw(NamedTuple):
    """One person drawn for an optimiser step."""

    subject: int
    epoch: int

    def number(self, subjects: int) -> int:
        """Number of this draw in the run: names its mask, whoever else is in the batch."""
        return self.epoch * subjects + self.subject


def draws_of_step(seed: int, step: int, batch_size: int, subjects: int) -> list[Draw]:
    """People of an optimiser step.

    Everybody is seen once an epoch, in an order drawn anew each epoch; a step may straddle
    several, so that a person of a small site can come twice, with different windows and masks.

    Parameters
    ----------
    seed, step : int
    batch_size : int
        B.
    subjects : int
        Number of people there are.

    Returns
    -------
    list of Draw
        B of them.
    """
    first = step * batch_size
    places = [divmod(place, subjects) for place in range(first, first + batch_size)]
    epochs = {epoch for epoch, _ in places}
    orders = {e: np.random.default_rng([seed, e]).permutation(subjects) for e in epochs}
    return [Draw(int(orders[epoch][place]), epoch) for epoch, place in places]


def batches_of_step(
    windows: WindowSource,
    model: ModelSettings,
    settings: TrainingSettings,
    step: int,
    draw_masks: DrawMasks | None = None,
) -> list[Batch]:
    """The micro-batches of an optimiser step, on the CPU.

    Parameters
    ----------
    windows, model, settings
    step : int
    draw_masks : callable, optional
        Masks of some sample numbers and their valid tokens; by default those of the settings.
    """
    draw_masks = draw_masks or _masks_of(model, settings, step)
    draws = draws_of_step(settings.seed, step, settings.batch_size, windows.subjects)
    size = settings.batch_size // settings.accumulation
    result = []
    for first in range(0, settings.batch_size, size):
        part = draws[first : first + size]
        x, frame_valid, roi_valid = windows.batch(
            [draw.subject for draw in part],
            [(settings.seed, step, draw.epoch) for draw in part],
        )
        valid = token_validity(frame_valid, roi_valid, model.patch)
        masks = draw_masks([draw.number(windows.subjects) for draw in part], valid)
        result.append(
            Batch(
                torch.from_numpy(x),
                masks.context_index,
                masks.target_index,
                masks.context_valid,
                masks.target_valid,
                None if valid is None else torch.from_numpy(valid),
            )
        )
    return result


def _masks_of(model: ModelSettings, settings: TrainingSettings, step: int) -> DrawMasks:
    def draw(samples: list[int], valid: NDArray[np.bool_] | None) -> MaskBatch:
        return mask_batch(
            settings.masks,
            rois=model.rois,
            patches=model.time_patches,
            seed=settings.seed,
            step=step,
            samples=samples,
            token_valid=valid,
        )

    return draw


def batches_ahead(
    windows: WindowSource,
    model: ModelSettings,
    settings: TrainingSettings,
    steps: range,
) -> Iterator[list[Batch]]:
    """Batches of consecutive steps, the next one made by a thread while this one is in use."""
    with ThreadPoolExecutor(1, thread_name_prefix="batches") as pool:
        make = lambda step: pool.submit(batches_of_step, windows, model, settings, step)  # noqa: E731
        waiting = make(steps.start) if steps else None
        for step in steps:
            assert waiting is not None
            current = waiting.result()
            waiting = make(step + 1) if step + 1 in steps else None
            yield current
