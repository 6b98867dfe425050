"""Ridge from sums: the pooled fit, its error and its penalty without anybody's row."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from sklearn.linear_model import Ridge as SklearnRidge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from brainjepa_core.sums.moments import Moments
from brainjepa_core.sums.protocol import total
from brainjepa_core.sums.ridge import (
    ALPHAS,
    Ridge,
    choose_alpha,
    fit_ridge,
    held_out_r2,
    predicted_moments,
)


def people(n: int = 60, p: int = 5, q: int = 3, noise: float = 1.0, seed: int = 0):
    """Features of different spread and place [n, P], outcomes that depend on them [n, Q]."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, p)) * rng.uniform(0.1, 5, p) + rng.uniform(-3, 3, p)
    weights = rng.standard_normal((p, q)) / x.std(0)[:, None]
    return x, x @ weights + noise * rng.standard_normal((n, q)) + rng.uniform(-9, 9, q)


def naive(x, y, alpha: float, new):
    """Outcomes of new people by the normal equations of standardised features."""
    z = (x - x.mean(0)) / x.std(0)
    weights = np.linalg.solve(z.T @ z + alpha * np.eye(z.shape[1]), z.T @ (y - y.mean(0)))
    return (new - x.mean(0)) / x.std(0) @ weights + y.mean(0)


@given(
    n=st.integers(3, 40),
    p=st.integers(1, 12),
    q=st.integers(1, 4),
    alpha=st.sampled_from(ALPHAS),
    seed=st.integers(0, 999),
)
def test_the_fit_is_that_of_scikit_learn(n, p, q, alpha, seed):
    x, y = people(n, p, q, seed=seed)
    new, _ = people(7, p, q, seed=seed + 1)
    found = fit_ridge(Moments.of(x, y), alpha).predict(new)
    oracle = make_pipeline(StandardScaler(), SklearnRidge(alpha=alpha)).fit(x, y)
    expected = oracle.predict(new).reshape(7, q)
    assert_allclose(found, expected, rtol=1e-6, atol=1e-6 * np.abs(y).max())


def test_the_normal_equations_hold():
    x, y = people()
    alpha = np.array([0.5, 3.0, 40.0])
    fitted = fit_ridge(Moments.of(x, y), alpha)
    new, _ = people(7, seed=1)
    for k in range(3):
        assert_allclose(fitted.predict(new)[:, k], naive(x, y[:, k], alpha[k], new), rtol=1e-9)
    assert_allclose(fitted.predict(x.mean(0)[None])[0], y.mean(0), rtol=1e-9)


@given(cuts=st.lists(st.integers(0, 60), max_size=6), seed=st.integers(0, 99))
def test_moments_of_sites_add_up_to_the_pooled_ones(cuts, seed):
    x, y = people(seed=seed)
    pooled = Moments.of(x, y)
    found = total(
        [
            Moments.of(a, b)
            for a, b in zip(np.split(x, sorted(cuts)), np.split(y, sorted(cuts)), strict=True)
        ]
    )
    for name in Moments.ADDED:
        a, b = getattr(found, name), getattr(pooled, name)
        assert_allclose(a, b, rtol=1e-9, atol=1e-9 * np.abs(pooled.xx).max())
    fits = [fit_ridge(m, 2.0) for m in (found, pooled)]
    assert_allclose(fits[0].weights, fits[1].weights, rtol=1e-9, atol=1e-12)
    assert_allclose(fits[0].intercept, fits[1].intercept, rtol=1e-9)


@given(seed=st.integers(0, 999), n=st.integers(2, 30))
def test_the_squared_error_is_that_of_the_residuals(seed, n):
    rng = np.random.default_rng(seed)
    x, y = people(n, seed=seed)
    model = Ridge(rng.standard_normal((5, 3)), rng.standard_normal(3))
    expected = ((y - model.predict(x)) ** 2).sum(0)
    assert_allclose(model.squared_error(Moments.of(x, y)), expected, rtol=1e-9)


def test_moments_of_predictions_need_no_people():
    x, y = people()
    probe = Ridge(np.random.default_rng(1).standard_normal((5, 3)), np.array([1.0, -4.0, 0.5]))
    found, expected = predicted_moments(probe, Moments.of(x, y)), Moments.of(probe.predict(x), y)
    for name in Moments.ADDED:
        assert_allclose(getattr(found, name), getattr(expected, name))


def naive_alpha(folds, alphas):
    """Penalty of each outcome by leaving out each fold of (x, y) pairs, by the normal equations."""
    errors = np.zeros((len(alphas), folds[0][1].shape[1]))
    for a, alpha in enumerate(alphas):
        for left_out, (x, y) in enumerate(folds):
            rest = [fold for i, fold in enumerate(folds) if i != left_out]
            train = (np.concatenate(part) for part in zip(*rest, strict=True))
            errors[a] += ((y - naive(*train, alpha, x)) ** 2).sum(0)
    return np.array(alphas)[errors.argmin(0)]


