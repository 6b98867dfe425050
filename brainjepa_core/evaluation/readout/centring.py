"""Centring by hospital: what is taken from features and targets before they are compared.

Shapes: n people, P features, Q outcomes.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from brainjepa_core.arrays import Float64

Index = NDArray[np.int64]

FEWEST = 5  # people of a hospital whose mean is taken for its own; of fewer it would be their own


def centres_of(
    groups: NDArray[np.generic], training: Index, test: Index
) -> list[tuple[NDArray[np.bool_], Index]]:
    """Rows of each group, and the rows whose mean is its centre.

    Its training people; without any its tested people; of fewer than `FEWEST` the training people
    of all groups.
    """
    found = []
    for group in np.unique(groups):
        members = groups == group
        trained, tested = training[members[training]], test[members[test]]
        own = trained if len(trained) else tested
        found.append((members, own if len(own) >= FEWEST else training))
    return found


def centred_on(
    features: NDArray[np.floating], centres: Sequence[tuple[NDArray[np.bool_], Index]]
) -> NDArray[np.floating]:
    """Features [n, P] less the mean of their group's centre; 0 where a value is missing.

    A feature that nobody of a centre has is taken less the mean of all centres.
    """
    everybody = mean_of_known(features[np.unique(np.concatenate([rows for _, rows in centres]))])
    result = np.zeros_like(features)
    for members, rows in centres:
        centre = mean_of_known(features[rows])
        result[members] = features[members] - np.where(np.isfinite(centre), centre, everybody)
    return np.nan_to_num(result, copy=False, nan=0.0)


def mean_of_known(values: NDArray[np.floating]) -> Float64:
    """Mean over rows of each column [P], of the values that are known; NaN where none is."""
    known = np.isfinite(values)
    count = known.sum(0)
    total = np.where(known, values, 0).sum(0, dtype=np.float64)
    found: Float64 = np.divide(total, count, out=np.full(count.shape, np.nan), where=count > 0)
    return found


def training_means(told: Float64, groups: NDArray[np.generic], training: Index) -> Float64:
    """Mean target [n, Q] of each row's group in training; of all training rows where it has few."""
    means = np.repeat(told[training].mean(0)[None], len(told), axis=0)
    for group in np.unique(groups):
        mates = training[groups[training] == group]
        if len(mates) >= FEWEST:
            means[groups == group] = told[mates].mean(0)
    return means


def levels_of(groups: NDArray[np.generic], covariates: NDArray[np.floating]) -> Float64:
    """What may be taken out of features before people are compared [n, 1 + G + C].

    A constant, an indicator of each group, and covariates [n, C].
    """
    members = groups[:, None] == np.unique(groups)[None]
    return np.column_stack([np.ones(len(groups)), members, covariates])
