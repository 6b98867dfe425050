"""What a study's differential privacy would cost and leave to learn from, told before it begins.

Every figure is a function of numbers that all know: sites, people a site, steps, batch, parameters.

How much signal a step has follows from one assumption: that the mean of people's clipped gradients
is as long as `SIGNAL` of the largest norm C. That was measured in steps of 24 synthetic people of a
Brain-JEPA of 54 thousand parameters. The noise of P parameters is sqrt(P) times as long as of one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from brainjepa_core.privacy.accounting import Release, epsilon_of, noise_for, require_delta
from brainjepa_core.privacy.sampling import sampling_rate

SIGNAL = 0.30  # of C: norm of the mean of clipped gradients
# Ratios of signal to noise a step at which 150 steps kept most of what they gain without noise (64
# to 88 %), and little of it (4 to 20 %); measured on synthetic people, 54 thousand parameters.
ENOUGH, LITTLE = 0.19, 0.04
SENSIBLE = 10.0  # an epsilon above which a promise is one in name only
Verdict = Literal["trains", "part", "noise"]


@dataclass(frozen=True)
class StudyShape:
    """What decides the cost of a private study.

    Attributes
    ----------
    sites : int
    people : int
        Of a site, as it tells of them (rounded down), outside the held-out fold.
    steps : int
        Of the whole study.
    batch : int
        B of a site and step.
    parameters : int
        P: numbers that are trained.
    honest_sites : int
        How many sites share the noise; 1 where each adds all of it.
    """

    sites: int
    people: int
    steps: int
    batch: int
    parameters: int
    honest_sites: int = 1

    @property
    def rate(self) -> float:
        """Q of a person in a step."""
        return sampling_rate(self.batch, self.people)


@dataclass(frozen=True)
class Plan:
    """A study's promise, and what it leaves.

    Attributes
    ----------
    shape : StudyShape
    noise : float
        sigma, in units of C, in the sum of a step as the coordinator sees it.
    epsilon, alone : float
        Where `honest_sites` follow the protocol, and where one does; equal without sharing.
    delta : float
    noise_in_mean : float
        Standard deviation of a parameter's noise in the mean gradient over all sites, units of C.
    signal_to_noise : float
        Norm of the mean gradient over the norm of its noise, a step.
    """

    shape: StudyShape
    noise: float
    epsilon: float
    alone: float
    delta: float
    noise_in_mean: float
    signal_to_noise: float

    @property
    def verdict(self) -> Verdict:
        """Whether it trains, keeps part of what training gives, or is noise."""
        if self.signal_to_noise >= ENOUGH:
            return "trains"
        return "part" if self.signal_to_noise >= LITTLE else "noise"


def plan_for(
    shape: StudyShape, delta: float, *, epsilon: float | None = None, noise: float | None = None
) -> Plan:
    """The plan for an epsilon, or for a noise.

    Parameters
    ----------
    shape : StudyShape
    delta : float
    epsilon, noise : float, optional
        One of the two.

    Raises
    ------
    ValueError
        If both or none is given, or delta is more than a tenth of a person.
    """
    if (epsilon is None) == (noise is None):
        raise ValueError("expected an epsilon or a noise, found both or none; give one of the two")
    require_delta(delta, shape.people)
    if noise is None:
        assert epsilon is not None
        noise = noise_for(epsilon, delta, shape.rate, shape.steps)
    release = Release(
        noise=noise, rate=shape.rate, times=shape.steps, honest_sites=shape.honest_sites
    )
    found = epsilon_of([release], delta)
    alone = found if shape.honest_sites == 1 else epsilon_of([release.alone], delta)
    mean = noise_in_mean(shape, noise)
    ratio = SIGNAL / (mean * math.sqrt(shape.parameters))
    return Plan(shape, noise, found, alone, delta, mean, ratio)


def noise_in_mean(shape: StudyShape, noise: float) -> float:
    """Standard deviation of one parameter's noise in the mean gradient of all sites, units of C.

    Each site's share of the variance is ``noise**2 / honest_sites``, and the mean is over
    ``sites`` sums of B expected people.
    """
    of_sum = noise * math.sqrt(shape.sites / shape.honest_sites)
    return of_sum / (shape.sites * shape.batch)


def parameters_within(plan: Plan, ratio: float = ENOUGH) -> int:
    """How many parameters could be trained with that signal to noise, all else as it is."""
    return int((SIGNAL / (ratio * plan.noise_in_mean)) ** 2)


def people_within(plan: Plan, ratio: float = ENOUGH) -> int:
    """How many people a site would need, about, at the same rate and noise: batches grow too."""
    return math.ceil(plan.shape.people * ratio / plan.signal_to_noise)
