"""Which ROIs a prediction rests on, by integrated gradients.

Shapes: B windows, R ROIs, T frames, N tokens, P features of an embedding, n people.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from brainjepa_core.arrays import Float64
from brainjepa_core.evaluation.yardstick import ScanWindows
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
        Of a model on `device` in evaluation mode, such as one output of a fine-tuned network,
        ``lambda x, valid: network(x, valid)[:, k]``.
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
