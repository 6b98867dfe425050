"""A site's part of the yardstick: sums over its people, or scores, and its own gradients' drift.

Whoever is read is of a fixed sample (`evaluation.sample`), and what no weight changes is kept
(`kept_outcomes`), so that an evaluation does not grow with the site.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from brainjepa_client.computing.round_model import model_of
from brainjepa_client.computing.stopping import require_going_on
from brainjepa_client.guarding.policy import Refusal, require_enough_summed
from brainjepa_client.judging.kept_outcomes import Measured, kept_outcomes
from brainjepa_client.settings import PolicySettings, SiteSettings
from brainjepa_core.arrays import Float64
from brainjepa_core.evaluation.sample import yardstick_sample
from brainjepa_core.evaluation.site_people import SitePeople, other_half_of
from brainjepa_core.models.interface import BrainModel
from brainjepa_core.models.tokens import token_validity
from brainjepa_core.pretraining.metrics import collapse_metrics
from brainjepa_core.signals.windows import Windows
from brainjepa_core.sums.moments import moments_to_arrays
from brainjepa_core.wire.messages import (
    BASIS,
    COMPONENTS,
    NOT_READ,
    OF_OTHER_HALF,
    Assignment,
    Reply,
    Request,
    Scalar,
    score_name,
    width_name,
)
from brainjepa_core.wire.told_numbers import told_numbers, told_r2

COMPARED = 16  # people whose tokens the signs of collapse are taken from


def evaluate(
    settings: SiteSettings, windows: Windows, folds: NDArray[np.int64], request: Request
) -> Reply:
    """Reply to ``evaluate``: ridge moments by pool, fold and outcome; scores; drift; collapse.

    All of it is of the study's sample of the site's people, and how many are not in that is told
    with it, rounded. Moments leave by themselves where the policy finds people enough for them;
    else, and beside them, scores of the site's own probes and of the other half of a scan. Within a
    secure sum moments alone leave, of as many features as all sites' people allow.

    Parameters
    ----------
    settings : SiteSettings
    windows : Windows
        Of all people, those of the held-out fold too.
    folds : ndarray [n]
        Fold of each person.
    request : Request
        With weights, ``basis`` and ``components``.

    Raises
    ------
    Refusal
        If weights or components do not fit this site's atlas, a secure sum is of fewer people than
        the policy asks for, or the answer has to end.
    """
    assignment, basis = request.assignment, request.assignment.pretraining.basis
    model = model_of(request, len(windows.atlas)).to(settings.device)
    components = _components(request, len(windows.atlas))
    chosen = sample_of(windows, folds, assignment)
    sample, of_folds = windows.only(chosen.tolist()), folds[chosen]
    unchanging = kept_outcomes(
        settings.state,
        Measured(
            sample,
            tuple(np.flatnonzero(of_folds != assignment.held_out_fold).tolist()),
            components,
            np.asarray(request.arrays[BASIS], np.float64),
            basis.sparsity if assignment.protect is None and basis.kind == "gradients" else None,
        ),
    )
    people = SitePeople.read(
        model,
        sample,
        unchanging.outcomes,
        of_folds,
        assignment.folds,
        progress=lambda _: require_going_on(),
    )
    told = told_of(model, sample, people, assignment, settings.policy)
    if assignment.protect is not None:
        return told
    numbers = _collapse(model, sample, assignment.pretraining.training.seed)
    if unchanging.drift is not None:
        numbers["drift"] = unchanging.drift
    beside: dict[str, Scalar] = {NOT_READ: settings.policy.rounded(len(folds) - len(chosen))}
    return Reply({**told_numbers(numbers), **beside, **told.metrics}, told.arrays)


def sample_of(
    windows: Windows, folds: NDArray[np.int64], assignment: Assignment
) -> NDArray[np.int64]:
    """Places of the people whom the study's yardstick reads, ascending."""
    subjects = [person.records[0].subject for person in windows.people]
    seed = assignment.pretraining.training.seed
    return yardstick_sample(subjects, folds, seed, assignment.evaluate_people)


def told_of(
    model: BrainModel,
    windows: Windows,
    people: SitePeople,
    assignment: Assignment,
    policy: PolicySettings,
) -> Reply:
    """What a site tells of people by the yardstick, whose windows the model has read.

    Raises
    ------
    Refusal
        If a secure sum is of fewer people than the policy asks for.
    """
    if assignment.protect is not None:
        people = people.projected(assignment.yardstick_features_summed)
        widest = max(x.shape[1] for x in people.features.values())
        require_enough_summed(policy, assignment.yardstick_people, widest)
        return Reply(arrays=moments_to_arrays(people.moments()))
    pools = people.pools_of_enough(policy.min_people_a_feature)
    moments = people.moments(pools, policy.min_people_in_sum)
    tested = people.folds == assignment.held_out_fold
    r2 = other_half_of(model, windows, tested, policy.min_people_in_sum, require_going_on)
    return Reply({**_scores(people), **_other_half(r2, windows)}, moments_to_arrays(moments))


def _components(request: Request, rois: int) -> Float64:
    components = request.arrays.get(COMPONENTS)
    if components is None or components.ndim != 2 or len(components) != rois:
        found = "none" if components is None else f"shape {list(components.shape)}"
        raise Refusal(
            f"expected components of shape [{rois} ROIs, any number], found {found}; "
            "give all sites one atlas"
        )
    return np.asarray(components, np.float64)


def _scores(people: SitePeople) -> dict[str, Scalar]:
    """R2 of the site's own probes that are known, and how many features they read."""
    found: dict[str, Scalar] = {
        score_name(pool, outcome): told_r2(value)
        for (pool, outcome), value in people.scores().items()
        if np.isfinite(value)
    }
    return found | {width_name(pool): x.shape[1] for pool, x in people.features.items()}


def _other_half(r2: float | None, windows: Windows) -> dict[str, Scalar]:
    """The score of the other half, where it is known, beside those of the site's probes."""
    if r2 is None:
        return {}
    pairs = len(windows.atlas) * (len(windows.atlas) - 1) // 2
    return dict(zip(OF_OTHER_HALF, (told_r2(r2), pairs), strict=True))


def _collapse(model: BrainModel, windows: Windows, seed: int) -> dict[str, float]:
    """Signs of collapse over one window of each of the first people, the same ones every time."""
    people = range(min(COMPARED, windows.subjects))
    if len(people) < 2:
        return {}
    x, frame_valid, roi_valid = windows.batch(people, [(seed,)] * len(people))
    valid = token_validity(frame_valid, roi_valid, model.settings.patch)
    device = model.basis.device
    told = None if valid is None else torch.from_numpy(valid).to(device)
    return collapse_metrics(model.encode(torch.from_numpy(x).to(device), told), told)
