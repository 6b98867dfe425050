"""A private step of many sites: clipped gradients as integers, summed, with noise that sites share.

Each person's clipped gradient is rounded to integers before anything is added, so that a site's sum
is exact, and one person more or less changes it by at most C / step + sqrt(P) / 2: rounding moves
each of P numbers by at most a half. To that each site adds normal numbers of a variance of
noise^2 / honest_sites in units of that norm, rounded to integers. Then the sum goes under masks.

The sum of h rounded normal numbers is no normal number, but as private as one: a number rounded
to integers has the density of the unrounded one plus a uniform, read at integers; so h of them,
added, have the density of a normal number of h times the variance plus h uniforms, read at
integers (but for a part of e^(-pi^2 s^2), s the standard deviation of one in steps), which is what
rounding a normal number plus h - 1 uniforms gives: that computes on what noise has hidden already.
So no last bits of a sum of floating-point noise can tell (Mironov, CCS 2012; Kairouz, Liu and
Steinke, ICML 2021, who take discrete normal numbers). What is left of floating point: the last bits
of a person's own gradient may depend on who is computed beside them, which moves a number by a step
at most.

Shapes: P numbers of all trained parameters.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from brainjepa_core.arrays import Arrays, Float64
from brainjepa_core.models.interface import BrainModel
from brainjepa_core.pretraining.computing.settings import EXACT, Computing
from brainjepa_core.pretraining.parallel.processes import ALONE, Processes
from brainjepa_core.pretraining.sampling import Batch
from brainjepa_core.pretraining.training_settings import TrainingSettings
from brainjepa_core.privacy.gradient import USE, ClippedGradients
from brainjepa_core.privacy.secret import RequestSecret
from brainjepa_core.privacy.settings import PrivacySettings
from brainjepa_core.secure_sums.encoding.fixed_point import FixedPoint

FARTHEST = 10.0  # standard deviations of the noise that fit into an integer: nobody sees more
FINE = 4.0  # steps in a standard deviation of one site's noise, at least
_FLOAT32 = 1e-5  # relative error of a norm in float32, at most


@dataclass(frozen=True)
class GradientCode:
    """How sites' sums of clipped gradients become integers. All sites and the coordinator have it.

    Attributes
    ----------
    shapes : mapping of str to tuple of int
        Of the trained parameters.
    protection : PrivacySettings
    batch : int
        B: people of a site and step, as the study has it.
    sites : int
        In the roster.

    Raises
    ------
    ValueError
        If the noise is finer than the integers.
    """

    shapes: Mapping[str, tuple[int, ...]]
    protection: PrivacySettings
    batch: int
    sites: int

    def __post_init__(self) -> None:
        if self.spread < FINE:
            least = self.protection.noise * FINE / self.spread
            raise ValueError(
                f"expected a noise of at least {least:.2g} that {self.protection.honest_sites} of "
                f"{self.sites} sites share, found {self.protection.noise:g}; less is lost in "
                "rounding to integers: ask for more noise"
            )

    @property
    def points(self) -> FixedPoint:
        """Of each number: of as many people as are expected, and noise; others become its ends."""
        reach = self.batch + FARTHEST * self.protection.site_noise
        return FixedPoint(reach * self.protection.clip, self.sites, np.uint32)

    @property
    def sensitivity(self) -> float:
        """Largest norm, in steps, of what one person changes."""
        numbers = sum(math.prod(shape) for shape in self.shapes.values())
        return self.protection.clip * (1 + _FLOAT32) / self.points.step + math.sqrt(numbers) / 2

    @property
    def spread(self) -> float:
        """Standard deviation, in steps, of one site's noise."""
        return self.protection.site_noise * self.sensitivity

    @property
    def layout(self) -> dict[str, tuple[type[np.uint32], tuple[int, ...]]]:
        """Dtype and shape of each array of a vector."""
        return {name: (np.uint32, shape) for name, shape in self.shapes.items()}

    def noised(self, sums: Mapping[str, Float64], secret: RequestSecret, step: int) -> Arrays:
        """A site's vector.

        Parameters
        ----------
        sums : mapping of str to ndarray of float64
            Whole numbers: the people's rounded gradients, added.
        secret : RequestSecret
            Of the site, for the noise.
        step : int

        Returns
        -------
        dict of str to ndarray of uint32
        """
        most, counts = self.points.levels, [value.size for value in sums.values()]
        noise = secret.stream(USE, step).normals(sum(counts)).numpy()
        vector: Arrays = {}
        first = 0
        for (name, value), count in zip(sums.items(), counts, strict=True):
            added = np.rint(noise[first : first + count] * self.spread).reshape(value.shape)
            added += value
            # Clipping each number moves no two sums apart; modulo 2^32 by the lower half.
            whole = np.clip(added, -most, most, out=added).astype(np.int64)
            vector[name] = whole.astype(np.uint32)
            first += count
        return vector

    def mean(self, total: Mapping[str, NDArray[np.uint32]], alive: int) -> dict[str, Float64]:
        """Mean gradient over the expected people of `alive` sites.

        Raises
        ------
        OutOfRange
            If no sites that follow the protocol have such a sum.
        """
        people = alive * self.batch
        return {name: self.points.decode(total[name], alive) / people for name in self.shapes}


def rounded_sums(
    model: BrainModel,
    settings: TrainingSettings,
    code: GradientCode,
    batches: Sequence[Batch],
    device: torch.device,
    computing: Computing = EXACT,
    processes: Processes = ALONE,
) -> dict[str, Float64]:
    """Sums of people's clipped gradients in steps, each rounded before it is added: whole numbers.

    Parameters
    ----------
    model : BrainModel
        On `device`.
    settings : TrainingSettings
    code : GradientCode
    batches : sequence of Batch
        Of one step; none where nobody was drawn.
    device : torch.device
    computing : Computing
    processes : Processes
        That share the micro-batches.
    """
    clipped = ClippedGradients(model, settings, code.protection.clip, device, computing)
    numbers = [p.numel() for p in clipped.trained.values()]
    total = torch.zeros(sum(numbers), dtype=torch.float64, device=device)
    for people in itertools.chain.from_iterable(clipped(batches)):
        steps = people.factors.double() / code.points.step
        for row, factor in zip(people.rows, steps, strict=True):
            total.add_(row.double().mul_(factor).round_())  # exact: far below 2^53
    total = processes.add([total], total)
    parts = zip(clipped.trained.items(), total.cpu().split(numbers), strict=True)
    return {name: part.view_as(p).numpy() for (name, p), part in parts}
