"""Log-connectivity against scipy's matrix logarithm, sites against the pool, and missing ROIs."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.linalg import logm

from brainjepa_core.evaluation.readout.log_connectivity import (
    LogConnectivity,
    components_of,
    sizes_of_levels,
)
from brainjepa_core.sums.connectivity import ConnectivitySum
from brainjepa_core.sums.correlation import functional_connectivity

ROIS = 12
NAMES = [f"r{i}" for i in range(ROIS)]
MIXING = np.random.default_rng(7).standard_normal((ROIS, 4))


def made(seed: int, frames: int = 60) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return MIXING @ rng.standard_normal((4, frames)) + rng.standard_normal((ROIS, frames))


def sum_of(seeds) -> ConnectivitySum:
    total = ConnectivitySum(NAMES)
    for seed in seeds:
        total.add_scan(made(seed))
    return total


def naive(mean: np.ndarray, person: np.ndarray, m: int) -> np.ndarray:
    """As it is written down, by loops and scipy."""
    values, vectors = np.linalg.eigh(mean)
    order = np.argsort(values)[::-1][:m]
    s = np.empty((m, m))
    for a, i in enumerate(order):
        for b, j in enumerate(order):
            total = 0.0
            for r in range(ROIS):
                for q in range(ROIS):
                    total += vectors[r, i] * person[r, q] * vectors[q, j]
            s[a, b] = total / np.sqrt(values[i] * values[j])
    shrunk, told = 0.9 * s + 0.1 * np.eye(m), []
    for level in {1: [1], 3: [2, 3], 5: [2, 5], 10: [2, 5, 10]}[m]:
        log = logm(shrunk[:level, :level]).real / np.sqrt(level)
        pairs = [(a, b) for a in range(level) for b in range(a + 1)]
        told += [log[a, b] * (1 if a == b else np.sqrt(2)) for a, b in pairs]
    return np.array(told)


def test_features_by_loops():
    mean, person = sum_of(range(5)).mean_fc(), functional_connectivity(made(9))
    for m in (1, 3, 5, 10):
        seen = LogConnectivity.of(mean, m)
        assert_allclose(seen.features(person), naive(mean, person, m), atol=1e-9)
    both = seen.features(np.stack([person, mean]))
    assert_allclose(both[0], seen.features(person), atol=1e-12)
    assert_allclose(both[1], 0, atol=1e-9)  # a person as the consensus


def test_distances_are_those_of_matrix_logarithms():
    """Of its leading half and of all of it, a component."""
    seen = LogConnectivity.of(sum_of(range(5)).mean_fc(), 4)
    people = [functional_connectivity(made(seed)) for seed in (10, 11)]
    squares = 0.0
    for level in (2, 4):
        leading = seen.projection[:, :level]
        logs = [logm(0.9 * leading.T @ c @ leading + 0.1 * np.eye(level)) for c in people]
        squares += np.linalg.norm(logs[0] - logs[1]) ** 2 / level
    features = [seen.features(c) for c in people]
    assert np.linalg.norm(features[0] - features[1]) == pytest.approx(np.sqrt(squares), rel=1e-9)


def test_levels_are_a_quarter_a_half_and_all():
    assert [sizes_of_levels(m) for m in (1, 2, 3, 5, 80, 124, 180)] == [
        [1], [2], [2, 3], [2, 5], [20, 40, 80], [31, 62, 124], [45, 90, 180],
    ]  # fmt: skip


def test_sites_see_what_the_pool_sees():
    person = functional_connectivity(made(50))
    sites = sum_of(range(3)) + sum_of(range(3, 9)) + sum_of(range(9, 11))
    pooled = LogConnectivity.of(sum_of(range(11)).mean_fc())
    found = LogConnectivity.of(sites.mean_fc()).features(person)
    assert_allclose(found, pooled.features(person), atol=1e-9)


def test_a_missing_roi_is_what_the_consensus_expects_of_it():
    """Of Gaussian signals: their regression on the others, and the variance that it leaves."""
    seen = LogConnectivity.of(sum_of(range(5)).mean_fc())
    person = functional_connectivity(made(20))
    known = np.ones(ROIS, bool)
    known[[3, 8]] = False
    shrunk = 0.9 * seen.consensus + 0.1 * np.eye(ROIS)
    weights = np.zeros((ROIS, ROIS))
    weights[known, known] = 1
    regression = np.linalg.solve(shrunk[np.ix_(known, known)], shrunk[np.ix_(known, ~known)])
    weights[np.ix_(~known, known)] = regression.T
    left = np.zeros((ROIS, ROIS))
    left[np.ix_(~known, ~known)] = (
        shrunk[np.ix_(~known, ~known)] - shrunk[np.ix_(~known, known)] @ regression
    )
    present = np.where(np.outer(known, known), person, 0)
    expected = weights @ present @ weights.T + left
    gaps = np.where(np.outer(known, known), person, np.nan)
    assert_allclose(seen.features(gaps), seen.features(expected), atol=1e-9)
    whole = LogConnectivity.of(shrunk)  # of somebody as the consensus nothing is missed
    as_all = np.where(np.outer(known, known), shrunk, np.nan)
    closer = np.abs(whole.features(as_all)).max()
    assert closer < 0.1 * np.abs(whole.features(gaps)).max()


def test_pairs_never_seen_together_are_the_consensus():
    seen = LogConnectivity.of(sum_of(range(5)).mean_fc())
    person = functional_connectivity(made(20))
    gaps, filled = person.copy(), person.copy()
    gaps[1, 4] = gaps[4, 1] = np.nan
    filled[1, 4] = filled[4, 1] = seen.consensus[1, 4]
    assert_allclose(seen.features(gaps), seen.features(filled), atol=1e-12)


@pytest.mark.parametrize("frames", [3, 4, 8])
def test_short_scans_have_finite_features(frames):
    seen = LogConnectivity.of(sum_of(range(5)).mean_fc(), ROIS)
    assert np.isfinite(seen.features(functional_connectivity(made(3, frames)))).all()


def test_components_by_the_number_of_rois():
    assert [components_of(n) for n in (2, 5, 24, 100, 200, 310, 450)] == [
        2, 2, 10, 40, 80, 124, 180,
    ]  # fmt: skip
    doubled = np.ones((6, 6))  # one direction, however many ROIs
    assert LogConnectivity.of(doubled).components == 1


def test_what_is_no_consensus_is_refused():
    text = r"expected the consensus as a finite symmetric matrix of at least 2 ROIs, found shape "
    for wrong in (np.eye(1), np.full((3, 3), np.nan), np.ones((2, 3)), np.triu(np.ones((3, 3)))):
        with pytest.raises(ValueError, match=text + r".*; take ConnectivitySum.mean_fc\(\)"):
            LogConnectivity.of(wrong)
    for wrong in (0, 4):
        with pytest.raises(ValueError, match=f"between 1 and 3 components, found {wrong}; there"):
            LogConnectivity.of(np.eye(3), wrong)
