"""Which ROIs a prediction rests on, by integrated gradients of what is read of their pairs.

A correlation is the same however strong the signals are, so the line from a blank scan to a
person's tells nothing: all is decided as it begins. The line from the consensus connectivity to the
person's does: what a pair adds is how far the person is from the consensus, times what that counts.

Shapes: R ROIs, n people.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from brainjepa_core.arrays import Float64

Score = Callable[[Tensor, Tensor], Tensor]
"""Correlations [1, R, R] and which are known to one differentiable score [1]."""

STEPS = 32


@dataclass(frozen=True)
class Attribution:
    """What each ROI adds to people's scores.

    Attributes
    ----------
    values : ndarray [n, R]
        In units of the score: half of what each of its pairs adds; NaN for missing ROIs.
    scores, expected : ndarray [n]
        Score of the person, and of the consensus in the ROIs that the person has. Values of a
        person sum to their difference (completeness).
    """

    values: Float64
    scores: Float64
    expected: Float64

    @property
    def gap(self) -> Float64:
        """What is missing to completeness [n]: the error of the integral, near 0."""
        found: Float64 = self.scores - self.expected - np.nansum(self.values, axis=1)
        return found

    @property
    def unexplained(self) -> float:
        """The gap as a share of how far scores are from expected ones, both as mean magnitudes."""
        return float(np.abs(self.gap).mean() / np.abs(self.scores - self.expected).mean())


def integrated_gradients(
    score: Callable[[Tensor], Tensor], x: Tensor, start: Tensor, steps: int = STEPS
) -> Tensor:
    """What each number of `x` adds to the score of `start`, as a tensor like both.

    The gradient, averaged along the straight line from `start` to `x`, times their difference
    (Sundararajan et al., ICML 2017). The average is taken at Gauss-Legendre nodes, of which a
    smooth score needs few.

    Parameters
    ----------
    score : callable
        Of a tensor, one number.
    x, start : Tensor
    steps : int
        Nodes; one forward and backward pass each.
    """
    nodes, weights = np.polynomial.legendre.leggauss(steps)
    mean = torch.zeros_like(x)
    for node, weight in zip((nodes + 1) / 2, weights / 2, strict=True):
        at = (start + float(node) * (x - start)).requires_grad_()
        with torch.enable_grad():
            (gradient,) = torch.autograd.grad(score(at).sum(), at)
        mean += float(weight) * gradient
    return mean * (x - start)


def attribute_people(
    score: Score, people: Iterable[tuple[Tensor, Tensor]], consensus: Tensor, steps: int = STEPS
) -> Attribution:
    """Integrated gradients of people's connectivity, half of each pair to both of its ROIs.

    Parameters
    ----------
    score : Score
        Such as one output of a fine-tuned network, of `FinetunedNetwork.of_connectivity`.
    people : iterable of (Tensor [1, R, R], Tensor [1, R, R])
        Correlations of each person, 0 where unknown, and bool what is known.
    consensus : Tensor [R, R]
    steps : int

    Raises
    ------
    ValueError
        If a gradient is not finite.
    """
    values, scores, expected = [], [], []
    for r, known in people:
        start = torch.where(known, consensus, 0.0)

        def told(at: Tensor, known: Tensor = known) -> Tensor:
            return score(at, known)

        pairs = integrated_gradients(told, r, start, steps)[0]
        of_rois = ((pairs + pairs.T) / 2).sum(1)
        if not torch.isfinite(of_rois).all():
            raise ValueError(
                "expected a finite gradient of the score, found NaN or infinity; fine-tune anew, "
                "with a lower learning rate"
            )
        there = known[0].diagonal()
        values.append(torch.where(there, of_rois, torch.nan).double().cpu().numpy())
        with torch.no_grad():
            scores.append(float(told(r)))
            expected.append(float(told(start)))
    return Attribution(np.stack(values), np.array(scores), np.array(expected))
