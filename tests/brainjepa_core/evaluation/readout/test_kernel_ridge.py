"""Kernel ridge regression against scikit-learn's, and leaving one out against refitting."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn.linear_model import Ridge

from brainjepa_core.evaluation.readout.centring import levels_of
from brainjepa_core.evaluation.readout.kernel_ridge import (
    RESOLVED,
    linear_kernel,
    ridge_fit,
    ridge_predictions,
    sum_of_kernels,
)

PEOPLE, TRAINED = 30, np.arange(22)
MEAN = np.ones((len(TRAINED), 1))


@pytest.fixture
def features():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((PEOPLE, 40))
    return x - x[TRAINED].mean(0)


@pytest.fixture
def targets(features):
    rng = np.random.default_rng(1)
    known = features[TRAINED]
    y = np.stack([known[:, :5].sum(1), known[:, 5:10].sum(1)], axis=1)
    y += 1.5 * rng.standard_normal((len(TRAINED), 2))
    return y - y.mean(0)


def test_kernels_have_unit_mean_square_and_add_as_features_do(features):
    x, y = features, 9 * features[:, :3] ** 2
    kernel = linear_kernel(x, TRAINED)
    assert kernel[TRAINED, TRAINED].mean() == pytest.approx(1)
    assert_allclose(linear_kernel(5 * x, TRAINED), kernel)
    joined = np.hstack([part / np.sqrt((part[TRAINED] ** 2).sum(1).mean()) for part in (x, y)])
    both = sum_of_kernels([kernel, linear_kernel(y, TRAINED)])
    assert_allclose(both, joined @ joined.T / 2, atol=1e-9)


def test_predictions_are_those_of_ridge_regression(features, targets):
    scale = (features[TRAINED] ** 2).sum(1).mean()
    kernel = linear_kernel(features, TRAINED)
    found = ridge_predictions(kernel, targets, TRAINED, MEAN, np.array([0.3]))
    ridge = Ridge(alpha=0.3 * scale, fit_intercept=False).fit(features[TRAINED], targets)
    assert_allclose(found, ridge.predict(features), atol=1e-9)


def test_the_penalty_is_the_best_for_people_left_out(features, targets):
    """Leaving each training person out and fitting the others anew, mean included."""
    penalties = np.array([0.001, 0.03, 0.3, 30.0])
    scale = (features[TRAINED] ** 2).sum(1).mean()
    errors = []
    for penalty in penalties:
        error = 0.0
        for person in TRAINED:
            rest = TRAINED[person != TRAINED]
            ridge = Ridge(alpha=penalty * scale).fit(features[rest], targets[rest])
            error += ((ridge.predict(features[[person]])[0] - targets[person]) ** 2).sum()
        errors.append(error)
    best = penalties[[int(np.argmin(errors))]]
    assert 0 < int(np.argmin(errors)) < 3  # a choice, not an edge
    kernel = linear_kernel(features, TRAINED)
    found = ridge_predictions(kernel, targets, TRAINED, MEAN, penalties)
    assert_allclose(found, ridge_predictions(kernel, targets, TRAINED, MEAN, best), atol=1e-12)


def test_features_of_float32_do_not_bring_means_back():
    """What was taken out is no direction to fit in: leaving one out would think it free."""
    x = np.random.default_rng(2).standard_normal((PEOPLE, 9000)).astype(np.float32) + 3
    x -= x[TRAINED].mean(0)
    values = np.linalg.eigvalsh(linear_kernel(x, TRAINED)[np.ix_(TRAINED, TRAINED)])
    assert values[0] < RESOLVED * values[-1] < values[1]


def test_people_who_do_not_differ_are_predicted_by_nothing(targets):
    kernel = linear_kernel(np.zeros((PEOPLE, 4)), TRAINED)
    assert not ridge_predictions(kernel, targets, TRAINED, MEAN).any()


@pytest.mark.parametrize("columns", [3, 40])
def test_who_is_left_out_is_predicted_as_by_a_fit_without_them(columns):
    """With levels of two groups and a covariate; fewer and more features than people."""
    rng = np.random.default_rng(3)
    groups, covariate = TRAINED % 2, rng.standard_normal((len(TRAINED), 1))
    beside = levels_of(groups, covariate)
    x, y = rng.standard_normal((len(TRAINED), columns)), rng.standard_normal((len(TRAINED), 2))
    y += 2 * x[:, :2]
    x, y = (v - beside @ np.linalg.lstsq(beside, v, rcond=None)[0] for v in (x, y))
    x /= np.sqrt((x**2).sum(1).mean())
    _, told = ridge_fit(linear_kernel(x, TRAINED), y, beside, np.array([0.1]))
    for person in TRAINED:
        rest = person != TRAINED
        both = np.hstack([beside, x])
        penalty = np.diag([0.0] * beside.shape[1] + [0.1] * columns)
        fitted = np.linalg.pinv(both[rest].T @ both[rest] + penalty) @ both[rest].T @ y[rest]
        assert_allclose(told[person], both[person] @ fitted, atol=1e-8)
