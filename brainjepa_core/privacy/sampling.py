"""Who is in a private step: each person by a coin of their own, which only the site knows.

Nothing of a draw is a function of what the coordinator knows, nor of who else there is: the window
and the mask of a person come from the person's own words of the site's stream. (Were masks counted
by the place in the batch, one person more would give everybody after them another mask, and the
sum would change by more than one person's share.) Sizes of masks are the step's, as ever.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch

from brainjepa_core.models.interface import BrainModel
from brainjepa_core.pretraining.sampling import Batch, WindowSource, batch_of
from brainjepa_core.pretraining.training_settings import TrainingSettings
from brainjepa_core.privacy.secret import RequestSecret

USE = "sampling"


class SecretDraw(NamedTuple):
    """A person of a step, and the numbers that the person's window and mask are drawn by."""

    subject: int
    window: int
    mask: int


@dataclass(frozen=True)
class PoissonSampling:
    """Each person joins a step with the same probability, whoever else does.

    Attributes
    ----------
    secret : RequestSecret
    expected : int
        B: people of a step, as the study has it; what a step's sum is divided by.
    public_people : int
        The site's number of people as it is told (rounded down), never the exact one.

    Raises
    ------
    ValueError
        If no people are told of.
    """

    secret: RequestSecret
    expected: int
    public_people: int

    def __post_init__(self) -> None:
        if self.public_people < 1:
            raise ValueError(
                "expected a site that tells of at least one person, found 0 after rounding; round "
                "to a smaller number (policy.round_counts_to), or go on without this site"
            )

    @property
    def rate(self) -> float:
        """q: the probability with which a person is in a step."""
        return sampling_rate(self.expected, self.public_people)

    def draws(self, step: int, subjects: int) -> list[SecretDraw]:
        """People of a step, out of 0 .. subjects - 1, nobody twice; perhaps nobody at all."""
        coins, windows, masks = self.secret.stream(USE, step).words(3 * subjects).reshape(3, -1)
        joined = np.arange(subjects)
        if self.expected < self.public_people:
            limit = (self.expected << 64) // self.public_people
            joined = np.flatnonzero(coins < np.uint64(limit))
        return [SecretDraw(int(i), int(windows[i]), int(masks[i])) for i in joined]


def sampling_rate(expected: int, public_people: int) -> float:
    """Probability of being in a step of `expected` people; all are where there are fewer."""
    return min(1.0, expected / public_people)


def private_batches_of_step(
    windows: WindowSource,
    model: BrainModel,
    settings: TrainingSettings,
    step: int,
    sampling: PoissonSampling,
    parts: slice = slice(None),
) -> list[Batch]:
    """The micro-batches of a private step, on the CPU; none where nobody was drawn.

    A person whose window has too few tokens for a mask counts 0, as one whose gradient is no
    number does: a refusal would tell of that person. A micro-batch of such people alone is empty.

    Parameters
    ----------
    windows : WindowSource
    model : BrainModel
    settings : TrainingSettings
    step : int
    sampling : PoissonSampling
    parts : slice
        Which micro-batches are made; all by default.
    """
    draws = sampling.draws(step, windows.subjects)
    size = settings.batch_size // settings.accumulation
    nobody = Batch(torch.empty(0, model.settings.rois, model.settings.frames), None, {})
    return [
        _batch(windows, model, settings, step, draws[first : first + size]) or nobody
        for first in range(0, len(draws), size)[parts]
    ]


def _batch(
    windows: WindowSource,
    model: BrainModel,
    settings: TrainingSettings,
    step: int,
    draws: list[SecretDraw],
) -> Batch | None:
    """One micro-batch of those for whom a mask can be drawn; None where that is nobody."""
    try:
        return batch_of(
            windows,
            model,
            settings,
            step,
            subjects=[draw.subject for draw in draws],
            seeds=[(draw.window,) for draw in draws],
            samples=[draw.mask for draw in draws],
        )
    except ValueError:
        if len(draws) == 1:
            return None
        alone = [_batch(windows, model, settings, step, [draw]) is not None for draw in draws]
        kept = [draw for draw, usable in zip(draws, alone, strict=True) if usable]
        return _batch(windows, model, settings, step, kept) if 0 < len(kept) < len(draws) else None
