"""Metrics under weights equal scikit-learn's of repeated people, and naive ones within sites."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import pearsonr
from sklearn import metrics as sklearn

from brainjepa_core.evaluation.scores.metrics import (
    auc,
    classification_scores,
    headline,
    lower_is_better,
    metric_unit,
    regression_scores,
)

SEEDS = st.integers(0, 10_000)


def drawn(rng: np.random.Generator, people: int, draws: int = 3) -> np.ndarray:
    """Weights [draws + 1, people]: everybody once, then bootstrap draws."""
    counts = rng.multinomial(people, np.full(people, 1 / people), draws)
    return np.vstack([np.ones(people), counts]).astype(float)


def naive_regression(y: np.ndarray, p: np.ndarray, unit: np.ndarray) -> dict[str, float]:
    return {
        "mse": sklearn.mean_squared_error(y, p),
        "standardised mse": sklearn.mean_squared_error(y / unit, p / unit),
        "mae": sklearn.mean_absolute_error(y, p),
        "r": pearsonr(y, p).statistic,
        "r2": sklearn.r2_score(y, p),
    }


@given(SEEDS)
def test_regression_is_that_of_repeated_people(seed):
    rng = np.random.default_rng(seed)
    y, p = 50 + 10 * rng.normal(size=(2, 30))
    unit = rng.choice([8.0, 9.5], 30)
    weights = drawn(rng, 30)
    found = regression_scores(y, p, unit, weights)
    for i, counts in enumerate(weights.astype(int)):
        expected = naive_regression(*(np.repeat(part, counts) for part in (y, p, unit)))
        for name, value in expected.items():
            assert found[name][i] == pytest.approx(value, rel=1e-10, abs=1e-12)


def test_one_mse_is_of_the_target_standardised_by_the_training_part():
    rng = np.random.default_rng(0)
    train, y, p = rng.normal(40, 12, 80), rng.normal(45, 10, 20), rng.normal(45, 5, 20)
    unit = np.full(20, train.std())
    standardised = [(part - train.mean()) / train.std() for part in (y, p)]
    found = regression_scores(y, p, unit, np.ones((1, 20)))
    assert found["standardised mse"][0] == pytest.approx(sklearn.mean_squared_error(*standardised))
    assert found["mse"][0] == pytest.approx(found["standardised mse"][0] * train.std() ** 2)


def test_every_metric_has_the_unit_of_the_target_or_none():
    units = {name: metric_unit(name, "years") for name in regression_scores(*np.ones((4, 1, 3)))}
    assert units == {"mse": "years²", "mae": "years", "standardised mse": "SD²", "r": "", "r2": ""}
    assert metric_unit("mae within site", "years") == "years"
    assert metric_unit("auc", "") == ""


@given(SEEDS)
def test_regression_within_sites_is_that_of_values_less_their_sites_mean(seed):
    rng = np.random.default_rng(seed)
    sites = rng.integers(4, size=40)
    y, p = rng.normal(size=(2, 40)) + 3 * sites
    weights = drawn(rng, 40)
    found = regression_scores(y, p, np.full(40, 2.0), weights, sites)
    for site in np.unique(sites):  # of everybody tested, whatever the draw
        members = sites == site
        y[members] -= y[members].mean()
        p[members] -= p[members].mean()
    for i, counts in enumerate(weights.astype(int)):
        expected = naive_regression(np.repeat(y, counts), np.repeat(p, counts), np.full(40, 2.0))
        spread = (counts * y**2).sum()  # around the sites' means, not around the draw's
        expected["r2"] = 1 - (counts * (y - p) ** 2).sum() / spread
        for name, value in expected.items():
            assert found[name][i] == pytest.approx(value, rel=1e-9, abs=1e-12)


@given(SEEDS, st.integers(2, 4), st.booleans())
def test_classification_is_that_of_repeated_people(seed, classes, ties):
    rng = np.random.default_rng(seed)
    truth = rng.permutation(np.arange(30) % classes)
    scores = rng.dirichlet(np.ones(classes), 30)
    scores += 0.4 * np.eye(classes)[truth]
    scores = scores.round(1) if ties else scores
    scores = scores / scores.sum(1, keepdims=True)
    weights = drawn(rng, 30)
    found = classification_scores(truth, scores, weights)
    for i, counts in enumerate(weights.astype(int)):
        y, p = np.repeat(truth, counts), np.repeat(scores, counts, axis=0)
        if len(np.unique(y)) < classes:
            assert np.isnan(found["auc"][i])
            continue
        chosen = p.argmax(1)
        two = classes == 2
        f1 = sklearn.f1_score(y, chosen, average="binary" if two else "macro")
        area = sklearn.roc_auc_score(y, p[:, 1] - p[:, 0] if two else p, multi_class="ovr")
        assert found["accuracy"][i] == pytest.approx(sklearn.accuracy_score(y, chosen))
        balanced = sklearn.balanced_accuracy_score(y, chosen)
        assert found["balanced accuracy"][i] == pytest.approx(balanced)
        assert found["f1"][i] == pytest.approx(f1)
        assert found["auc"][i] == pytest.approx(area)


@given(SEEDS)
def test_auc_within_sites_counts_pairs_within_sites(seed):
    rng = np.random.default_rng(seed)
    truth, sites = rng.integers(2, size=25), rng.integers(3, size=25)
    score = rng.normal(size=25).round(1)
    weights = drawn(rng, 25)
    found = auc(truth, np.stack([-score, score], 1), weights, sites)
    for i, w in enumerate(weights):
        right = pairs = 0.0
        for a in np.flatnonzero(truth == 1):
            for b in np.flatnonzero((truth == 0) & (sites == sites[a])):
                right += w[a] * w[b] * ((score[a] > score[b]) + 0.5 * (score[a] == score[b]))
                pairs += w[a] * w[b]
        assert found[i] == pytest.approx(right / pairs if pairs else np.nan, nan_ok=True)


@given(SEEDS, st.floats(0.1, 10), st.floats(-100, 100))
def test_r_and_auc_ignore_the_scale_of_predictions(seed, slope, shift):
    rng = np.random.default_rng(seed)
    y, p = rng.normal(size=(2, 20))
    truth, one = np.arange(20) % 2, np.ones((1, 20))
    r = [regression_scores(y, x, one[0], one)["r"][0] for x in (p, slope * p + shift, -p)]
    assert r[1] == pytest.approx(r[0]) and r[2] == pytest.approx(-r[0])
    areas = [auc(truth, np.stack([-x, x], 1), one)[0] for x in (p, np.arcsinh(slope * p), -p)]
    assert areas[1] == pytest.approx(areas[0]) and areas[2] == pytest.approx(1 - areas[0])


def test_what_knows_only_the_site_knows_nothing_within_sites():
    sites = np.repeat([0, 1, 2], 20)
    y = 20.0 * sites + np.random.default_rng(0).normal(size=60)
    one = np.ones((1, 60))
    whole = regression_scores(y, 20.0 * sites, one[0], one)
    within = regression_scores(y, 20.0 * sites, one[0], one, sites)
    assert whole["r"][0] > 0.99 and np.isnan(within["r"][0])
    assert within["r2"][0] == pytest.approx(0)
    truth = (np.arange(60) % 4 < sites + 1).astype(int)
    scores = np.stack([-sites, sites], 1).astype(float)
    assert auc(truth, scores, one)[0] > 0.6
    assert auc(truth, scores, one, sites)[0] == 0.5


def test_what_is_undefined_is_nan_without_a_warning():
    one = np.ones((1, 5))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = regression_scores(np.arange(5.0), np.full(5, 0.1), one[0], one)
        assert np.isnan(found["r"][0]) and np.isfinite(found["r2"][0])
        found = regression_scores(np.full(5, 0.1), np.arange(5.0), one[0], one)
        assert np.isnan(found["r"][0]) and np.isnan(found["r2"][0])
        found = classification_scores(np.zeros(5, int), np.eye(2)[[0, 0, 0, 1, 1]], one)
        assert np.isnan(found["auc"][0]) and found["accuracy"][0] == pytest.approx(0.6)


def test_judged_by():
    assert headline("regression", True) == "r within site"
    assert headline("classification", False) == "auc"
    assert lower_is_better("mse within site") and not lower_is_better("r2")
