"""Newton's steps on sums end where scikit-learn's fit on all people ends."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from brainjepa_core.sums.logistic import LogisticSums, Newton
from brainjepa_core.sums.moments import Moments

rng = np.random.default_rng(0)
N, P = 150, 5
X = 3 + rng.standard_normal((N, P)) * [1, 100, 0.01, 1, 1]
Y = (X[:, 0] + rng.standard_normal(N) > 3).astype(float)
SITE = rng.integers(0, 3, N)


def newton(x, y, penalty, steps=30) -> tuple[Newton, int]:
    fit = Newton.start(Moments.of(x, y[:, None]), penalty)
    for step in range(steps):
        sites = [
            LogisticSums.of((x[s == SITE] - fit.centre) * fit.scale, y[s == SITE], fit.trial)
            for s in range(3)
        ]
        fit = fit.advance(sites[0] + sites[1] + sites[2])
        if fit.done:
            return fit, step + 1
    raise AssertionError


@pytest.mark.parametrize("penalty", [0.01, 1.0, 100.0])
def test_it_is_the_pooled_fit(penalty):
    fit, steps = newton(X, Y, penalty)
    scaler = StandardScaler().fit(X)
    pooled = LogisticRegression(C=1 / penalty, tol=1e-12, max_iter=10_000)
    pooled.set_params(solver="newton-cholesky").fit(scaler.transform(X), Y)
    scores = fit.probe().predict(X)
    expected = pooled.decision_function(scaler.transform(X))
    np.testing.assert_allclose(scores[:, 1] - scores[:, 0], expected, atol=1e-6)
    assert steps <= 12


def test_classes_that_can_be_told_apart_and_a_constant_feature():
    x = np.concatenate([X, np.full((N, 1), 7.0)], axis=1)
    y = (X[:, 0] > 3).astype(float)
    fit, _ = newton(x, y, 1e-3)
    scores = fit.probe().predict(x)
    assert ((scores[:, 1] > scores[:, 0]) == y).all() and fit.best[-2] == 0


def test_derivatives_are_those_of_the_loss():
    w, z = rng.standard_normal(P + 1), (X - X.mean(0)) / X.std(0)
    sums, step = LogisticSums.of(z, Y, w), 1e-5
    for i, unit in enumerate(np.eye(P + 1)):
        up, down = (LogisticSums.of(z, Y, w + s * step * unit) for s in (1, -1))
        assert (up.loss - down.loss) / (2 * step) == pytest.approx(sums.gradient[i], abs=1e-4)
        np.testing.assert_allclose(
            (up.gradient - down.gradient) / (2 * step), sums.hessian[i], atol=1e-4
        )


def test_how_many_people_carry_the_sums():
    z = (X - X.mean(0)) / X.std(0)
    assert LogisticSums.of(z, Y, np.zeros(P + 1)).carried == pytest.approx(N)
    # Weights that are sure of everybody but the person with the largest value.
    edge = np.sort(z[:, 0])[-2:].mean()
    alone = np.array([1e4, 0, 0, 0, 0, -1e4 * edge])
    assert LogisticSums.of(z, np.zeros(N), alone).carried <= 1
    assert LogisticSums.of(z[:0], Y[:0], alone).carried == 0


def test_a_step_that_overshoots_is_halved():
    fit = Newton.start(Moments.of(X, Y[:, None]), 1.0)
    good = LogisticSums.of((X - fit.centre) * fit.scale, Y, fit.trial)
    first = fit.advance(good)
    worse = LogisticSums(N, good.loss * 10, good.gradient, good.hessian, N)
    second = first.advance(worse)
    np.testing.assert_allclose(second.trial, first.trial / 2)
    assert second.loss == first.loss and not second.done
