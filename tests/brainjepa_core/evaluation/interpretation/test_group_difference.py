"""Differences of groups against least squares, scipy and what permutations must do."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.stats import false_discovery_control, permutation_test

from brainjepa_core.evaluation.interpretation import group_difference
from brainjepa_core.evaluation.interpretation.group_difference import compare_groups

RNG = np.random.default_rng(0)
GROUP = RNG.random(40) < 0.4
SITES = np.repeat(["a", "b", "c", "d"], 10)


def values(seed: int = 1, shape: tuple[int, ...] = (6,)) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((40, *shape))


def test_difference_of_means():
    y = values()
    found = compare_groups(y, GROUP, permutations=50)
    assert_allclose(found.difference, y[GROUP].mean(0) - y[~GROUP].mean(0))


def test_within_sites_it_is_least_squares_with_an_intercept_a_site():
    y = values() + 5 * np.arange(40)[:, None] // 10
    y[3, 0] = y[17, 0] = np.nan
    found = compare_groups(y, GROUP, SITES, permutations=50)
    for column in range(6):
        seen = np.isfinite(y[:, column])
        design = np.column_stack([GROUP, *(site == SITES for site in "abcd")]).astype(float)
        beta = np.linalg.lstsq(design[seen], y[seen, column], rcond=None)[0]
        assert_allclose(found.difference[column], beta[0])


def test_p_values_are_those_of_scipy():
    y = values()
    y[GROUP] += [0, 0.3, 0.6, 0.9, 1.2, 0]
    found = compare_groups(y, GROUP, permutations=4000)
    scipy = permutation_test(
        (y[GROUP], y[~GROUP]),
        lambda a, b, axis: np.abs(a.mean(axis) - b.mean(axis)),
        vectorized=True, n_resamples=4000, alternative="greater", rng=np.random.default_rng(0),
    )  # fmt: skip
    assert_allclose(found.p, scipy.pvalue, atol=0.04)  # four standard errors of two estimates
    assert_allclose(found.q, false_discovery_control(found.p))
    assert (found.p_family >= found.p).all() and found.p_family[4] < 0.05 < found.p_family[0]


def test_false_alarms_of_the_family_are_as_rare_as_promised():
    alarms = [
        compare_groups(values(seed, (30,)), GROUP, SITES, permutations=99, seed=seed).p_family.min()
        for seed in range(200)
    ]
    assert 0.05 < np.mean(np.array(alarms) <= 0.1) < 0.165  # 0.1 and three standard errors


def test_what_differs_between_sites_only_is_no_difference():
    group = np.arange(40) % 10 < np.repeat([1, 3, 7, 9], 10)
    y = values(2) + np.repeat([0, 3, 7, 10], 10)[:, None]
    naive, within = compare_groups(y, group), compare_groups(y, group, SITES)
    assert (naive.p < 0.001).all()
    assert (within.p > 0.01).all()


def test_shapes_blocks_and_seeds(monkeypatch):
    y = values(shape=(2, 3, 3))
    found = compare_groups(y, GROUP, SITES, permutations=200)
    monkeypatch.setattr(group_difference, "COLUMNS", 4)
    parts = compare_groups(y, GROUP, SITES, permutations=200)
    other = compare_groups(y, GROUP, SITES, permutations=200, seed=1)
    for name in ("difference", "p", "q", "p_family"):
        assert getattr(found, name).shape == (2, 3, 3)
        assert_allclose(getattr(found, name), getattr(parts, name))
    assert not np.array_equal(found.p, other.p)


def test_values_nobody_has_stay_unknown():
    y = values()
    y[:, 2] = np.nan
    y[GROUP, 4] = np.nan
    found = compare_groups(y, GROUP, permutations=50)
    for name in ("difference", "p", "q", "p_family"):
        assert np.isnan(getattr(found, name)).tolist() == [False, False, True, False, True, False]
    rest = compare_groups(y[:, [0, 1, 3, 5]], GROUP, permutations=50)
    assert_allclose(found.q[[0, 1, 3, 5]], rest.q)


def test_a_constant_value_is_not_told_apart():
    y = values()
    y[:, 1] = 3.0
    found = compare_groups(y, GROUP, permutations=50)
    assert np.isnan(found.p).tolist() == [False, True, False, False, False, False]


def test_nobody_to_compare():
    with pytest.raises(ValueError, match=r"people of both groups, found 40 of 40 people"):
        compare_groups(values(), np.ones(40, bool))
    with pytest.raises(ValueError, match=r"one row, group and site a person, found 40, 3 and 40"):
        compare_groups(values(), [True, False, True])
