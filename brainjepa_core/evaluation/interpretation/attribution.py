"""Which ROIs a prediction rests on: integrated gradients, and leaving ROIs out as a check.

Shapes: B windows, R ROIs, T frames, N tokens, P features of an embedding, n people.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from brainjepa_core.arrays import Float64
from brainjepa_core.evaluation.yardstick import ScanWindows
from brainjepa_core.models.interface import BrainModel
from brainjepa_core.models.pooling import pool_tokens
from brainjepa_core.models.tokens import token_validity

Score = Callable[[Tensor, Tensor | None], Tensor]
"""Windows [B, R, T] and valid tokens [B, N] (None: all) to one differentiable score each [B]."""

STEPS = 32


@dataclass(frozen=True)
class Attribution:
    """What each ROI adds to people's scores.

    Attributes
    ----------
    values : ndarray [n, R]
        In units of the score, mean over windows; NaN for missing ROIs.
    scores, blank : ndarray [n]
        Score of the person, and of a scan without any signal. Values of a person sum to their
        difference (completeness).
    """

    values: Float64
    scores: Float64
    blank: Float64

    @property
    def gap(self) -> Float64:
        """What is missing to completeness [n]: the error of the integral, near 0."""
        found: Float64 = self.scores - self.blank - np.nansum(self.values, axis=1)
        return found

    @property
    def unexplained(self) -> float:
        """The gap as a share of how far scores are from blank ones, both as mean magnitudes."""
        return float(np.abs(self.gap).mean() / np.abs(self.scores - self.blank).mean())


def probe_score(
    model: BrainModel,
    weights: ArrayLike,
    intercept: float = 0.0,
    pools: Sequence[str] = ("mean",),
    networks: NDArray[np.int64] | None = None,
) -> Score:
    """Score of a linear probe on a frozen model's embedding, as a function of the windows.

    Parameters
    ----------
    model : BrainModel
    weights : array [P]
        On the embedding as it is: divide those of a probe of standardised features by their
        spread, and take mean times weight from the intercept.
    intercept : float
    pools : sequence of str
        Those that the embedding is made of, in their order.
    networks : ndarray of int64 [R], optional
        Needed by the pool ``network_covariance``.

    Returns
    -------
    Score
    """
    device = next(model.parameters()).device
    w = torch.as_tensor(np.asarray(weights), dtype=torch.float32, device=device)
    labels = None if networks is None else torch.from_numpy(networks).to(device)

    def score(x: Tensor, token_valid: Tensor | None) -> Tensor:
        tokens = model.tokens_of(x, token_valid)  # `embed` keeps no gradient
        patches = model.settings.time_patches
        return pool_tokens(tokens, patches, pools, token_valid, labels) @ w + intercept

    return score


def integrated_gradients(
    score: Score, x: Tensor, token_valid: Tensor | None = None, steps: int = STEPS
) -> Tensor:
    """What each frame of each ROI adds to the score of a blank window [B, R, T].

    The gradient, averaged along the straight line from the blank window (zero, the mean of a
    z-scored signal) to `x`, times `x` (Sundararajan et al., ICML 2017). The average is taken at
    Gauss-Legendre nodes, of which a smooth score needs few; ``time_std`` over a handful of time
    patches has bends and is exact to about a percent.

    Parameters
    ----------
    score : Score
    x : Tensor [B, R, T]
    token_valid : Tensor [B, N], optional
    steps : int
        Nodes; one forward and backward pass each.

    Returns
    -------
    Tensor [B, R, T]
        Sums to ``score(x) - score(0)`` of each window, but for the error of the integral.
    """
    nodes, weights = np.polynomial.legendre.leggauss(steps)
    mean = torch.zeros_like(x)
    for node, weight in zip((nodes + 1) / 2, weights / 2, strict=True):
        at = (float(node) * x).requires_grad_()
        with torch.enable_grad():
            (gradient,) = torch.autograd.grad(score(at, token_valid).sum(), at)
        mean += float(weight) * gradient
    return mean * x


def attribute_people(
    score: Score,
    windows: ScanWindows,
    people: Iterable[int],
    patch: int,
    *,
    steps: int = STEPS,
    device: str | torch.device = "cpu",
) -> Attribution:
    """Integrated gradients of people, summed over the frames of each ROI.

    Parameters
    ----------
    score : Score
        Of a model on `device` in evaluation mode: a `probe_score`, or one output of a fine-tuned
        network, ``lambda x, valid: network(x, valid)[:, k]``.
    windows : ScanWindows
    people : iterable of int
    patch : int
        p, frames a token.
    steps : int
    device : str or torch.device

    Returns
    -------
    Attribution

    Raises
    ------
    ValueError
        If a gradient is not finite.
    """
    values, scores, blank = [], [], []
    for person in people:
        x, valid, roi_valid = _person(windows, person, patch, device)
        by_roi = integrated_gradients(score, x, valid, steps).sum(-1).double().cpu().numpy()
        if not np.isfinite(by_roi).all():
            raise ValueError(
                "expected a finite gradient of the score, found NaN or infinity; a pool of one "
                "time patch has no spread to differentiate: leave 'time_std' out"
            )
        values.append(_mean_where(by_roi, roi_valid))
        with torch.no_grad():
            scores.append(float(score(x, valid).double().mean()))
            blank.append(float(score(torch.zeros_like(x), valid).double().mean()))
    return Attribution(np.stack(values), np.array(scores), np.array(blank))


@torch.no_grad()
def occlude_people(
    score: Score,
    windows: ScanWindows,
    people: Iterable[int],
    patch: int,
    *,
    device: str | torch.device = "cpu",
) -> Float64:
    """How much people's scores fall when an ROI is missing: one forward pass an ROI.

    Parameters are those of `attribute_people`.

    Returns
    -------
    ndarray [n, R]
        Score less score without the ROI, mean over windows; NaN for ROIs that are missing anyway.
    """
    rows = []
    for person in people:
        x, valid, roi_valid = _person(windows, person, patch, device)
        rois = x.shape[1]
        by_roi = torch.ones(len(x), x.shape[1] * x.shape[2] // patch, dtype=torch.bool)
        seen = (by_roi.to(device) if valid is None else valid).reshape(len(x), rois, -1)
        whole, falls = score(x, valid), []
        for roi in range(rois):
            without, left = x.clone(), seen.clone()
            without[:, roi], left[:, roi] = 0, False
            falls.append((whole - score(without, left.flatten(1))).double())
        rows.append(_mean_where(torch.stack(falls, 1).cpu().numpy(), roi_valid))
    return np.stack(rows)


def _person(
    windows: ScanWindows, person: int, patch: int, device: str | torch.device
) -> tuple[Tensor, Tensor | None, NDArray[np.bool_]]:
    x, frame_valid, roi_valid = windows.full_windows(person)
    valid = token_validity(frame_valid, roi_valid, patch)
    tokens = None if valid is None else torch.from_numpy(valid).to(device)
    return torch.from_numpy(x).to(device), tokens, roi_valid


def _mean_where(values: Float64, valid: NDArray[np.bool_]) -> Float64:
    """Mean over windows [R] of values [B, R], 0 where invalid; NaN for ROIs no window has."""
    return np.where(valid.any(0), np.where(valid, values, 0).mean(0), np.nan)
