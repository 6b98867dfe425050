"""A site's part of the yardstick: sums over its people, or scores, and its own gradients' drift."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from brainjepa_client.computing.round_model import model_of
from brainjepa_client.guarding.policy import Refusal, require_enough_summed
from brainjepa_client.settings import PolicySettings, SiteSettings
from brainjepa_core.arrays import Float64
from brainjepa_core.evaluation.site_people import SitePeople
from brainjepa_core.gradients import ConsensusBasis, principal_angles
from brainjepa_core.models.interface import BrainModel
from brainjepa_core.models.tokens import token_validity
from brainjepa_core.pretraining.basis import connectivity_sum
from brainjepa_core.pretraining.metrics import collapse_metrics
from brainjepa_core.pretraining.settings import BasisSettings
from brainjepa_core.signals.windows import Windows
from brainjepa_core.sums.moments import moments_to_arrays
from brainjepa_core.wire.messages import (
    BASIS,
    COMPONENTS,
    Assignment,
    Reply,
    Request,
    Scalar,
    score_name,
    width_name,
)
from brainjepa_core.wire.told_numbers import told_numbers, told_r2

DRIFT_COMPONENTS = 10  # later gradients of one site are mostly noise
COMPARED = 16  # people whose tokens the signs of collapse are taken from


def evaluate(
    settings: SiteSettings, windows: Windows, folds: NDArray[np.int64], request: Request
) -> Reply:
    """Reply to ``evaluate``: ridge moments by pool, fold and outcome; scores; drift; collapse.

    Moments leave by themselves where the policy finds people enough for them; else, and beside
    them, scores of the site's own probes. Within a secure sum moments alone leave, of as many
    features as all sites' people allow.

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
        If weights or components do not fit this site's atlas, or a secure sum is of fewer people
        than the policy asks for.
    """
    assignment = request.assignment
    model = model_of(request, len(windows.atlas)).to(settings.device)
    components = _components(request, len(windows.atlas))
    people = SitePeople.of(model, windows, components, folds, assignment.folds)
    told = told_of(people, assignment, settings.policy)
    if assignment.protect is not None:
        return told
    training = windows.only(np.flatnonzero(folds != assignment.held_out_fold).tolist())
    numbers = {
        **_collapse(model, windows, assignment.pretraining.training.seed),
        **_drift(training, request.arrays[BASIS], assignment.pretraining.basis),
    }
    return Reply({**told_numbers(numbers), **told.metrics}, told.arrays)


def told_of(people: SitePeople, assignment: Assignment, policy: PolicySettings) -> Reply:
    """What a site tells of its people by the yardstick.

    Raises
    ------
    Refusal
        If a secure sum is of fewer people than the policy asks for.
    """
    if assignment.protect is not None:
        people = people.projected(assignment.features_summed)
        widest = max(x.shape[1] for x in people.features.values())
        require_enough_summed(policy, assignment, widest)
        return Reply(arrays=moments_to_arrays(people.moments()))
    pools = people.pools_of_enough(policy.min_people_a_feature)
    moments = people.moments(pools, policy.min_people_in_sum)
    return Reply(_scores(people), moments_to_arrays(moments))


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


def _drift(training: Windows, basis: ArrayLike, settings: BasisSettings) -> dict[str, float]:
    """Largest principal angle, in degrees, between the site's own leading gradients and the basis.

    Empty where the site has no gradients of its own, such as for want of an ROI, or the basis is
    none of gradients.
    """
    if settings.kind != "gradients":
        return {}
    consensus = np.asarray(basis, np.float64)
    count = min(DRIFT_COMPONENTS, consensus.shape[1])
    try:
        own = ConsensusBasis.from_sum(connectivity_sum(training), count, settings.sparsity)
        angles = principal_angles(own.gradients, consensus, count)
    except ValueError:
        return {}
    return {"drift": float(angles.max())}
