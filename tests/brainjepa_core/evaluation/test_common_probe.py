"""A probe from sums is the probe of the people behind them, each fold left out in turn."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import Ridge as SkRidge
from sklearn.preprocessing import StandardScaler

from brainjepa_core.evaluation.common_probe import (
    cross_fit,
    held_out_predictions,
    outcome_columns,
    score_range,
    told_people,
)
from brainjepa_core.sums.moments import Moments, fold_moments

rng = np.random.default_rng(0)
N, P, F = 120, 6, 4
X = 3 + rng.standard_normal((N, P)) * np.arange(1, P + 1)
FOLDS = rng.integers(0, F, N)
AGE = 40 + X[:, 0] + X[:, 1] + 2 * rng.standard_normal(N)
CLASS = (X[:, 0] + rng.standard_normal(N) > 3).astype(float)
THREE = np.digitize(X[:, 1], [2, 5]).astype(float)


@pytest.mark.parametrize(("target", "classes"), [(AGE, 0), (CLASS, 2), (THREE, 3)])
def test_sums_over_sites_give_the_fit_on_all_people(target, classes):
    y = outcome_columns(target, classes)
    pooled = cross_fit(fold_moments(X, y, FOLDS, F))
    halves = [fold_moments(X[k::2], y[k::2], FOLDS[k::2], F) for k in (0, 1)]
    summed = cross_fit([a + b for a, b in zip(*halves, strict=True)])
    np.testing.assert_allclose(summed.final.predict(X), pooled.final.predict(X), atol=1e-9)
    for a, b in zip(summed.probes, pooled.probes, strict=True):
        np.testing.assert_allclose(a.predict(X), b.predict(X), atol=1e-9)
    assert summed.metrics == pytest.approx(pooled.metrics) and summed.people == N


def test_each_probe_is_a_ridge_without_its_fold():
    """Oracle: scikit-learn with the penalty chosen by looping over folds of people."""
    fitted = cross_fit(fold_moments(X, AGE[:, None], FOLDS, F), alphas=(1.0, 100.0))

    def fit(rows, alpha):
        scaler = StandardScaler().fit(X[rows])
        model = SkRidge(alpha=alpha).fit(scaler.transform(X[rows]), AGE[rows])
        return lambda x: model.predict(scaler.transform(x))

    predicted, unit = np.zeros(N), np.zeros(N)
    for k in range(F):
        rest = k != FOLDS
        inner = [j for j in range(F) if j != k]
        errors = [
            sum(
                ((fit(rest & (j != FOLDS), alpha)(X[j == FOLDS]) - AGE[j == FOLDS]) ** 2).sum()
                for j in inner
            )
            for alpha in (1.0, 100.0)
        ]
        best = fit(rest, (1.0, 100.0)[int(np.argmin(errors))])
        predicted[~rest], unit[~rest] = best(X[~rest]), AGE[rest].std()
    np.testing.assert_allclose(held_out_predictions(fitted.probes, X, FOLDS)[:, 0], predicted)
    found = fitted.metrics
    assert found["r"] == pytest.approx(np.corrcoef(predicted, AGE)[0, 1], abs=1e-9)
    assert found["mse"] == pytest.approx(((predicted - AGE) ** 2).mean(), abs=1e-9)
    standardised = (((predicted - AGE) / unit) ** 2).mean()
    assert found["standardised mse"] == pytest.approx(standardised, abs=1e-9)
    spread = ((AGE - AGE.mean()) ** 2).mean()
    expected = 1 - ((predicted - AGE) ** 2).mean() / spread
    assert found["r2"] == pytest.approx(expected, abs=1e-9)


def test_folds_of_nobody_and_targets_that_do_not_vary():
    folds = np.where(FOLDS == 1, 0, FOLDS)
    fitted = cross_fit(fold_moments(X, AGE[:, None], folds, F))
    assert fitted.people == N and len(fitted.probes) == F
    constant = cross_fit(fold_moments(X, np.ones((N, 1)), FOLDS, F)).metrics
    assert constant.pop("mse") == pytest.approx(0) and np.isnan(list(constant.values())).all()
    with pytest.raises(ValueError, match="expected people in at least 3 folds, found 2 of 4; ask"):
        cross_fit(fold_moments(X, AGE[:, None], FOLDS // 2, F))


def test_people_of_a_class_that_is_small_in_its_fold_are_not_told():
    folds = np.array([0, 0, 0, 0, 0, 1, 1, 1])
    target = np.array([0, 0, 0, 1, 1, 0, 0, 0.0])
    assert told_people(folds, target, 2, 3).tolist() == [1, 1, 1, 0, 0, 1, 1, 1]
    assert told_people(folds, target, 0, 4).tolist() == [1, 1, 1, 1, 1, 0, 0, 0]
    assert told_people(folds, target, 2, 1).all()


def test_the_range_of_scores_is_that_of_their_difference():
    margin = 1e-3 * (CLASS + rng.standard_normal(N)) - 7
    predicted = np.stack([-margin / 2, margin / 2], axis=1)
    found = score_range(Moments.of(predicted, CLASS[:, None]))
    assert tuple(found) == pytest.approx((margin.mean(), margin.std()))
