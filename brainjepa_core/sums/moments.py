"""Moments of features and outcomes: all that ridge regression needs of people.

Shapes: n people, P features, Q outcomes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import ArrayLike

from brainjepa_core.arrays import Arrays, Float64
from brainjepa_core.sums.possible import are_products
from brainjepa_core.sums.protocol import SumOverPeople

PREFIX = "moments"


@dataclass(frozen=True)
class Moments(SumOverPeople):
    """Sufficient statistics of a ridge regression.

    Attributes
    ----------
    n : int
        Number of people; travels as float64, as the rest.
    x_sum, y_sum : ndarray [P], [Q]
    xx, xy : ndarray [P, P], [P, Q]
        Uncentred products.
    yy : ndarray [Q]
        Sums of squares.
    """

    n: int
    x_sum: Float64
    y_sum: Float64
    xx: Float64
    xy: Float64
    yy: Float64

    NAME = "set of moments"
    ADDED = {name: np.float64 for name in ("n", "x_sum", "y_sum", "xx", "xy", "yy")}

    @classmethod
    def of(cls, features: ArrayLike, outcomes: ArrayLike) -> Moments:
        """Moments of people's features [n, P] and outcomes [n, Q].

        Raises
        ------
        ValueError
            If the numbers of people differ or a value is not finite.
        """
        x, y = np.asarray(features, np.float64), np.asarray(outcomes, np.float64)
        if x.ndim != 2 or y.ndim != 2 or len(x) != len(y):
            raise ValueError(
                f"expected features [n, P] and outcomes [n, Q] of the same people, found shapes "
                f"{x.shape} and {y.shape}; give one row a person in both"
            )
        if not (np.isfinite(x).all() and np.isfinite(y).all()):
            raise ValueError(
                "expected finite features and outcomes, found NaN or infinity; "
                "leave out people without the outcome"
            )
        return cls(len(x), x.sum(0), y.sum(0), x.T @ x, x.T @ y, (y * y).sum(0))

    @property
    def people(self) -> int:
        return self.n

    def are_of_classes(self) -> bool:
        """Whether outcomes are columns of 0 and 1, of which each person has one 1."""
        counts = self.y_sum
        return bool(
            (counts == counts.round()).all()
            and (counts >= 0).all()
            and counts.sum() == self.n
            and (self.yy == counts).all()
        )

    @classmethod
    def _shapes(cls, arrays: Arrays) -> dict[str, tuple[int, ...]]:
        p, q = np.size(arrays["x_sum"]), np.size(arrays["y_sum"])
        if not p * q:
            raise ValueError(
                f"expected moments of features and outcomes, found {p} and {q}; check the versions"
            )
        return {"n": (), "x_sum": (p,), "y_sum": (q,), "xx": (p, p), "xy": (p, q), "yy": (q,)}

    @classmethod
    def _made_of(cls, values: Mapping[str, Any]) -> Self:
        n = float(values["n"])
        if n < 0 or n != int(n):
            raise ValueError(f"expected a number of people, found n = {n:g}; leave this out")
        return cls(int(n), *(values[name] for name in ("x_sum", "y_sum", "xx", "xy", "yy")))

    def _require_possible(self) -> None:
        """The whole Gram matrix of people, features and each outcome; zeros where nobody is."""
        among = np.block(
            [[np.array([[float(self.n)]]), self.x_sum[None]], [self.x_sum[:, None], self.xx]]
        )
        products = np.concatenate([self.y_sum[None], self.xy])
        of_nobody = not self.n and max(np.diag(self.xx).max(), self.yy.max()) > 0
        if of_nobody or not are_products(among, self.yy, products):
            raise ValueError(
                "expected sums of products, found some that no people's data have; check the "
                "site's version"
            )


class Group(NamedTuple):
    """What a set of moments is of."""

    pool: str
    outcome: str
    fold: int


def fold_moments(
    features: ArrayLike, outcomes: ArrayLike, folds: ArrayLike, count: int
) -> list[Moments]:
    """Moments of people by fold, 0 .. count - 1; a fold of nobody has n = 0."""
    x, y, where = np.asarray(features), np.asarray(outcomes), np.asarray(folds)
    return [Moments.of(x[where == k], y[where == k]) for k in range(count)]


def moments_to_arrays(moments: Mapping[Group, Moments]) -> Arrays:
    """Named arrays ``moments.<pool>.<outcome>.<fold>.<field>``, all float64."""
    return {
        f"{PREFIX}.{group.pool}.{group.outcome}.{group.fold}.{field}": array
        for group, m in moments.items()
        for field, array in m.to_arrays().items()
    }


def moments_from_arrays(arrays: Mapping[str, Any]) -> dict[Group, Moments]:
    """Check foreign arrays and rebuild the moments that `moments_to_arrays` named.

    Raises
    ------
    ValueError
        If a name does not fit, or `Moments.from_arrays` refuses a group.
    """
    found: dict[Group, dict[str, Any]] = {}
    for name, array in arrays.items():
        parts = name.split(".")
        if len(parts) != 5 or parts[0] != PREFIX or not _is_fold(parts[3]):
            raise ValueError(
                f"expected arrays {PREFIX}.<pool>.<outcome>.<fold>.<field>, found '{name[:80]}'; "
                "check the versions"
            )
        group = Group(parts[1], parts[2], int(parts[3]))
        found.setdefault(group, {})[parts[4]] = array
    return {group: Moments.from_arrays(values) for group, values in found.items()}


def _is_fold(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) < 4 and text == str(int(text))
