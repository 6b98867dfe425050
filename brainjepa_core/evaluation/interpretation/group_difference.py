"""Where two groups of people differ: many values at once, by permutations within sites.

Shapes: n people, K values a person (any shape), S sites, P permutations.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import false_discovery_control

from brainjepa_core.arrays import Float64

PERMUTATIONS = 10_000
COLUMNS = 128  # values at a time, so that permutations of many do not fill the memory


@dataclass(frozen=True)
class GroupDifference:
    """How much higher each value is in the group; arrays [K], NaN where it cannot be told.

    Attributes
    ----------
    difference : ndarray
        Mean of the group less mean of the others, within sites.
    p : ndarray
        Of a permutation test, two-sided.
    q : ndarray
        After the false discovery rate over all values (Benjamini & Hochberg 1995).
    p_family : ndarray
        After the largest statistic of all values in each permutation (Westfall & Young 1993;
        Nichols & Holmes 2002). Holm's correction of `p` could not fall below K / (P + 1).
    """

    difference: Float64
    p: Float64
    q: Float64
    p_family: Float64


def compare_groups(
    values: ArrayLike,
    in_group: ArrayLike,
    sites: ArrayLike | None = None,
    *,
    permutations: int = PERMUTATIONS,
    seed: int = 0,
) -> GroupDifference:
    """Compare people in a group with the others.

    Parameters
    ----------
    values : array [n, K]
        K may be several axes; NaN where a person has no value.
    in_group : array of bool [n]
    sites : array [n], optional
        Labels change places within a site only, and the difference is the mean of the sites'
        differences weighted as by least squares with an intercept a site, so that what differs
        between sites counts nowhere. By default all are one site.
    permutations : int
    seed : int

    Returns
    -------
    GroupDifference

    Raises
    ------
    ValueError
        If no site has people of both groups, or the numbers of people differ.
    """
    whole = np.asarray(values, np.float64)
    y = whole.reshape(len(whole), -1)
    group = np.asarray(in_group, bool)
    strata = np.zeros(len(y), np.int64) if sites is None else np.asarray(sites)
    if not len(y) == len(group) == len(strata):
        raise ValueError(
            f"expected one row, group and site a person, found {len(y)}, {len(group)} and "
            f"{len(strata)}; give all three of the same people"
        )
    rows = [np.flatnonzero(strata == site) for site in np.unique(strata)]
    rows = [r for r in rows if 0 < group[r].sum() < len(r)]  # others say nothing of groups
    if not rows:
        raise ValueError(
            f"expected a site with people of both groups, found {int(group.sum())} of {len(group)} "
            "people in the group and no such site; choose another group or leave sites out"
        )
    rng = np.random.default_rng(seed)
    labels = [_permuted(group[r], permutations, rng) for r in rows]
    difference, observed = np.zeros(y.shape[1]), np.zeros(y.shape[1])
    p, largest = np.zeros(y.shape[1]), np.zeros((permutations, 1))
    for first in range(0, y.shape[1], COLUMNS):
        part = slice(first, first + COLUMNS)
        effect, statistic = _differences([y[r, part] for r in rows], labels)
        difference[part], observed[part] = effect[0], np.abs(statistic[0])
        null = np.abs(np.nan_to_num(statistic[1:]))  # a group without values says nothing
        p[part] = _share(null, observed[part])
        largest = np.maximum(largest, null.max(1, keepdims=True))
    known = np.isfinite(observed)
    p, q = np.where(known, p, np.nan), np.full(len(p), np.nan)
    q[known] = false_discovery_control(p[known])
    family = np.where(known, _share(largest, observed), np.nan)
    return GroupDifference(*(v.reshape(whole.shape[1:]) for v in (difference, p, q, family)))


def _share(null: Float64, observed: Float64) -> Float64:
    """Share of permutations [P, K or 1] that reach what was observed [K], which counts as one."""
    reach = observed * (1 - 1e-9)  # a permutation to the same groups is as large, but for rounding
    found: Float64 = (1 + (null >= reach).sum(0)) / (1 + len(null))
    return found


def _permuted(group: NDArray[np.bool_], permutations: int, rng: np.random.Generator) -> Float64:
    """The labels as they are, then permuted: [1 + P, n]."""
    copies = np.tile(group.astype(np.float64), (permutations, 1))
    return np.concatenate([group[None].astype(np.float64), rng.permuted(copies, axis=1)])


def _differences(values: list[Float64], labels: list[Float64]) -> tuple[Float64, Float64]:
    """Differences [1 + P, K] and their t-like statistics, summed over sites."""
    shape = (len(labels[0]), values[0].shape[1])
    numerator, denominator = np.zeros(shape), np.zeros(shape)
    squares, freedom = np.zeros(shape[1]), np.zeros(shape[1])
    for y, group in zip(values, labels, strict=True):
        present = np.isfinite(y)
        count = present.sum(0)
        mean = np.where(present, y, 0).sum(0) / np.maximum(count, 1)
        centred = np.where(present, y - mean, 0)
        in_group = group @ present
        numerator += group @ centred
        denominator += in_group - in_group**2 / np.maximum(count, 1)
        squares += (centred**2).sum(0)
        freedom += np.maximum(count - 1, 0)
    with np.errstate(invalid="ignore", divide="ignore"):
        effect = np.where(denominator > 1e-9, numerator / denominator, np.nan)
        spread = np.sqrt(squares / freedom)
        statistic = effect * np.sqrt(denominator) / spread
    return effect, statistic
