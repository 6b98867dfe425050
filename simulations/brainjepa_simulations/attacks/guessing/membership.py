"""Whether the person of a scan took part in a training, by its weights.

The attacker has the weights before and after, and a scan. It asks by how much the scan's loss has
fallen (Yeom et al., CSF 2018), or along which way its gradient points: weights moved against the
gradients of those who took part (Nasr et al., S&P 2019). Scores are compared within a site, whose
people are alike in scanner and age.

Shapes: n people, W weights, R ROIs, T frames.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from brainjepa_core.arrays import Float64
from brainjepa_core.gradients import ConsensusBasis
from brainjepa_core.models.interface import BrainModel, Draws
from brainjepa_core.pretraining.sampling import batches_of_step
from brainjepa_core.pretraining.settings import PretrainingSettings
from brainjepa_core.pretraining.site_sums.basis import connectivity_sum
from brainjepa_core.pretraining.step import Training
from brainjepa_core.privacy.gradient import PrivateGradient
from brainjepa_core.privacy.sampling import PoissonSampling, private_batches_of_step
from brainjepa_core.privacy.secret import RequestSecret
from brainjepa_core.privacy.study import StudyPrivacy
from brainjepa_core.signals.windows import Windows
from brainjepa_simulations.attacks.attack import DP, NONE, SECURE_SUM, Row
from brainjepa_simulations.attacks.guessing.telling_apart import auc
from brainjepa_simulations.attacks.scene import Scene
from brainjepa_simulations.cohort.cohort import REFERENCE_TR

SITES, PEOPLE = 12, 26
JUDGED, PRIVATE_SITES = 4, 6  # sites whose people are judged, and that train privately
STEPS, ROUNDS = 50, 2  # steps of a round
VIEWS = 4  # masks that a person is judged by
EVERYBODY = 10**6  # folds, of which one is held out: nobody
PRIVATE = StudyPrivacy(epsilon=3.0, delta=1e-3, clip=0.5)
Weights = dict[str, Tensor]


@dataclass(frozen=True)
class Sites:
    """Sites that train together, and people who could have been there.

    Attributes
    ----------
    study : PretrainingSettings
    basis : ConsensusBasis
    windows : sequence of Windows
        Of each site: those who take part, and as many who do not.
    people : int
        Who take part, the first ones of each site.
    """

    study: PretrainingSettings
    basis: ConsensusBasis
    windows: Sequence[Windows]
    people: int

    @classmethod
    def of(cls, scene: Scene, sites: int = SITES, people: int = PEOPLE) -> Sites:
        """Those of a scenario, with a schedule of so many steps."""
        # Scans of one window, the worst case: an attacker knows just what was trained on.
        frames = scene.study.windows.frames
        stores = scene.stores(
            f"members-{sites}x{people}", sites, 2 * people, frames=frames, trs=(REFERENCE_TR,),
            short_scans=0.0, missing_rois=0,
        )  # fmt: skip
        windows = [scene.study.windows_of([store]) for store in stores]
        total = connectivity_sum(scene.study.windows_of(stores))
        told = scene.study.basis
        basis = ConsensusBasis.from_sum(total, told.components, told.sparsity)
        schedule = scene.study.training.schedule.model_copy(update={"total_steps": STEPS * ROUNDS})
        training = scene.study.training.model_copy(update={"schedule": schedule})
        study = scene.study.model_copy(update={"training": training})
        return cls(study, basis, windows, people)

    def first_weights(self) -> Weights:
        return _copy(self.study.new_model(self.basis))

    def trained(self, site: int, start: Weights, first_step: int) -> Weights:
        """Weights of one site after a round."""
        model, recipe = self._model(start), self.study.training
        windows = self.windows[site].only(range(self.people))
        training = Training(model, recipe)
        training.resume(first_step)
        for step in range(first_step, first_step + STEPS):
            training.advance(batches_of_step(windows, model, recipe, step))
        return _copy(model)

    def trained_privately(
        self, site: int, start: Weights, privacy: StudyPrivacy = PRIVATE
    ) -> Weights:
        """The same of a first round with all the noise of a study of one round."""
        model = self._model(start)
        schedule = self.study.training.schedule.model_copy(update={"total_steps": STEPS})
        changes = {"clip_norm": None, "schedule": schedule}
        recipe = self.study.training.model_copy(update=changes)
        windows = self.windows[site].only(range(self.people))
        secret = RequestSecret(hashlib.sha256(f"site {site}".encode()).digest(), "membership")
        protection = privacy.protection(privacy.release(recipe, self.people, EVERYBODY))
        gradient = PrivateGradient(model, recipe, protection, secret, 0, torch.device("cpu"))
        training = Training(model, recipe, gradient=gradient)
        sampling = PoissonSampling(secret, recipe.batch_size, self.people)
        for step in range(STEPS):
            training.advance(private_batches_of_step(windows, model, recipe, step, sampling))
        return _copy(model)

    def _model(self, weights: Weights) -> BrainModel:
        model = self.study.new_model(self.basis)
        model.load_state_dict(weights)
        return model

    def told_apart(self, site: int, before: Weights, after: Weights) -> tuple[float, float]:
        """AUC by the fall of the loss, and by the gradient, among the people of a site."""
        fall = self._losses(site, before) - self._losses(site, after)
        along = self._along(site, before, after)
        return auc(*_parted(fall, self.people)), auc(*_parted(along, self.people))

    def _views(self, site: int, model: BrainModel) -> Iterator[tuple[Tensor, Draws]]:
        windows = self.windows[site]
        everybody = list(range(2 * self.people))
        for view in range(VIEWS):
            x, _, _ = windows.batch(everybody, [(view, 1)] * len(everybody))
            drawn = model.draw(
                self.study.training.masks, seed=view, step=0, samples=everybody, token_valid=None
            )
            yield torch.from_numpy(x), drawn

    @torch.no_grad()
    def _losses(self, site: int, weights: Weights) -> Float64:
        """Loss of each person, mean over views."""
        model = self._model(weights)
        losses = [model.sample_losses(x, **drawn) for x, drawn in self._views(site, model)]
        found: Float64 = torch.stack(losses).double().mean(0).numpy()
        return found

    def _along(self, site: int, before: Weights, after: Weights) -> Float64:
        """Cosine of each person's gradient and the way back."""
        model = self._model(before)
        trained = {n: p for n, p in model.named_parameters() if p.requires_grad}
        back = torch.cat([(before[n] - after[n]).flatten() for n in trained]).double()
        x, drawn = next(self._views(site, model))
        found = []
        for i in range(len(x)):  # by themselves: one gradient through all losses costs as many
            own = {n: None if value is None else value[i : i + 1] for n, value in drawn.items()}
            loss = model.sample_losses(x[i : i + 1], **own).sum()
            gradient = torch.autograd.grad(loss, list(trained.values()))
            flat = torch.cat([g.flatten() for g in gradient]).double()
            found.append(float(flat @ back / flat.norm()))
        return np.array(found)


