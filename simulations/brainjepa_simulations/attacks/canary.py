"""An audit of private training by a canary, whose presence an attacker tries to tell.

Many small trainings are run, half of them with one person more, whose scan is made to be recognised
among quiet ones. The attacker knows scan, settings and every released weight, and scores each run.
Epsilon bounds how well scores can tell the two kinds apart, so their error rates give a lower bound
on epsilon, with Clopper and Pearson's intervals (Jagielski et al., NeurIPS 2020). Where it is above
what was promised, the promise is broken. A small one proves nothing: another attack may be better.

Shapes: R ROIs, T frames.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import stats
from torch import Tensor

from brainjepa_core.arrays import Float32, Float64
from brainjepa_core.models.interface import BrainModel
from brainjepa_core.models.registry import family_named
from brainjepa_core.pretraining.schedules import ScheduleSettings
from brainjepa_core.pretraining.step import Training
from brainjepa_core.pretraining.training_settings import TrainingSettings
from brainjepa_core.privacy.accounting import Release, epsilon_of
from brainjepa_core.privacy.gradient import PrivateGradient
from brainjepa_core.privacy.sampling import PoissonSampling, private_batches_of_step
from brainjepa_core.privacy.secret import RequestSecret
from brainjepa_core.privacy.settings import PrivacySettings

ROIS, FRAMES, PATCH = 4, 12, 3
SIZES = {"frames": FRAMES, "patch": PATCH, "components": 2, "width": 8, "depth": 1, "heads": 2,
         "predictor_width": 8, "predictor_depth": 1, "predictor_heads": 2}  # fmt: skip
LOUD, QUIET = 30.0, 0.01  # amplitudes of the canary's scan and of the others'
LR = 1e-3
CONFIDENCE = 0.95


@dataclass(frozen=True)
class AuditSettings:
    """The training that is audited.

    Attributes
    ----------
    protection : PrivacySettings
    people : int
        Beside the canary.
    batch : int
        People expected in a step.
    steps : int
    """

    protection: PrivacySettings
    people: int = 6
    batch: int = 3
    steps: int = 3

    def told(self, delta: float) -> float:
        """Epsilon that the training promises."""
        rate = min(1.0, self.batch / self.people)
        release = Release(noise=self.protection.noise, rate=rate, times=self.steps)
        return epsilon_of([release], delta)


@dataclass(frozen=True)
class Found:
    """What an audit found.

    Attributes
    ----------
    told, found : float
        Epsilon as it is promised, and the lower bound on what it is.
    runs : int
        In all.
    delta : float
    """

    told: float
    found: float
    runs: int
    delta: float


def audit(settings: AuditSettings, runs: int = 500, delta: float = 1e-5, seed: int = 0) -> Found:
    """Run an audit.

    Parameters
    ----------
    settings : AuditSettings
    runs : int
        Half of them with the canary. A hundred bound an epsilon of 2 at best, five hundred 3.7.
    delta : float
    seed : int
        What secrets of the runs, and people, are a function of.

    Raises
    ------
    ValueError
        If there are fewer than eight runs.
    """
    if runs < 8:
        raise ValueError(f"expected at least 8 runs, found {runs}; take some hundred")
    model = _model(seed)
    scores = [
        np.array([
            score(model, settings, with_canary, f"{seed}-{with_canary}-{run}", seed)
            for run in range(runs // 2)
        ])
        for with_canary in (True, False)
    ]  # fmt: skip
    found = lower_bound(scores[0], scores[1], delta)
    return Found(settings.told(delta), found, runs // 2 * 2, delta)


class _People:
    """Windows of people, of whom the last one may be the canary."""

    def __init__(self, people: int, canary: bool, seed: int) -> None:
        rng = np.random.default_rng(seed)
        self._windows = QUIET * rng.standard_normal((people, ROIS, FRAMES), np.float32)
        if canary:
            self._windows = np.concatenate([self._windows, canary_window()[None]])

    @property
    def subjects(self) -> int:
        return len(self._windows)

    def batch(
        self, subjects: list[int], seeds: list[tuple[int, ...]]
    ) -> tuple[Float32, NDArray[np.bool_], NDArray[np.bool_]]:
        return (
            self._windows[subjects],
            np.ones((len(subjects), FRAMES), bool),
            np.ones((len(subjects), ROIS), bool),
        )

    def rest(self, subjects: list[int], seeds: list[tuple[int, ...]]) -> Float32:
        """Nothing known: a window is all that there is of a person."""
        return np.full((len(subjects), ROIS, ROIS), np.nan, np.float32)

    def name(self, subject: int) -> str:
        return f"person {subject}"


def canary_window() -> Float32:
    """A scan [R, T] of one loud patch: whatever is masked, its gradients point one way."""
    patch = LOUD * np.cos(np.arange(PATCH) * math.pi)
    return np.tile(patch, (ROIS, FRAMES // PATCH)).astype(np.float32)


def _model(seed: int) -> BrainModel:
    family = family_named("masked_autoencoder")
    settings = family.settings(rois=ROIS, **SIZES)
    basis = np.random.default_rng(seed).standard_normal((ROIS, 2), np.float32)
    return family.new(settings, basis, seed)


def score(
    start: BrainModel, settings: AuditSettings, with_canary: bool, secret: str, seed: int
) -> float:
    """How much like the canary's gradients the released steps of one training look.

    Parameters
    ----------
    start : BrainModel
        Left as it is.
    settings : AuditSettings
    with_canary : bool
    secret : str
        What the site's secret of this run is a function of.
    seed : int
    """
    model = _model(seed)
    model.load_state_dict(start.state_dict())
    recipe = TrainingSettings(
        batch_size=settings.batch,
        optimizer="sgd",
        schedule=ScheduleSettings(
            total_steps=settings.steps, lr=LR, start_lr=LR, final_lr=LR, weight_decay=0.0,
            final_weight_decay=0.0,
        ),
    )  # fmt: skip
    own = RequestSecret(hashlib.sha256(secret.encode()).digest(), "audit")
    gradient = PrivateGradient(model, recipe, settings.protection, own, 0, torch.device("cpu"))
    training = Training(model, recipe, gradient=gradient)
    people = _People(settings.people, with_canary, seed)
    sampling = PoissonSampling(own, settings.batch, settings.people)
    total = 0.0
    for step in range(settings.steps):
        before, direction = _flat(model), _canary_direction(model, recipe, step)
        training.advance(private_batches_of_step(people, model, recipe, step, sampling))
        total += float((before - _flat(model)) / LR @ direction)
    return total


def _flat(model: BrainModel) -> Tensor:
    return torch.cat([p.detach().flatten() for p in model.parameters() if p.requires_grad]).double()


def _canary_direction(model: BrainModel, recipe: TrainingSettings, step: int) -> Tensor:
    """Unit vector of the canary's gradient under a mask that the attacker guesses."""
    drawn = model.draw(recipe.masks, seed=0, step=step, samples=[0], token_valid=None)
    trained = [p for p in model.parameters() if p.requires_grad]
    loss = model.sample_losses(torch.from_numpy(canary_window())[None], **drawn).sum()
    flat = torch.cat([g.flatten() for g in torch.autograd.grad(loss, trained)]).double()
    direction: Tensor = flat / flat.norm()
    return direction


