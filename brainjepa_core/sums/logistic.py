"""Logistic regression across sites by Newton's method: each site sends a gradient and a Hessian.

Newton's steps need people as sums only, and a few steps do. The minimum is that of all people
pooled: the summed log loss plus ``penalty / 2`` times the squared weights of standardised features
(scikit-learn's ``LogisticRegression`` with ``C = 1 / penalty``).

The sums at chosen weights can tell more than moments do: weights that are sure of everybody but one
person leave that person alone in the sums. So a site answers only while enough people carry them.

Shapes: n people, P features.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import expit

from brainjepa_core.arrays import Arrays, Float64
from brainjepa_core.sums.moments import Moments
from brainjepa_core.sums.possible import are_products
from brainjepa_core.sums.protocol import ROUNDING, SumOverPeople
from brainjepa_core.sums.ridge import RESOLVED, Ridge

# Of the gradient, relative to the number of people: where a fit ends, and where one that could not
# get so far is near enough for its probe's scores.
CLOSE, NEAR = 1e-10, 1e-5
SMALLEST_STEP = 1e-6
ROUNDED = 1e-12  # of a sum of squares, at most, by adding up in float64


@dataclass(frozen=True)
class LogisticSums(SumOverPeople):
    """Log loss of some people at some weights [P + 1], the intercept last, and its derivatives.

    Attributes
    ----------
    n : int
        Number of people.
    loss : float
    gradient, hessian : ndarray [P + 1], [P + 1, P + 1]
    carried : float
        Effective number of people behind gradient and Hessian, the lesser of the two; a site judges
        by it what it tells, and it does not travel: of told sums it is the number of people.
    """

    n: int
    loss: float
    gradient: Float64
    hessian: Float64
    carried: float

    NAME = "set of logistic sums"
    ADDED = {
        "loss": np.float64, "gradient": np.float64, "hessian": np.float64, "people": np.int64
    }  # fmt: skip
    LARGEST = 1e30

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

    @property
    def people(self) -> int:
        return self.n

    def enough(self, fewest: int) -> bool:
        """Whether at least `fewest` people carry the sums, however many there are."""
        return min(self.people, self.carried) >= fewest

    def __add__(self, other: LogisticSums) -> LogisticSums:
        return replace(super().__add__(other), carried=self.carried + other.carried)

    @classmethod
    def _shapes(cls, arrays: Arrays) -> dict[str, tuple[int, ...]]:
        width = np.size(arrays["gradient"])
        if not width:
            raise ValueError("expected a gradient, found an empty array; check the versions")
        return {"loss": (), "gradient": (width,), "hessian": (width, width), "people": ()}

    @classmethod
    def _made_of(cls, values: Mapping[str, Any]) -> Self:
        people, loss = int(values["people"]), float(values["loss"])
        return cls(people, loss, values["gradient"], values["hessian"], float(people))

    def _require_possible(self) -> None:
        """A Hessian that is a Gram matrix, and the bounds that the intercept's 1 sets."""
        room, nothing = 1 + ROUNDING, np.zeros((len(self.gradient), 0))
        if (
            self.loss < 0
            or not are_products(self.hessian, nothing[0], nothing)
            or self.hessian[-1, -1] > 0.25 * self.people * room
            or abs(self.gradient[-1]) > self.people * room
        ):
            raise ValueError(
                "expected derivatives of a log loss, found some that no people's data have; check "
                "the site's version"
            )


def require_of_people(sums: LogisticSums, squares: Float64, at: Float64) -> None:
    """Refuse sums that the people behind some sums of squares cannot have at given weights.

    A residual is at most 1 and a curvature at most 1/4, so with squares q over n people
    ``|g_j| <= sqrt(n q_j)`` and ``H_jj <= q_j / 4``; and a loss is at most that of everybody on the
    wrong side, ``n log 2 + sum |w_j| sqrt(n q_j)``.

    Parameters
    ----------
    sums : LogisticSums
    squares : ndarray [P + 1]
        Of the same people's columns, the intercept's last (their number).
    at : ndarray [P + 1]
        Where the sums were taken.

    Raises
    ------
    ValueError
    """
    n, room = squares[-1], 1 + ROUNDING
    root = np.sqrt(n * squares)
    dust = ROUNDING * max(n, 1.0)
    if (
        sums.people > n
        or (np.abs(sums.gradient) > root * room + dust).any()
        or (np.diag(sums.hessian) > squares / 4 * room + dust).any()
        or sums.loss > (n * np.log(2) + np.abs(at) @ root) * room + dust
    ):
        raise ValueError(
            f"expected derivatives of a log loss of the {n:.0f} people whose moments the site "
            "told, found some that they cannot have; check the site's version"
        )


def require_convex(
    before: LogisticSums, there: Float64, after: LogisticSums, here: Float64
) -> None:
    """Refuse sums at two places that no convex loss has: it lies above all of its tangents.

    A gradient that does not lead where the site's own loss falls is found out at the next place.

    Parameters
    ----------
    before, after : LogisticSums
        Of the same people.
    there, here : ndarray [P + 1]
        Where each was taken.

    Raises
    ------
    ValueError
    """
    dust = ROUNDING * max(before.loss, after.loss, float(before.n))
    falls = after.loss - before.loss
    step = here - there
    if falls < before.gradient @ step - dust or falls > after.gradient @ step + dust:
        raise ValueError(
            "expected losses and gradients of one log loss, found a loss that does not fall as its "
            "gradient says; check the site's version"
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
    loss, steepness : float
        At `best`; the latter is the largest part of the gradient over the number of people.
    done : bool
    """

    centre: Float64
    scale: Float64
    penalty: float
    trial: Float64
    best: Float64
    loss: float = float("inf")
    steepness: float = float("inf")
    done: bool = False

    @property
    def near(self) -> bool:
        """Whether more steps would change no score that anybody could tell."""
        return self.done or self.steepness <= NEAR

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
        steepness = float(np.abs(gradient).max() / max(sums.n, 1))
        step = np.linalg.solve(sums.hessian + np.diag(ridge), gradient)
        return replace(
            self,
            trial=self.trial - step,
            best=self.trial,
            loss=loss,
            steepness=steepness,
            done=steepness <= CLOSE,
        )

    def squares(self, m: Moments) -> Float64:
        """Sums of squares [P + 1] of people's standardised features, and of the intercept's 1.

        They are no smaller than true ones: what rounding of large sums may have taken is added.
        """
        squares, moved = np.diag(m.xx), m.n * self.centre**2
        raw = squares - 2 * self.centre * m.x_sum + moved
        return np.append(self.scale**2 * (raw.clip(min=0) + ROUNDED * (squares + moved)), m.n)

    def probe(self) -> Ridge:
        """The best weights so far, as a model of two scores whose difference is the logit."""
        raw = self.best[:-1] * self.scale
        intercept = self.best[-1] - self.centre @ raw
        return Ridge(np.stack([-raw, raw], axis=1) / 2, np.array([-intercept, intercept]) / 2)
