"""What a study's differential privacy would cost and leave to learn from, told before it begins.

Every figure is a function of numbers that all know: sites, people a site, steps, batch, parameters.

How much signal a step has follows from one assumption: that the mean of people's clipped gradients
is as long as `SIGNAL` of the largest norm C. That was measured in steps of 24 synthetic people of a
Brain-JEPA of 54 thousand parameters. The noise of P parameters is sqrt(P) times as long as of one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
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
    people : tuple of int
        Of each site, as it tells of them (rounded down), outside the held-out fold.
    steps : int
        Of the whole study.
    batch : int
        B of a site and step.
    parameters : int
        P: numbers that are trained.
    honest_sites : int, optional
        How many sites share the noise; None where each adds all of it.
    """

    people: tuple[int, ...]
    steps: int
    batch: int
    parameters: int
    honest_sites: int | None = None

    @property
    def sites(self) -> int:
        """How many take part."""
        return len(self.people)

    def release(self, people: int, noise: float) -> Release:
        """All steps of the study at a site of so many people."""
        rate = sampling_rate(self.batch, people)
        shared = self.honest_sites or 1
        return Release(noise=noise, rate=rate, times=self.steps, honest_sites=shared)


@dataclass(frozen=True)
class Promise:
    """What the people of sites of one size are promised.

    Attributes
    ----------
    people, sites : int
        Of each such site; how many of them.
    release : Release
    epsilon, alone : float
        Where `honest_sites` follow the protocol, and where one does; equal without sharing.
    """

    people: int
    sites: int
    release: Release
    epsilon: float
    alone: float


@dataclass(frozen=True)
class Plan:
    """A study's promises, and what they leave.

    Attributes
    ----------
    shape : StudyShape
    promises : tuple of Promise
        The smallest sites first.
    delta : float
    noise_in_mean : float
        Standard deviation of a parameter's noise in the mean gradient over all sites, units of C.
    """

    shape: StudyShape
    promises: tuple[Promise, ...]
    delta: float
    noise_in_mean: float

    def signal_to_noise(self, parameters: int | None = None) -> float:
        """Norm of the mean gradient over the norm of its noise, a step; of as many parameters."""
        number = self.shape.parameters if parameters is None else parameters
        return SIGNAL / (self.noise_in_mean * math.sqrt(number))

    @property
    def verdict(self) -> Verdict:
        """Whether it trains, keeps part of what training gives, or is noise."""
        ratio = self.signal_to_noise()
        if ratio >= ENOUGH:
            return "trains"
        return "part" if ratio >= LITTLE else "noise"


def plan_for(
    shape: StudyShape, delta: float, *, epsilon: float | None = None, noise: float | None = None
) -> Plan:
    """The plan for an epsilon, or for a noise.

    With an epsilon each site adds the least noise that keeps it for its own people; sites that
    share noise add parts of the same, that of the smallest site.

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
    require_delta(delta, max(shape.people))
    sizes = sorted(set(shape.people))
    if noise is not None:
        noises = dict.fromkeys(sizes, noise)
    else:
        assert epsilon is not None
        rates = {size: sampling_rate(shape.batch, size) for size in sizes}
        noises = {n: noise_for(epsilon, delta, rate, shape.steps) for n, rate in rates.items()}
        if shape.honest_sites is not None:
            noises = dict.fromkeys(sizes, max(noises.values()))
    promises = []
    for size in sizes:
        release = shape.release(size, noises[size])
        found = epsilon_of([release], delta)
        alone = found if release.honest_sites == 1 else epsilon_of([release.alone], delta)
        promises.append(Promise(size, shape.people.count(size), release, found, alone))
    return Plan(shape, tuple(promises), delta, noise_in_mean(shape, noises))


def noise_in_mean(shape: StudyShape, noises: Mapping[int, float]) -> float:
    """Standard deviation of one parameter's noise in the mean gradient of all sites, units of C.

    Parameters
    ----------
    shape : StudyShape
    noises : mapping of int to float
        sigma of a site by its people, of whose variance it adds ``1 / honest_sites``. The mean is
        over the sites' sums of B expected people.
    """
    variance = sum(noises[people] ** 2 for people in shape.people) / (shape.honest_sites or 1)
    return math.sqrt(variance) / (shape.sites * shape.batch)


def parameters_within(plan: Plan, ratio: float = ENOUGH) -> int:
    """How many parameters could be trained with that signal to noise, all else as it is."""
    return int((SIGNAL / (ratio * plan.noise_in_mean)) ** 2)


def people_within(plan: Plan, ratio: float = ENOUGH) -> int:
    """How many people a site would need, about, at the same rate and noise: batches grow too."""
    mean = sum(plan.shape.people) / plan.shape.sites
    return math.ceil(mean * ratio / plan.signal_to_noise())
