"""Moments of features and outcomes: all that ridge regression needs of people.

A fold of fewer people than features is told whole by its moments: whoever knows a person's features
finds in them whether the person is there, and their outcome. So moments leave a site by itself only
where every fold has some people a feature (`are_enough`), and else within a secure sum.

On the wire, what outcomes share is there once, and the symmetric ``xx`` as its upper triangle.

Shapes: n people, P features, Q outcomes, F folds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import ArrayLike

from brainjepa_core.arrays import Arrays, Float64
from brainjepa_core.sums.possible import are_products
from brainjepa_core.sums.protocol import ROUNDING, SumOverPeople

PREFIX = "moments"
OF_FEATURES, OF_OUTCOMES = ("n", "x_sum", "xx"), ("y_sum", "xy", "yy")


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
        counts, dust = self.y_sum.round(), ROUNDING * self.n  # of secure sums
        return bool(
            (np.abs(self.y_sum - counts) <= dust).all()
            and (counts >= 0).all()
            and counts.sum() == self.n
            and (np.abs(self.yy - counts) <= dust).all()
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


def are_enough(folds: ArrayLike, features: int, a_feature: int) -> bool:
    """Whether the people of each fold are so many a feature that their moments may leave alone.

    Sums of any folds, and differences between such sums, are then of as many people too.

    Parameters
    ----------
    folds : array of int [n]
        Fold of each person.
    features : int
        P.
    a_feature : int
        Fewest people a feature, of each fold that has somebody.
    """
    _, sizes = np.unique(np.asarray(folds), return_counts=True)
    return bool((sizes >= a_feature * features).all())


def moments_to_arrays(moments: Mapping[Group, Moments]) -> Arrays:
    """Named arrays, all float64, of groups that are of the same people in a pool and fold.

    ``moments.<pool>.<fold>.<field>`` are ``n``, ``x_sum`` and ``xx`` [P (P + 1) / 2], its upper
    triangle row by row; ``moments.<pool>.<fold>.<outcome>.<field>`` are ``y_sum``, ``xy``, ``yy``.
    """
    found: Arrays = {}
    for group, m in moments.items():
        arrays = m.to_arrays()
        arrays["xx"] = m.xx[np.triu_indices(len(m.xx))]
        shared = f"{PREFIX}.{group.pool}.{group.fold}"
        found |= {f"{shared}.{field}": arrays[field] for field in OF_FEATURES}
        own = f"{shared}.{group.outcome}"
        found |= {f"{own}.{field}": arrays[field] for field in OF_OUTCOMES}
    return found


def moments_from_arrays(arrays: Mapping[str, Any]) -> dict[Group, Moments]:
    """Check foreign arrays and rebuild the moments that `moments_to_arrays` named.

    Raises
    ------
    ValueError
        If a name does not fit, or `Moments.from_arrays` refuses a group.
    """
    shared: dict[tuple[str, int], dict[str, Any]] = {}
    found: dict[Group, dict[str, Any]] = {}
    for name, array in arrays.items():
        match _words(name):
            case pool, fold, field:
                shared.setdefault((pool, fold), {})[field] = array
            case pool, fold, outcome, field:
                found.setdefault(Group(pool, outcome, fold), {})[field] = array
    whole = {place: _squared(values) for place, values in shared.items()}
    return {
        group: Moments.from_arrays({**whole.get((group.pool, group.fold), {}), **values})
        for group, values in found.items()
    }


def _words(name: str) -> tuple[str, int, str] | tuple[str, int, str, str]:
    """Pool, fold, outcome where there is one, and field of an array's name."""
    parts = name.split(".")
    if len(parts) not in (4, 5) or parts[0] != PREFIX or not _is_fold(parts[2]):
        raise ValueError(
            f"expected arrays {PREFIX}.<pool>.<fold>[.<outcome>].<field>, found '{name[:80]}'; "
            "check the versions"
        )
    if len(parts) == 4:
        return parts[1], int(parts[2]), parts[3]
    return parts[1], int(parts[2]), parts[3], parts[4]


def _squared(values: dict[str, Any]) -> dict[str, Any]:
    """With ``xx`` [P, P] in place of its upper triangle."""
    if "xx" not in values or "x_sum" not in values:
        return values  # refused as incomplete
    half, features = np.asarray(values["xx"]), np.size(values["x_sum"])
    if half.shape != (features * (features + 1) // 2,):
        raise ValueError(
            f"expected 'xx' of {features} features as their upper triangle, "
            f"{features * (features + 1) // 2} numbers, found shape {half.shape[:8]}; check the "
            "versions"
        )
    whole = np.zeros((features, features), half.dtype)
    rows, columns = np.triu_indices(features)
    whole[rows, columns] = whole[columns, rows] = half
    return {**values, "xx": whole}


def _is_fold(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) < 4 and text == str(int(text))
