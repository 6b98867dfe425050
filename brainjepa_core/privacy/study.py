"""What a study under ``protect: dp`` promises each site, and what that costs a site's people."""

from __future__ import annotations

from functools import lru_cache
from typing import Literal

from pydantic import Field, model_validator

from brainjepa_core.consortium.summing import threshold
from brainjepa_core.pretraining.training_settings import TrainingSettings
from brainjepa_core.privacy.accounting import DELTA, Release, noise_for, require_delta
from brainjepa_core.privacy.budget import Budget
from brainjepa_core.privacy.sampling import sampling_rate
from brainjepa_core.privacy.settings import PrivacySettings
from brainjepa_core.settings import Frozen

LEAST, MOST = 0.01, 1000.0  # epsilons that a study may promise


class StudyPrivacy(Frozen):
    """Differential privacy of a study's training, person by person: section ``privacy``.

    Attributes
    ----------
    epsilon : float, optional
        What each site's people are promised of the whole study; a site adds the least noise that
        keeps it, by its own number of people. Or
    noise : float, optional
        the same noise at every site, in units of `clip`; a small site's people are then promised
        less than a large one's.
    delta : float
        Probability with which more may be told.
    clip : float
        Largest norm of a person's gradient, over all trained parameters together.
    where : {"local", "central"}
        ``local``: each site adds all of its noise, and its people need to trust nobody.
        ``central``: sites share it within a secure sum of one step's gradients a round, and
        people need to trust that `honest_sites` sites add their part.
    honest_sites : int, optional
        With ``central``: of the sites in a sum, how many follow the protocol, at the least. At most
        the threshold of the secure sum.
    """

    epsilon: float | None = Field(None, ge=LEAST, le=MOST, allow_inf_nan=False)
    noise: float | None = Field(None, ge=1e-6, le=1e6, allow_inf_nan=False)
    delta: float = Field(DELTA, gt=0, lt=1)
    clip: float = Field(1.0, gt=0, le=1e6)
    where: Literal["local", "central"] = "local"
    honest_sites: int | None = Field(None, ge=1)

    @model_validator(mode="after")
    def _one_of_two(self) -> StudyPrivacy:
        if (self.epsilon is None) == (self.noise is None):
            found = "none" if self.noise is None else "both"
            raise ValueError(f"expected epsilon or noise, found {found}; give one of the two")
        return self

    @model_validator(mode="after")
    def _shared_centrally(self) -> StudyPrivacy:
        if (self.where == "central") != (self.honest_sites is not None):
            local = f"{self.honest_sites} with where: local"
            found = "none" if self.honest_sites is None else local
            raise ValueError(
                "expected honest_sites with where: central and nowhere else, found "
                f"{found}; say how many sites of a sum people are asked to trust (at most the "
                "threshold of the secure sum, more than two thirds of the sites), or leave it out"
            )
        if self.where == "central" and self.noise is None:
            raise ValueError(
                "expected noise with where: central, found epsilon; sites that share noise have to "
                "add parts of the same: give the noise that brainjepa server plan tells for an "
                "epsilon"
            )
        return self

    def require_shared_by(self, sites: int) -> None:
        """Refuse to count on more honest sites than a secure sum of `sites` is sure to have.

        Raises
        ------
        ValueError
        """
        if self.honest_sites is not None and self.honest_sites > threshold(sites):
            raise ValueError(
                f"expected privacy.honest_sites of at most {threshold(sites)}, the sites that a "
                f"secure sum of {sites} is sure to have, found {self.honest_sites}; lower it"
            )

    @property
    def is_central(self) -> bool:
        """Whether sites share the noise."""
        return self.where == "central"

    @classmethod
    def taking(cls, budget: Budget) -> StudyPrivacy:
        """What a study promises that takes all of a budget."""
        return cls(epsilon=min(max(budget.epsilon, LEAST), MOST), delta=budget.delta)

    def release(self, training: TrainingSettings, people: int, folds: int) -> Release:
        """All steps of the study, as a site's ledger counts them.

        Parameters
        ----------
        training : TrainingSettings
        people : int
            Of the site, as it tells of them (rounded down).
        folds : int
            One of which is held out.

        Raises
        ------
        ValueError
            If delta is more than a tenth of a person, or no noise keeps the promise.
        """
        learning = learning_people(people, folds)
        require_delta(self.delta, learning)
        rate, steps = sampling_rate(training.batch_size, learning), training.schedule.total_steps
        noise = self.noise
        if noise is None:
            assert self.epsilon is not None
            noise = _least_noise(self.epsilon, self.delta, rate, steps)
        return Release(noise=noise, rate=rate, times=steps, honest_sites=self.honest_sites or 1)

    def protection(self, release: Release) -> PrivacySettings:
        """What a step does to keep it."""
        return PrivacySettings(
            clip=self.clip,
            noise=release.noise,
            where=self.where,
            honest_sites=release.honest_sites,
        )


@lru_cache(maxsize=64)  # seconds, and asked for with every message of a study
def _least_noise(epsilon: float, delta: float, rate: float, steps: int) -> float:
    return noise_for(epsilon, delta, rate, steps)


def learning_people(people: int, folds: int) -> int:
    """People outside the held-out fold, of so many as a site tells of: what its rate is of.

    Raises
    ------
    ValueError
        If the site tells of nobody.
    """
    if people < 1:
        raise ValueError(
            "expected a site that tells of at least one person, found 0 after rounding; round to a "
            "smaller number (policy.round_counts_to), or go on without this site"
        )
    return max(1, people * (folds - 1) // folds)