def _copy(model: BrainModel) -> Weights:
    return {name: value.clone() for name, value in model.state_dict().items()}


def _parted(scores: Float64, people: int) -> tuple[Float64, Float64]:
    return scores[:people], scores[people:]


def mean_of(weights: Sequence[Weights]) -> Weights:
    """Mean of the sites' weights, which count the same."""
    return {name: torch.stack([one[name] for one in weights]).mean(0) for name in weights[0]}


def rows(scene: Scene) -> Iterator[Row]:
    """Of one site's weights, of the mean of all after a round, and of the last round's."""
    sites = Sites.of(scene)
    everybody, first = range(len(sites.windows)), sites.first_weights()
    alone = [sites.trained(site, first, 0) for site in everybody]
    mean = final = mean_of(alone)
    for number in range(1, ROUNDS):
        final = mean_of([sites.trained(site, final, number * STEPS) for site in everybody])
    private = [sites.trained_privately(site, first) for site in everybody[:PRIVATE_SITES]]
    judged = (
        (NONE, "a site's weights", alone[:JUDGED], None),
        (SECURE_SUM, f"mean of {SITES} sites", [mean] * JUDGED, None),
        (SECURE_SUM, f"round {ROUNDS}, mean of {SITES}", [final] * JUDGED, None),
        (DP, "a site's weights, epsilon 3", private, 0.55),
    )
    for protection, what, weights, at_most in judged:
        found = [sites.told_apart(site, first, after) for site, after in enumerate(weights)]
        for how, value in zip(("loss", "gradient"), np.mean(found, axis=0).tolist(), strict=True):
            yield Row(f"AUC by {how}, {what}", protection, value, at_most)