def test_the_penalty_is_that_of_brute_force():
    x, y = people(40, 15, 3, noise=0.05)
    # Outcomes that ask for little, some and all shrinkage.
    y[:, 1] += 2 * np.random.default_rng(1).standard_normal(40)
    y[:, 2] = np.random.default_rng(2).standard_normal(40)
    folds = list(zip(np.split(x, 4), np.split(y, 4), strict=True))
    found = choose_alpha([Moments.of(*fold) for fold in folds])
    assert found.tolist() == naive_alpha(folds, ALPHAS).tolist()
    assert found[0] < found[1] < found[2]


def naive_r2(x, y, folds):
    error, baseline = np.zeros(y.shape[1]), np.zeros(y.shape[1])
    for k in sorted(set(folds)):
        train, test = folds != k, folds == k
        inner = [(x[folds == j], y[folds == j]) for j in sorted(set(folds) - {k})]
        for q, alpha in enumerate(naive_alpha(inner, ALPHAS)):
            predicted = naive(x[train], y[train][:, q], alpha, x[test])
            error[q] += ((y[test][:, q] - predicted) ** 2).sum()
        baseline += ((y[test] - y[train].mean(0)) ** 2).sum(0)
    return 1 - error / baseline


@pytest.mark.parametrize("sizes", [(30, 4), (24, 40)])
def test_held_out_r2_by_loops(sizes):
    x, y = people(*sizes, q=2)
    folds = np.random.default_rng(0).permutation(sizes[0]) % 4
    found = held_out_r2(x, y, folds)
    assert_allclose(found, naive_r2(x, y, folds), atol=1e-6)
    # The names of folds and the order of people say nothing.
    order = np.random.default_rng(1).permutation(sizes[0])
    assert_allclose(held_out_r2(x[order], y[order], 7 - 3 * folds[order]), found, atol=1e-6)


def test_noise_gives_nothing_and_a_linear_signal_everything():
    rng = np.random.default_rng(0)
    x, y = people(200, 10, 3, noise=1e-3)
    folds = np.arange(200) % 5
    assert held_out_r2(x, y, folds).min() > 0.999
    noise = held_out_r2(x, rng.standard_normal((200, 20)), folds)
    assert noise.mean() < 0.005 and noise.max() < 0.06 and noise.min() > -0.2
    wide = held_out_r2(rng.standard_normal((200, 250)), rng.standard_normal((200, 20)), folds)
    assert wide.mean() < 0.005 and wide.min() > -0.5


def test_an_outcome_that_is_the_same_for_everybody_has_no_r2():
    x, y = people(30)
    y[:, 1], y[:, 2] = 0.1, 0.0
    found = held_out_r2(x, y, np.arange(30) % 3)
    assert np.isnan(found).tolist() == [False, True, True]


@given(value=st.floats(-1e4, 1e4), n=st.integers(4, 50), seed=st.integers(0, 99))
def test_a_feature_that_does_not_vary_gets_no_weight(value, n, seed):
    x, y = people(n, seed=seed)
    # Sums of squares leave a little rounding where the feature has no spread at all.
    constant = np.column_stack([x, np.full(n, value)])
    found = fit_ridge(Moments.of(constant, y), 1.0)
    without = fit_ridge(Moments.of(x, y), 1.0)
    assert found.weights[-1].tolist() == [0, 0, 0]
    assert_allclose(found.weights[:-1], without.weights, rtol=1e-6, atol=1e-12)
    assert_allclose(found.intercept, without.intercept, rtol=1e-6, atol=1e-9)


def test_a_feature_that_varies_little_beside_its_mean_still_counts():
    x, y = people()
    shifted = fit_ridge(Moments.of(x + 1e4 * x.std(0), y), 1.0)
    assert_allclose(shifted.weights, fit_ridge(Moments.of(x, y), 1.0).weights, rtol=1e-5)


@given(scale=st.floats(1e-3, 1e3), shift=st.floats(-10, 10))
def test_units_of_features_do_not_matter(scale, shift):
    x, y = people()
    folds = np.arange(len(x)) % 5
    expected = held_out_r2(x, y, folds)
    assert_allclose(held_out_r2(scale * (x + shift), y, folds), expected, atol=1e-6)


@pytest.mark.parametrize("where", ["features", "outcomes"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_no_numbers_are_refused(where, value):
    x, y = people(10)
    (x if where == "features" else y)[3, 1] = value
    text = "expected finite features and outcomes, found NaN or infinity; leave out people without"
    with pytest.raises(ValueError, match=text):
        Moments.of(x, y)
    with pytest.raises(ValueError, match=text):
        held_out_r2(x, y, np.arange(10) % 5)


def test_shapes_that_do_not_fit_are_refused():
    x, y = people(10)
    for a, b in ((x, y[:9]), (x[:, 0], y), (x, y[:, 0])):
        with pytest.raises(ValueError, match="give one row a person in both") as error:
            Moments.of(a, b)
        assert f"found shapes {a.shape} and {b.shape}" in str(error.value)


@pytest.mark.parametrize("count", [1, 2])
def test_too_few_folds_are_refused(count):
    x, y = people(10)
    with pytest.raises(ValueError, match=f"expected at least 3 folds, found {count}; use 5"):
        held_out_r2(x, y, np.arange(10) % count)
