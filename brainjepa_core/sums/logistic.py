"""Logistic regression across sites by Newton's method: each site sends a gradient and a Hessian.

Newton's steps need people as sums only, and a few steps do. The minimum is that of all people
pooled: the summed log loss plus ``penalty / 2`` times the squared weights of standardised features
(scikit-learn's ``LogisticRegression`` with ``C = 1 / penalty``).

The sums at chosen weights can tell more than moments do: weights that are sure of everybody but one
person leave that person alone in the sums. So a site answers only while enough people carry them.

Shapes: n people, P features.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import expit

from brainjepa_core.arrays import Float64
from brainjepa_core.sums.ridge import RESOLVED, Moments, Ridge

CLOSE = 1e-10  # of the gradient, relative to the number of people
SMALLEST_STEP = 1e-6


@dataclass(frozen=True)
class LogisticSums:
    """Log loss of some people at some weights [P + 1], the intercept last, and its derivatives.

    Attributes
    ----------
    n : int
    loss : float
    gradient, hessian : ndarray [P + 1], [P + 1, P + 1]
    carried : float
        Effective number of people behind gradient and Hessian, the lesser of the two.
    """

    n: int
    loss: float
    gradient: Float64
    hessian: Float64
    carried: float

    @classmethod
    def of(cls, features: ArrayLike, labels: ArrayLike, weights: ArrayLike) -> LogisticSums:
        """Sums of people's standardised features [n, P] and labels [n], 0 or 1."""
        x, y, w = (np.asarray(a, np.float64) for a in (features, labels, weights))
        x = np.concatenate([x, np.ones((len(x), 1))], axis=1)
        linear = x @ w
        residual = expit(linear) - y
        curvature = expit(linear) * expit(-linear)
        return cls(
            len(x),
            float((np.logaddexp(0, linear) - y * linear).sum()),
            x.T @ residual,
            (x * curvature[:, None]).T @ x,
            min(_effective(np.abs(residual)), _effective(curvature)),
        )

    def __add__(self, other: LogisticSums) -> LogisticSums:
        return LogisticSums(
            self.n + other.n,
            self.loss + other.loss,
            self.gradient + other.gradient,
            self.hessian + other.hessian,
            self.carried + other.carried,
        )


def _effective(weights: Float64) -> float:
    """How many people weights are spread over: n if all are equal, 1 if one has it all."""
    largest = weights.max(initial=0)
    if not largest:
        return 0.0
    share = weights / largest
    return float(share.sum() ** 2 / (share * share).sum())


@dataclass(frozen=True)
class Newton:
    """A fit on its way: where the sums are to be taken next.

    Attributes
    ----------
    centre, scale : ndarray [P]
        Features are standardised as ``(x - centre) * scale``.
    penalty : float
    trial : ndarray [P + 1]
        Weights to ask the sums at.
    best : ndarray [P + 1]
        The best weights so far.
    loss : float
        At `best`.
    done : bool
    """

    centre: Float64
    scale: Float64
    penalty: float
    trial: Float64
    best: Float64
    loss: float = float("inf")
    done: bool = False

    @classmethod
    def start(cls, m: Moments, penalty: float) -> Newton:
        """Begin at zero with the mean and spread of the people behind `m`."""
        mean = m.x_sum / m.n
        spread = np.sqrt(np.maximum(np.diag(m.xx) / m.n - mean**2, 0))
        varies = spread > RESOLVED * np.abs(mean)
        scale = np.where(varies, 1 / np.where(varies, spread, 1), 0.0)
        zero = np.zeros(len(mean) + 1)
        return cls(mean, scale, penalty, zero, zero)

    def advance(self, sums: LogisticSums) -> Newton:
        """Take in the sums at `trial`: a step from it if it is better, else one half as long.

        Parameters
        ----------
        sums : LogisticSums
            Of all sites.
        """
        ridge = self.penalty * np.append(np.ones(len(self.centre)), 0.0)
        loss = sums.loss + 0.5 * float((ridge * self.trial**2).sum())
        if loss > self.loss * (1 + 1e-12):
            halved = (self.trial + self.best) / 2
            small = np.abs(halved - self.best).max() < SMALLEST_STEP
            return replace(self, trial=halved, done=bool(small))
        gradient = sums.gradient + ridge * self.trial
        done = bool(np.abs(gradient).max() <= CLOSE * sums.n)
        step = np.linalg.solve(sums.hessian + np.diag(ridge), gradient)
        return replace(self, trial=self.trial - step, best=self.trial, loss=loss, done=done)

    def probe(self) -> Ridge:
        """The best weights so far, as a model of two scores whose difference is the logit."""
        raw = self.best[:-1] * self.scale
        intercept = self.best[-1] - self.centre @ raw
        return Ridge(np.stack([-raw, raw], axis=1) / 2, np.array([-intercept, intercept]) / 2)
