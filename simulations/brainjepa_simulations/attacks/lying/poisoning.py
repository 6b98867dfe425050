"""What one lying site does to one round: the poisoning table.

Honest updates come from the product's own training on a synthetic cohort; the lying site's reply
goes through the coordinator's own judgement and combination. The result is compared with the mean
of all sites' honest updates, the lying one's included.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch

from brainjepa_core.arrays import Float32, Float64
from brainjepa_core.gradients import ConsensusBasis
from brainjepa_core.models.checkpoint import model_arrays
from brainjepa_core.models.interface import BrainModel
from brainjepa_core.models.roles import Roles
from brainjepa_core.pretraining.sampling import batches_ahead
from brainjepa_core.pretraining.settings import PretrainingSettings
from brainjepa_core.pretraining.site_sums.basis import connectivity_sum
from brainjepa_core.pretraining.step import Training
from brainjepa_core.signals.storing.store import ScanStore
from brainjepa_core.signals.windows import Windows
from brainjepa_core.wire.messages import Reply, Scalar
from brainjepa_server.combining.judging import JudgedReplies
from brainjepa_server.combining.validation import Counts, RejectedReply
from brainjepa_server.settings import AggregationSettings
from brainjepa_simulations.cohort.cohort import CohortSettings
from brainjepa_simulations.cohort.stores import write_cohort

PEOPLE = 24  # of each site
ALL = 1e9  # the largest share that passes
SMALL_STUDY = PretrainingSettings.model_validate(
    {
        "model": {
            "width": 32, "depth": 2, "heads": 2,
            "predictor_width": 32, "predictor_depth": 2, "predictor_heads": 2,
        },
        "windows": {"frames": 48},
        "basis": {"components": 6},
        "training": {
            "batch_size": 8,
            "clip_norm": 1.0,
            "schedule": {
                "total_steps": 60, "warmup_steps": 4, "start_lr": 1e-4, "lr": 2e-3, "final_lr": 2e-5
            },
        },
    }
)  # fmt: skip

Weights = dict[str, Float32]


@dataclass(frozen=True, eq=False)
class HonestRound:
    """What sites send in one round when none of them lies.

    Attributes
    ----------
    base : dict of str to ndarray of float32
        The round's global weights.
    sites : tuple of dict of str to ndarray of float32
        Each site's weights after the round.
    roles : Roles
    steps : int
        Optimiser steps of the round.
    people : int
        Of each site.
    """

    base: Weights
    sites: tuple[Weights, ...]
    roles: Roles
    steps: int
    people: int = PEOPLE

    def difference(self, weights: Mapping[str, Float32 | Float64]) -> Float64:
        """Some weights less the round's, as one vector of float64."""
        return np.concatenate(
            [(weights[n].astype(np.float64) - self.base[n]).ravel() for n in sorted(weights)]
        )

    def weights(self, difference: Float64) -> Weights:
        """The round's weights moved by a vector, as a site would send them."""
        found, start = {}, 0
        for name in sorted(self.sites[0]):
            value = self.base[name]
            part = difference[start : start + value.size].reshape(value.shape)
            found[name], start = (value + part).astype(np.float32), start + value.size
        return found


class Effect(NamedTuple):
    """What a lie does to a round.

    Attributes
    ----------
    progress : float
        Of the combined difference along the honest mean, in lengths of that: 1 without a lie.
    error : float
        Distance of the two, in the same lengths: 0 without a lie.
    told : str
        Why the lying site was left out, clipped or capped; empty where nobody noticed.
    """

    progress: float
    error: float
    told: str


Attack = Callable[[HonestRound, AggregationSettings, np.random.Generator], Float64]


def _own(honest: HonestRound) -> Float64:
    return honest.difference(honest.sites[-1])


def _norm(honest: HonestRound) -> float:
    """The median norm of honest differences."""
    return float(np.median([np.linalg.norm(honest.difference(site)) for site in honest.sites]))


def _random(
    honest: HonestRound, settings: AggregationSettings, rng: np.random.Generator
) -> Float64:
    """Noise, as long as just passes."""
    noise = rng.standard_normal(_own(honest).size)
    return 0.99 * settings.max_norm * _norm(honest) / np.linalg.norm(noise) * noise


def _zero(honest: HonestRound) -> Float64:
    """A model of zeros."""
    return honest.difference({name: np.zeros_like(v) for name, v in honest.sites[0].items()})


def _shortened_zero(
    honest: HonestRound, settings: AggregationSettings, _: np.random.Generator
) -> Float64:
    """Towards a model of zeros, as far as just passes."""
    away = _zero(honest)
    return 0.99 * settings.max_norm * _norm(honest) / np.linalg.norm(away) * away


def _under(honest: HonestRound) -> Float64:
    """One standard deviation below the others' mean in every weight: hard to tell from them."""
    others = np.stack([honest.difference(site) for site in honest.sites[:-1]])
    found: Float64 = others.mean(0) - others.std(0)
    return found


ATTACKS: dict[str, Attack] = {
    "none": lambda h, s, r: _own(h),
    "flip": lambda h, s, r: -_own(h),
    "flip, as long as passes": lambda h, s, r: -0.99 * s.max_norm * _own(h),
    "flip x 10": lambda h, s, r: -10 * _own(h),
    "scale x 10": lambda h, s, r: 10 * _own(h),
    "random, as long as passes": _random,
    "zero the model": lambda h, s, r: _zero(h),
    "towards zero, as long as passes": _shortened_zero,
    "mean - 1 sd": lambda h, s, r: _under(h),
}
"""By name: what the lying site sends as its difference."""
GREEDY = ("zero the model", "towards zero, as long as passes")  # these claim all the weight too


