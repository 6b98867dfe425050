"""A study's privacy in a coordinator's words, before anybody is asked: ``server plan``."""

from __future__ import annotations

import numpy as np

from brainjepa_core.gradients import ConsensusBasis
from brainjepa_core.privacy.accounting import DELTA
from brainjepa_core.privacy.budget import words
from brainjepa_core.privacy.plan import (
    SENSIBLE,
    SIGNAL,
    Plan,
    StudyShape,
    parameters_within,
    people_within,
    plan_for,
)
from brainjepa_core.privacy.settings import require_central, require_private
from brainjepa_core.problems import counted
from brainjepa_server.settings import StudySettings

VERDICTS = {
    "trains": "This trains, nearly as well as without privacy.",
    "part": "This keeps part of what training gives: expect a worse model than without privacy.",
    "noise": "This cannot train the model: each step is noise, of which little is left to learn.",
}


def plan_study(
    study: StudySettings,
    *,
    sites: int,
    people: int,
    rois: int,
    epsilon: float | None = None,
    noise: float | None = None,
    delta: float = DELTA,
    honest_sites: int = 1,
) -> Plan:
    """The privacy of a study, by its settings and by how many would take part.

    Parameters
    ----------
    study : StudySettings
    sites, people : int
        Sites, and people of one as it tells of them; one fold of them is held out.
    rois : int
        R of the atlas.
    epsilon, noise : float, optional
        One of the two.
    delta : float
    honest_sites : int
        Sites that share the noise; 1 where each adds all of it.

    Raises
    ------
    ValueError
        If there are no sites, the recipe cannot be private, more sites share the noise than there
        are, or as `plan_for` says.
    """
    if sites < 1:
        raise ValueError(
            "expected the number of sites, found none and no roster in the study; give --sites"
        )
    training = study.pretraining.training
    require_private(training)
    if honest_sites > sites:
        raise ValueError(
            f"expected at most {sites} honest sites, found {honest_sites}; lower --honest-sites"
        )
    if honest_sites > 1:
        require_central(training, study.rounds.local_steps)
    shape = StudyShape(
        sites,
        max(1, people * (study.folds - 1) // study.folds),
        training.schedule.total_steps,
        training.batch_size,
        _trained(study, rois),
        honest_sites,
    )
    return plan_for(shape, delta, epsilon=epsilon, noise=noise)


def _trained(study: StudySettings, rois: int) -> int:
    """Numbers that the study's steps change."""
    shape = (rois, study.pretraining.basis.components)
    names = tuple(f"ROI {number}" for number in range(rois))
    basis = ConsensusBasis(names, np.zeros(shape), np.full(shape[1], np.nan))
    model = study.pretraining.new_model(basis)
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


def plan_lines(plan: Plan) -> list[str]:
    """What to know of a plan, a line each."""
    shape = plan.shape
    sites = f"{counted(shape.sites, 'site')} of {counted(shape.people, 'person', 'people')}"
    promise = f"epsilon {words(plan.epsilon)} at delta {plan.delta:g}"
    if shape.honest_sites > 1:
        promise += (
            f" against the coordinator, if at least {shape.honest_sites} of {shape.sites} sites "
            f"follow the protocol; epsilon {words(plan.alone)} if a site is the only one that does"
        )
    lines = [
        f"{sites} outside the held-out fold, {counted(shape.steps, 'step')} of about "
        f"{counted(shape.batch, 'person', 'people')} a site, {shape.parameters} parameters trained",
        f"A person is in a step with probability {shape.rate:.3g}; noise {plan.noise:g} times "
        "the clip.",
        f"Whoever takes part is promised {promise}, in the training of this study alone.",
        f"Noise in the mean gradient: {plan.noise_in_mean:.2g} of the clip in each parameter. "
        f"Signal to noise a step: {plan.signal_to_noise:.2g}, where the mean of the clipped "
        f"gradients is {SIGNAL:g} of the clip (measured on a small model of synthetic people).",
        VERDICTS[plan.verdict],
    ]
    if plan.epsilon > SENSIBLE:
        lines.append(
            f"An epsilon above {SENSIBLE:g} promises little: ask for more noise or fewer steps."
        )
    return [*lines, *(f"  - {line}" for line in _instead(plan))]


def _instead(plan: Plan) -> list[str]:
    """What could be done where a study does not train."""
    if plan.verdict == "trains":
        return []
    fewer, more = parameters_within(plan), people_within(plan)
    return [
        f"train at most some {fewer} parameters: start from a public model (start_from) and train "
        "adapters (training.train: adapters, adapter_rank)",
        f"take fewer steps, or sites of some {more} people with batches as much larger",
        "share the noise among sites through secure sums (--honest-sites), which divides it by the "
        "root of their number; sites then send one step's gradients a round",
        "or do without differential privacy, with secure sums and floors, and say so to those who "
        "take part",
    ]
