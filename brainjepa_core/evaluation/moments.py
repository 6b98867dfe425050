"""The yardstick from sums: what a site tells of its people's embeddings is added up over sites.

Shapes: n people, P features, Q outcomes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from brainjepa_core.arrays import Float64
from brainjepa_core.evaluation.measure import outcome_groups, pooled_features
from brainjepa_core.models.interface import BrainModel
from brainjepa_core.signals.windows import Windows
from brainjepa_core.sums.ridge import Moments

PREFIX = "moments"
FIELDS = tuple(field.name for field in fields(Moments))


class Group(NamedTuple):
    """What a set of moments is of."""

    pool: str
    outcome: str
    fold: int


def site_moments(
    model: BrainModel,
    windows: Windows,
    components: Float64,
    folds: ArrayLike,
    count: int,
    fewest: int = 1,
) -> dict[Group, Moments]:
    """Moments of a site's people for each pool, outcome group and fold.

    Parameters
    ----------
    model : BrainModel
        Its target encoder is what embeds.
    windows : Windows
        Of one site, since ages are taken less the site's mean.
    components : ndarray [R, C]
        Eigenvectors of the consensus connectivity.
    folds : array [n]
        Fold of each person.
    count : int
        Number of folds there are; a fold of nobody gets moments of n = 0.
    fewest : int
        Folds of fewer people are told as folds of nobody: sums of one are that one.

    Returns
    -------
    dict
        By `Group`. Outcomes that a person lacks are left out.
    """
    where = np.asarray(folds)
    outcomes = outcome_groups(windows, components)
    features = pooled_features(model, windows, range(windows.subjects))
    result = {}
    for pool, x in features.items():
        for outcome, y in outcomes.items():
            if not np.isfinite(y).all():
                continue
            for fold in range(count):
                members = (where == fold) & (np.sum(where == fold) >= fewest)
                result[Group(pool, outcome, fold)] = Moments.of(x[members], y[members])
    return result


def moments_to_arrays(moments: Mapping[Group, Moments]) -> dict[str, Float64]:
    """Named arrays ``moments.<pool>.<outcome>.<fold>.<field>``, all float64."""
    return {
        f"{PREFIX}.{group.pool}.{group.outcome}.{group.fold}.{field}": np.asarray(
            getattr(m, field), np.float64
        )
        for group, m in moments.items()
        for field in FIELDS
    }


def moments_from_arrays(arrays: Mapping[str, NDArray[Any]]) -> dict[Group, Moments]:
    """Check foreign arrays and rebuild the moments that `moments_to_arrays` named.

    Raises
    ------
    ValueError
        If a name, shape or dtype does not fit, a field is missing, a value is not finite, or a
        number of people is impossible.
    """
    found: dict[Group, dict[str, Float64]] = {}
    for name, array in arrays.items():
        parts = name.split(".")
        if len(parts) != 5 or parts[0] != PREFIX or not _is_fold(parts[3]):
            raise ValueError(
                f"expected arrays {PREFIX}.<pool>.<outcome>.<fold>.<field>, found '{name[:80]}'; "
                "check the versions"
            )
        group = Group(parts[1], parts[2], int(parts[3]))
        found.setdefault(group, {})[parts[4]] = array
    return {group: _moments(values) for group, values in found.items()}


def _is_fold(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) < 4 and text == str(int(text))


def _moments(values: dict[str, Float64]) -> Moments:
    if values.keys() != set(FIELDS):
        raise ValueError(
            f"expected the fields {', '.join(FIELDS)} of moments, found "
            f"{', '.join(sorted(values))[:80]}; check the versions"
        )
    p, q = np.size(values["x_sum"]), np.size(values["y_sum"])
    shapes = {"n": (), "x_sum": (p,), "y_sum": (q,), "xx": (p, p), "xy": (p, q), "yy": (q,)}
    wrong = [
        field
        for field, shape in shapes.items()
        if values[field].shape != shape or values[field].dtype != np.float64
    ]
    if wrong:
        raise ValueError(
            f"expected float64 moments of {p} features and {q} outcomes, found another shape or "
            f"dtype in {', '.join(wrong)}; check the versions"
        )
    if not all(np.isfinite(value).all() for value in values.values()):
        raise ValueError("expected finite moments, found NaN or infinity; leave this reply out")
    n = float(values["n"])
    if n < 0 or n != int(n) or (values["yy"] < 0).any() or (np.diag(values["xx"]) < 0).any():
        raise ValueError(
            f"expected a number of people and sums of squares, found n = {n:g} or a negative "
            "square; leave this reply out"
        )
    return Moments(int(n), *(values[field] for field in FIELDS[1:]))
