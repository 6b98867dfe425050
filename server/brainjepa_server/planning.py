"""A study's privacy in a coordinator's words, before anybody is asked: ``server plan``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from brainjepa_core.consortium.summing import threshold
from brainjepa_core.gradients import ConsensusBasis
from brainjepa_core.privacy.accounting import DELTA
from brainjepa_core.privacy.budget import words
from brainjepa_core.privacy.plan import (
    SENSIBLE,
    SIGNAL,
    Plan,
    Promise,
    StudyShape,
    parameters_within,
    people_within,
    plan_for,
)
from brainjepa_core.privacy.settings import require_central, require_private
from brainjepa_core.privacy.study import learning_people
from brainjepa_core.problems import counted
from brainjepa_server.settings import StudySettings

EPSILON = 8.0  # where neither study nor command line says what is promised
VERDICTS = {
    "trains": "This trains, nearly as well as without privacy.",
    "part": "This keeps part of what training gives: expect a worse model than without privacy.",
    "noise": "This cannot train the model: each step is noise, of which little is left to learn.",
}
Train = Literal["all", "adapters"]


@dataclass(frozen=True)
class PlannedStudy:
    """A study's plan, and what its words need beside.

    Attributes
    ----------
    plan : Plan
    parameters : dict of str to int
        Numbers that are trained with ``train: all`` and with ``adapters``.
    rank : int
        Of adapters.
    rounds : int
    """

    plan: Plan
    parameters: dict[Train, int]
    rank: int
    rounds: int


def plan_study(
    study: StudySettings,
    *,
    people: Sequence[int],
    rois: int,
    sites: int | None = None,
    epsilon: float | None = None,
    noise: float | None = None,
    delta: float | None = None,
    honest_sites: int | None = None,
) -> PlannedStudy:
    """The privacy of a study, by its section ``privacy`` and by how many would take part.

    Parameters
    ----------
    study : StudySettings
    people : sequence of int
        Of each site as it tells of them, or one number for all; one fold of them is held out.
    rois : int
        R of the atlas.
    sites : int, optional
        How many, where `people` is one number; those of the study's roster by default.
    epsilon, noise : float, optional
        At most one of the two, in place of the study's own.
    delta : float, optional
        In place of the study's own.
    honest_sites : int, optional
        In place of the study's own: of the sites that share the noise.

    Raises
    ------
    ValueError
        If it is not known how many sites there are, the recipe cannot be private, more sites share
        the noise than a secure sum is sure to have, or as `plan_for` says.
    """
    training, told = study.pretraining.training, study.privacy
    require_private(training)
    if epsilon is None and noise is None:
        epsilon, noise = (EPSILON, None) if told is None else (told.epsilon, told.noise)
    if delta is None:
        delta = DELTA if told is None else told.delta
    if honest_sites is None and told is not None:
        honest_sites = told.honest_sites
    everywhere = _of_each_site(people, sites or len(study.sites))
    if honest_sites is not None:
        require_central(study.rounds.local_steps)
        if honest_sites > threshold(len(everywhere)):
            raise ValueError(
                f"expected at most {threshold(len(everywhere))} honest sites, whom a secure sum of "
                f"{len(everywhere)} is sure to have, found {honest_sites}; lower honest_sites"
            )
    kinds: tuple[Train, ...] = ("all", "adapters")
    parameters = {train: _trained(study, rois, train) for train in kinds}
    shape = StudyShape(
        tuple(learning_people(number, study.folds) for number in everywhere),
        training.schedule.total_steps,
        training.batch_size,
        parameters[training.train],
        honest_sites,
    )
    plan = plan_for(shape, delta, epsilon=epsilon, noise=noise)
    return PlannedStudy(plan, parameters, training.adapter_rank, study.total_rounds)


def _of_each_site(people: Sequence[int], sites: int) -> list[int]:
    if len(people) == 1 and sites:
        return list(people) * sites
    if len(people) == 1:
        raise ValueError(
            "expected the number of sites, found none and no roster in the study; give --sites, or "
            "--people of each site"
        )
    if sites and sites != len(people):
        raise ValueError(
            f"expected the people of each of {sites} sites, found {len(people)} numbers; give "
            "--people once for all sites, or once for each"
        )
    return list(people)


def _trained(study: StudySettings, rois: int, train: Train) -> int:
    """Numbers that steps change, of all weights or of adapters."""
    recipe = study.pretraining.training.model_copy(update={"train": train})
    pretraining = study.pretraining.model_copy(update={"training": recipe})
    shape = (rois, pretraining.basis.components)
    names = tuple(f"ROI {number}" for number in range(rois))
    basis = ConsensusBasis(names, np.zeros(shape), np.full(shape[1], np.nan))
    model = pretraining.new_model(basis)
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


def plan_lines(planned: PlannedStudy) -> list[str]:
    """What to know of a plan, a line each."""
    plan, shape = planned.plan, planned.plan.shape
    many = planned.parameters
    ratios = {train: f"{plan.signal_to_noise(number):.2g}" for train, number in many.items()}
    lines = [
        f"{counted(shape.sites, 'site')}, {counted(planned.rounds, 'round')}, "
        f"{counted(shape.steps, 'step')} of about {counted(shape.batch, 'person', 'people')} a "
        f"site, {shape.parameters} parameters trained",
        *(_promise(plan, promise) for promise in plan.promises),
        "That is all of the study: a basis and evaluations are asked of no site under protect: dp, "
        "and cost nothing. What a site's people have spent in other studies adds to it.",
        f"Noise in the mean gradient: {plan.noise_in_mean:.2g} of the clip in each parameter. "
        f"Signal to noise a step: {ratios['all']} with all {many['all']} parameters, "
        f"{ratios['adapters']} with the {many['adapters']} of adapters of rank {planned.rank}, "
        f"where the mean of the clipped gradients is {SIGNAL:g} of the clip (measured on a small "
        "model of synthetic people).",
        VERDICTS[plan.verdict],
    ]
    if max(promise.epsilon for promise in plan.promises) > SENSIBLE:
        lines.append(
            f"An epsilon above {SENSIBLE:g} promises little: ask for more noise or fewer steps."
        )
    return [*lines, *(f"  - {line}" for line in _instead(plan))]


def _promise(plan: Plan, promise: Promise) -> str:
    """What the people of sites of one size are promised."""
    honest, release = plan.shape.honest_sites, promise.release
    told = f"epsilon {words(promise.epsilon)} at delta {plan.delta:g}"
    if honest is not None:
        told += (
            f" against the coordinator, if at least {honest} sites of each sum follow the "
            f"protocol; epsilon {words(promise.alone)} if a site is the only one that does"
        )
    each = "each " if promise.sites > 1 else ""
    return (
        f"{counted(promise.sites, 'site')} of {counted(promise.people, 'person', 'people')} {each}"
        f"outside the held-out fold: {told}. A person is in a step with probability "
        f"{release.rate:.3g}; noise {release.noise:g} times the clip"
        f"{'' if honest is None else f', of which each site adds 1 / {honest} of the variance'}."
    )


def _instead(plan: Plan) -> list[str]:
    """What could be done where a study does not train."""
    if plan.verdict == "trains":
        return []
    fewer, more = parameters_within(plan), people_within(plan)
    shared = plan.shape.honest_sites is not None
    return [
        f"train at most some {fewer} parameters: start from a public model (start_from) and train "
        "adapters (training.train: adapters, adapter_rank)",
        f"take fewer steps, or sites of some {more} people with batches as much larger",
        *(
            []
            if shared
            else [
                "share the noise among sites through secure sums (privacy.where: central with "
                "honest_sites and noise, rounds.local_steps: 1; --honest-sites here), which "
                "divides it by about the root of their number"
            ]
        ),
        "or do without differential privacy, with secure sums and floors, and say so to those who "
        "take part",
    ]