def honest_round(
    sites: int, steps: int = 12, study: PretrainingSettings = SMALL_STUDY
) -> HonestRound:
    """Let the sites of a synthetic cohort train for one round, each from the same weights.

    Parameters
    ----------
    sites : int
    steps : int
        Optimiser steps of each.
    study : PretrainingSettings
    """
    cohort = CohortSettings(
        sites=sites, subjects_per_site=PEOPLE, rois=24, networks=6, frames=96, missing_rois=0
    )
    with tempfile.TemporaryDirectory() as folder:
        stores = [ScanStore.open(path) for path in write_cohort(cohort, folder)]
        together = Together.of(study, stores)
        return together.round(together.first_weights(), range(steps))


@dataclass(frozen=True)
class Together:
    """Honest sites that train together, a round at a time.

    Attributes
    ----------
    study : PretrainingSettings
    basis : ConsensusBasis
    windows : tuple of Windows
        Of each site.
    mean_fc : ndarray [R, R]
    """

    study: PretrainingSettings
    basis: ConsensusBasis
    windows: tuple[Windows, ...]
    mean_fc: Float64

    @classmethod
    def of(cls, study: PretrainingSettings, stores: Sequence[ScanStore]) -> Together:
        """Sites by their stores."""
        total = connectivity_sum(study.windows_of(stores))
        basis = ConsensusBasis.from_sum(total, study.basis.components, study.basis.sparsity)
        windows = tuple(study.windows_of([store]) for store in stores)
        return cls(study, basis, windows, total.mean_fc())

    def model(self, weights: Weights | None = None) -> BrainModel:
        """A model of some weights, or of the first ones."""
        model = self.study.new_model(self.basis)
        if weights is not None:
            arrays = {name: torch.from_numpy(np.array(value)) for name, value in weights.items()}
            model.load_state_dict({**arrays, "basis": model.basis})
        return model

    def first_weights(self) -> Weights:
        return arrays_of(self.model())

    def round(self, base: Weights, steps: range) -> HonestRound:
        """All sites' weights after these steps, each with fresh moments."""
        roles, trained = self.model().roles, []
        for windows in self.windows:
            training = Training(self.model(base), self.study.training)
            training.resume(steps.start)
            for batches in batches_ahead(windows, training.model, training.settings, steps):
                training.advance(batches)
            arrays = arrays_of(training.model)
            trained.append({n: arrays[n] for n in roles.sent(arrays, with_followers=True)})
        return HonestRound(base, tuple(trained), roles, len(steps))


def arrays_of(model: BrainModel) -> Weights:
    """Copies of a model's weights by name."""
    return {name: value.numpy().copy() for name, value in model_arrays(model).items()}


def effect(
    honest: HonestRound,
    attack: str,
    settings: AggregationSettings | None = None,
    *,
    counted: bool = True,
    seed: int = 0,
) -> Effect:
    """What the last site's lie does to a round.

    Parameters
    ----------
    honest : HonestRound
    attack : str
        Of `ATTACKS`.
    settings : AggregationSettings, optional
        The combination; the default one by default.
    counted : bool
        Whether sites told of their people when they joined; where they did not, or the lying one
        lied then too, only the even part bounds its share.
    seed : int
        Of attacks by chance.
    """
    settings = settings or AggregationSettings()
    lie = honest.weights(ATTACKS[attack](honest, settings, np.random.default_rng(seed)))
    share = ALL if attack in GREEDY else float(honest.people)
    combined, told = combined_with(honest, lie, settings, share=share, counted=counted)
    moved = honest.difference(combined)
    mean = np.mean([honest.difference(site) for site in honest.sites], axis=0)
    length = np.linalg.norm(mean)
    return Effect(
        float(moved @ mean / length**2), float(np.linalg.norm(moved - mean) / length), told
    )


def combined_with(
    honest: HonestRound,
    lie: Weights,
    settings: AggregationSettings,
    *,
    share: float = PEOPLE,
    counted: bool = True,
) -> tuple[dict[str, Float64], str]:
    """Combined weights of a round whose last site sends something else; and what was told of it.

    Parameters
    ----------
    honest : HonestRound
    lie : dict of str to ndarray of float32
        What the last site sends in place of its own weights.
    settings : AggregationSettings
    share : float
        What the lying site says it counts by.
    counted : bool
        As of `effect`.
    """
    liar, told = len(honest.sites) - 1, ""
    with JudgedReplies(honest.base, settings, honest.roles, honest.steps) as replies:
        for number, weights in enumerate(honest.sites):
            lies = number == liar
            own = share if lies else float(honest.people)
            metrics: dict[str, Scalar] = {"share": own, "loss": 0.5, "steps": honest.steps}
            counts = Counts(honest.people, honest.people) if counted else None
            try:
                reply = Reply(metrics, dict(lie if lies else weights))
                replies.take(f"{number:03d}", reply, counts)
            except RejectedReply as error:
                told = str(error)
        limits = replies.limits()
        combined = dict(replies.combine(limits))
    reasons = (limits.rejected, limits.clipped, limits.capped)
    return combined, "; ".join(filter(None, (told, *(kind.get(f"{liar:03d}") for kind in reasons))))
