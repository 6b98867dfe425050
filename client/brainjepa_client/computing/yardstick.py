"""A site's part of the yardstick: sums over its people, and how far its own gradients are off."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from brainjepa_client.computing.round_model import model_of
from brainjepa_client.guarding.policy import Refusal
from brainjepa_client.settings import SiteSettings
from brainjepa_core.evaluation.site_moments import site_moments
from brainjepa_core.gradients import ConsensusBasis, principal_angles
from brainjepa_core.models.interface import BrainModel
from brainjepa_core.models.tokens import token_validity
from brainjepa_core.pretraining.basis import connectivity_sum
from brainjepa_core.pretraining.metrics import collapse_metrics
from brainjepa_core.signals.windows import Windows
from brainjepa_core.sums.moments import moments_to_arrays
from brainjepa_core.wire.messages import BASIS, COMPONENTS, Reply, Request, Scalar

DRIFT_COMPONENTS = 10  # later gradients of one site are mostly noise
COMPARED = 16  # people whose tokens the signs of collapse are taken from


def evaluate(
    settings: SiteSettings, windows: Windows, folds: NDArray[np.int64], request: Request
) -> Reply:
    """Reply to ``evaluate``: ridge moments by pool, outcome and fold, drift, signs of collapse.

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
        If weights or components do not fit this site's atlas.
    """
    assignment, rois = request.assignment, len(windows.atlas)
    components = request.arrays.get(COMPONENTS)
    if components is None or components.ndim != 2 or len(components) != rois:
        found = "none" if components is None else f"shape {list(components.shape)}"
        raise Refusal(
            f"expected components of shape [{rois} ROIs, any number], found {found}; "
            "give all sites one atlas"
        )
    model = model_of(request, rois).to(settings.device)
    fewest = settings.policy.min_people_in_sum
    moments = site_moments(
        model, windows, np.asarray(components, np.float64), folds, assignment.folds, fewest
    )
    first = next(iter(moments))
    told = [m for group, m in moments.items() if group[:2] == first[:2]]
    training = windows.only(np.flatnonzero(folds != assignment.held_out_fold).tolist())
    sparsity = assignment.pretraining.basis.sparsity
    metrics: dict[str, Scalar] = {
        "people": sum(m.people for m in told),
        **_collapse(model, windows, assignment.pretraining.training.seed),
        **_drift(training, request.arrays[BASIS], sparsity),
    }
    return Reply(metrics, moments_to_arrays(moments))


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


def _drift(training: Windows, basis: ArrayLike, sparsity: float) -> dict[str, float]:
    """Largest principal angle, in degrees, between the site's own leading gradients and the basis.

    Empty where the site has no gradients of its own, such as for want of an ROI.
    """
    consensus = np.asarray(basis, np.float64)
    count = min(DRIFT_COMPONENTS, consensus.shape[1])
    try:
        own = ConsensusBasis.from_sum(connectivity_sum(training), count, sparsity)
        angles = principal_angles(own.gradients, consensus, count)
    except ValueError:
        return {}
    return {"drift": float(angles.max())}
