"""Sums of products pass where some people could have them, and only there."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from brainjepa_core.sums.moments import Moments
from brainjepa_core.sums.possible import are_products

IMPOSSIBLE = "expected sums of products, found some that no people's data have; check the site's v"


@given(
    n=st.integers(0, 40),
    p=st.integers(1, 60),
    q=st.integers(1, 4),
    place=st.sampled_from([0.0, 3.0, 1e4]),
    seed=st.integers(0, 999),
)
def test_honest_moments_pass_with_fewer_people_than_features_too(n, p, q, place, seed):
    rng = np.random.default_rng(seed)
    x = place + rng.standard_normal((n, p)) * 10.0 ** rng.integers(-4, 5, p)
    if p > 2:
        x[:, 1], x[:, 2] = 2 * x[:, 0], 0  # one column twice, and one of nothing
    y = x[:, :1] * rng.standard_normal(q) + rng.integers(0, 2) * rng.standard_normal((n, q))
    m = Moments.of(x, y)
    Moments.from_arrays(m.to_arrays())


def lowest(m: Moments) -> float:
    """Smallest eigenvalue of the whole Gram matrix with each outcome, columns of length 1."""
    found = []
    for j in range(len(m.yy)):
        rows = [[m.n, *m.x_sum, m.y_sum[j]]]
        rows += [[m.x_sum[i], *m.xx[i], m.xy[i, j]] for i in range(len(m.x_sum))]
        rows += [[m.y_sum[j], *m.xy[:, j], m.yy[j]]]
        whole = np.array(rows)
        length = np.sqrt(np.diag(whole))
        found.append(np.linalg.eigvalsh(whole / np.outer(length, length))[0])
    return min(found)


@given(seed=st.integers(0, 9999), size=st.floats(0.0, 0.5))
def test_it_is_the_sign_of_the_smallest_eigenvalue(seed, size):
    rng = np.random.default_rng(seed)
    x, y = rng.standard_normal((12, 3)), rng.standard_normal((12, 2))
    m = Moments.of(x, y)
    away = size * rng.standard_normal((3, 3))
    xx, xy = m.xx * (1 + (away + away.T) / 2), m.xy + 12 * size * rng.standard_normal((3, 2))
    changed = Moments(m.n, m.x_sum, m.y_sum, xx, xy, m.yy)
    if np.diag(xx).min() <= 0:
        return
    value = lowest(changed)
    if abs(value) < 1e-5:
        return
    if value > 0:
        Moments.from_arrays(changed.to_arrays())
    else:
        with pytest.raises(ValueError, match=IMPOSSIBLE):
            Moments.from_arrays(changed.to_arrays())


def test_products_that_are_possible_pair_by_pair_and_not_together():
    """A fit better than perfect: every pair obeys Cauchy and Schwarz."""
    xx, xy, yy = np.eye(3) * 10, np.full((3, 1), 9.0), np.array([10.0])
    assert (np.abs(xy) <= np.sqrt(10 * 10)).all()
    assert not are_products(xx, yy, xy) and are_products(xx, yy, xy / 2)
    ring = 10 * np.array([[1, 0.9, -0.9], [0.9, 1, 0.9], [-0.9, 0.9, 1]])
    assert not are_products(ring, np.zeros(0), np.zeros((3, 0)))
    asymmetric = np.eye(3) + np.triu(np.full((3, 3), 0.1), 1)
    assert not are_products(asymmetric, np.zeros(0), np.zeros((3, 0)))
    assert not are_products(-np.eye(2), np.zeros(0), np.zeros((2, 0)))
    assert not are_products(np.eye(2), np.array([-1.0]), np.zeros((2, 1)))


def test_a_mean_that_its_squares_do_not_allow():
    m = Moments.of(np.ones((5, 2)) * [1, -1], np.ones((5, 1)))
    with pytest.raises(ValueError, match=IMPOSSIBLE):
        Moments.from_arrays({**m.to_arrays(), "x_sum": np.array([5.0, 5.0])})


def test_values_near_the_bound_do_not_overflow():
    m = Moments.of(np.full((4, 2), 1e49), np.full((4, 1), 1e49))
    Moments.from_arrays(m.to_arrays())
