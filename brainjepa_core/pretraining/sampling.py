"""Which people, windows and masks an optimiser step sees: pure functions of the step's number.

Shapes: B batch, K masks per sample, R ROIs, T frames, W time patches, N = R * W tokens.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import NamedTuple, Protocol, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from brainjepa_core.arrays import Float32
from brainjepa_core.machine.processors import cores_of_one
from brainjepa_core.models.interface import BrainModel, Draws
from brainjepa_core.models.tokens import token_validity
from brainjepa_core.pretraining.computing.transfer import moved
from brainjepa_core.pretraining.phenotypes import PeopleToldOf, told_phenotypes
from brainjepa_core.pretraining.training_settings import TrainingSettings

MOST_LOADERS = 4  # each holds a step's windows in memory


class WindowSource(Protocol):
    """What training asks of data; `brainjepa_core.signals.windows.Windows` is one."""

    @property
    def subjects(self) -> int:
        """Number of people."""

    def batch(
        self, subjects: list[int], seeds: list[tuple[int, ...]]
    ) -> tuple[Float32, NDArray[np.bool_], NDArray[np.bool_]]:
        """Windows [B, R, T], valid frames [B, T] and valid ROIs [B, R]."""

    def rest(self, subjects: list[int], seeds: list[tuple[int, ...]]) -> Float32:
        """Connectivity [B, R, R] of what those windows leave, for models that predict it."""

    def name(self, subject: int) -> str:
        """What to call a person in files that stay on this machine."""


class PairedWindows(Protocol):
    """What is asked beside; `brainjepa_core.signals.volume_windows.VolumeWindows` is one."""

    def other(self, subjects: list[int], seeds: list[tuple[int, ...]]) -> Float32:
        """Second windows of the same scans, for models that compare two of volumes."""


@dataclass(frozen=True)
class Batch:
    """One micro-batch: windows, and what the model's family drew for them.

    Attributes
    ----------
    x : Tensor [B, R, T]
    token_valid : Tensor [B, N], optional
        bool; None where every token carries a signal.
    draws : dict of str to Tensor or None
        As `BrainModel.draw` gave them.
    """

    x: Tensor
    token_valid: Tensor | None
    draws: Draws

    def to(self, device: torch.device) -> Batch:
        """Copy to a device without waiting for it."""
        draws = {name: moved(value, device) for name, value in self.draws.items()}
        x, token_valid = moved(self.x, device), moved(self.token_valid, device)
        assert x is not None
        return Batch(x, token_valid, draws)


class Draw(NamedTuple):
    """One person drawn for an optimiser step."""

    subject: int
    epoch: int

    def number(self, subjects: int) -> int:
        """Number of this draw in the run: names its mask, whoever else is in the batch."""
        return self.epoch * subjects + self.subject


def draws_of_step(seed: int, step: int, batch_size: int, subjects: int) -> list[Draw]:
    """People of an optimiser step, nobody twice.

    An epoch is as many whole steps as there are people for; its order is drawn anew, so that who
    is left over differs from epoch to epoch. A site of fewer people than a step takes them all.

    Parameters
    ----------
    seed, step : int
    batch_size : int
        Most people of a step.
    subjects : int
        Number of people there are.

    Returns
    -------
    list of Draw
    """
    size = min(batch_size, subjects)
    epoch, place = divmod(step, subjects // size)
    order = np.random.default_rng([seed, epoch]).permutation(subjects)
    return [Draw(int(person), epoch) for person in order[place * size : (place + 1) * size]]


def batches_of_step(
    windows: WindowSource,
    model: BrainModel,
    settings: TrainingSettings,
    step: int,
    parts: slice = slice(None),
) -> list[Batch]:
    """The micro-batches of an optimiser step, on the CPU.

    Parameters
    ----------
    windows : WindowSource
    model : BrainModel
        Which draws what its losses need of chance.
    settings : TrainingSettings
    step : int
    parts : slice
        Which micro-batches are made; all by default.
    """
    draws = draws_of_step(settings.seed, step, settings.batch_size, windows.subjects)
    size = settings.batch_size // settings.accumulation
    result = []
    for first in range(0, len(draws), size)[parts]:
        part = draws[first : first + size]
        result.append(
            batch_of(
                windows,
                model,
                settings,
                step,
                subjects=[draw.subject for draw in part],
                seeds=[(settings.seed, step, draw.epoch) for draw in part],
                samples=[draw.number(windows.subjects) for draw in part],
            )
        )
    return result


def batch_of(
    windows: WindowSource,
    model: BrainModel,
    settings: TrainingSettings,
    step: int,
    *,
    subjects: list[int],
    seeds: list[tuple[int, ...]],
    samples: list[int],
) -> Batch:
    """One micro-batch: windows by their seeds, and what the model draws by its samples' numbers.

    Raises
    ------
    ValueError
        If the model cannot draw for one of them.
    """
    x, frame_valid, roi_valid = windows.batch(subjects, seeds)
    valid = token_validity(frame_valid, roi_valid, model.settings.patch)
    drawn = model.draw(
        settings.masks, seed=settings.seed, step=step, samples=samples, token_valid=valid
    )
    if model.settings.learned_phenotypes:
        told = told_phenotypes(cast(PeopleToldOf, windows), subjects, model.settings)
        drawn = {**drawn, "told": torch.from_numpy(told)}
    if model.settings.predicts_rest:
        drawn = {**drawn, "rest": torch.from_numpy(windows.rest(subjects, seeds))}
    if model.settings.volumes is not None and model.settings.volumes.windows > 1:
        second = cast(PairedWindows, windows).other(subjects, seeds)
        drawn = {**drawn, "other": torch.from_numpy(second)}
    return Batch(torch.from_numpy(x), None if valid is None else torch.from_numpy(valid), drawn)


def batches_ahead(
    windows: WindowSource,
    model: BrainModel,
    settings: TrainingSettings,
    steps: range,
    parts: slice = slice(None),
) -> Iterator[list[Batch]]:
    """Batches of consecutive steps, the next ones made by threads while one is in use.

    A step's batches are a function of its number, so they are the same for any number of threads.
    Threads, for what they do (reading, copying, aligning) lets others run: processes would have to
    hand over every batch.
    """
    make = partial(batches_of_step, windows, model, settings, parts=parts)
    pool = ThreadPoolExecutor(loaders(), thread_name_prefix="batches")
    try:
        coming = iter(steps)
        waiting = deque(pool.submit(make, step) for step in islice(coming, loaders()))
        while waiting:
            current = waiting.popleft().result()
            waiting.extend(pool.submit(make, step) for step in islice(coming, 1))
            yield current
    finally:
        pool.shutdown(cancel_futures=True)


def loaders() -> int:
    """Threads that make batches, and steps that are made ahead."""
    return min(MOST_LOADERS, cores_of_one())