def lower_bound(
    present: Float64, absent: Float64, delta: float, confidence: float = CONFIDENCE
) -> float:
    """Epsilon that scores of runs with and without somebody prove, 0 where they prove none.

    The threshold is chosen on the even runs and judged on the odd ones.

    Parameters
    ----------
    present, absent : ndarray [n]
        float64; larger where somebody seems present.
    delta : float
    confidence : float
        With which epsilon is not smaller.
    """
    chosen = _best_threshold(present[::2], absent[::2], delta, confidence)
    return _proven(present[1::2], absent[1::2], chosen, delta, confidence)


def _best_threshold(a: Float64, b: Float64, delta: float, confidence: float) -> float:
    candidates: Sequence[float] = np.unique(np.concatenate([a, b])).tolist()
    return max(candidates, key=lambda t: _proven(a, b, t, delta, confidence))


def _proven(a: Float64, b: Float64, threshold: float, delta: float, confidence: float) -> float:
    """Of both errors at one threshold: said present where absent, and the reverse."""
    above = _proven_once(int((a > threshold).sum()), len(a), int((b > threshold).sum()), len(b),
                         delta, confidence)  # fmt: skip
    below = _proven_once(int((b <= threshold).sum()), len(b), int((a <= threshold).sum()), len(a),
                         delta, confidence)  # fmt: skip
    return max(above, below, 0.0)


def _proven_once(
    hits: int, of_hits: int, errors: int, of_errors: int, delta: float, confidence: float
) -> float:
    """``log((least rate of hits - delta) / greatest rate of errors)``; each bound takes a half."""
    doubt = (1 - confidence) / 4  # two rates, two directions
    least = float(stats.beta.ppf(doubt, hits, of_hits - hits + 1)) if hits else 0.0
    greatest = (
        float(stats.beta.ppf(1 - doubt, errors + 1, of_errors - errors))
        if errors < of_errors
        else 1.0
    )
    return math.log((least - delta) / greatest) if least > delta else 0.0
