"""Differences, their intervals and p values against DeLong, a naive t-test and uniformity."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_predictions import holdouts, predictions, sites_in_turn, task_data
from scipy.stats import kstest, norm, ttest_rel
from scipy.stats import t as student

from brainjepa_core.evaluation.scores.resampling import score_models
from brainjepa_core.evaluation.scores.results import Predictions
from brainjepa_core.evaluation.scores.statistics import (
    bootstrap_p,
    compare,
    corrected_resampled_p,
    corrected_share,
    evaluate_predictions,
    holm,
)

TWO = ("control", "autism")


def delong(truth: np.ndarray, first: np.ndarray, second: np.ndarray) -> tuple[float, float, float]:
    """Difference of two AUCs, its standard error and p (DeLong et al. 1988)."""
    areas, by_case, by_control = [], [], []
    for score in (first, second):
        case, control = score[truth == 1], score[truth == 0]
        order = (case[:, None] > control) + 0.5 * (case[:, None] == control)
        areas.append(order.mean())
        by_case.append(order.mean(1))
        by_control.append(order.mean(0))
    difference = areas[0] - areas[1]
    variance = np.var(by_case[0] - by_case[1], ddof=1) / (truth == 1).sum()
    variance += np.var(by_control[0] - by_control[1], ddof=1) / (truth == 0).sum()
    return difference, np.sqrt(variance), 2 * norm.sf(abs(difference) / np.sqrt(variance))


@pytest.mark.parametrize("knows", [1.0, 1.5, 2.0])
def test_the_paired_bootstrap_of_auc_agrees_with_delong(knows):
    data = task_data(TWO, people=240)
    splits = sites_in_turn(data)
    told = [predictions("FC", data, splits), predictions("probe", data, splits, knows, seed=2)]
    scores = score_models(data, told)
    found = next(
        c for c in compare(scores, {"probe": "FC"}, data.task, "sites") if c.metric == "auc"
    )
    rows = np.concatenate([split.test for split in splits])
    margins = [np.concatenate(each.values) @ [-1, 1] for each in told]
    difference, error, p = delong(data.target[rows], margins[1], margins[0])
    assert found.difference == pytest.approx(difference)
    draws = scores["probe"]["auc"].draws - scores["FC"]["auc"].draws
    assert draws.std() == pytest.approx(error, rel=0.06)
    assert (found.low, found.high) == pytest.approx(
        (difference - 1.96 * error, difference + 1.96 * error), abs=0.2 * error
    )
    assert found.p == pytest.approx(p, abs=0.03)


def test_evaluation_compares_all_with_the_reference():
    data = task_data(TWO, people=120)
    splits = holdouts(data)
    told = [
        predictions(name, data, splits, knows, seed)
        for seed, (name, knows) in enumerate({"FC": 1.0, "good": 3.0, "bad": -1.0}.items())
    ]
    found = evaluate_predictions(data, told, "holdout", "FC", draws=500)
    scores = score_models(data, told, draws=1)
    assert len(found.rows) == 3 * 6 and {row.protocol for row in found.rows} == {"holdout"}
    area = {c.model: c for c in found.comparisons if c.metric == "auc"}
    assert set(area) == {"good", "bad"}
    means = {row.model: row.mean for row in found.rows if row.metric == "auc"}
    for model, comparison in area.items():
        assert comparison.difference == pytest.approx(means[model] - means["FC"])
        assert comparison.low <= comparison.difference <= comparison.high
        assert comparison.p <= comparison.p_holm < 0.05
        by_seed = scores[model]["auc"].repetitions - scores["FC"]["auc"].repetitions
        assert comparison.p_repeated == corrected_resampled_p(by_seed, 24 / 96)
    assert area["good"].difference > 0 > area["bad"].difference
    assert found == evaluate_predictions(data, told, "holdout", "FC", draws=500)
    assert evaluate_predictions(data, told[:1], "holdout", draws=50).comparisons == ()


def test_an_unknown_reference_is_told():
    data = task_data(TWO)
    told = [predictions("probe", data, sites_in_turn(data))]
    with pytest.raises(ValueError, match=r"task diagnosis: .* found 'FC'; choose one"):
        evaluate_predictions(data, told, "sites", "FC", draws=10)


def test_equal_models_do_not_differ():
    data = task_data()
    splits = sites_in_turn(data)
    told = [predictions(name, data, splits, seed=1) for name in ("FC", "probe")]
    found = compare(score_models(data, told, draws=100), {"probe": "FC"}, data.task, "sites")
    assert {(c.difference, c.low, c.high, c.p, c.p_holm) for c in found} == {(0, 0, 0, 1, 1)}


def test_holm_of_a_known_example():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.02, np.nan, 0.5]) == pytest.approx([0.04, np.nan, 0.5], nan_ok=True)
    assert holm([]).shape == (0,)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_keeps_the_order_and_is_no_harsher_than_bonferroni(p):
    corrected = holm(p)
    order = np.argsort(p, kind="stable")
    assert (np.diff(corrected[order]) >= 0).all()
    assert (corrected >= p).all()
    assert (corrected <= np.minimum(1, np.array(p) * len(p)) + 1e-15).all()


def test_p_of_draws():
    assert bootstrap_p(np.full(99, 2.0)) == pytest.approx(0.02)
    assert bootstrap_p(np.zeros(99)) == 1
    assert np.isnan(bootstrap_p(np.array([np.nan])))
    assert bootstrap_p(np.r_[np.full(10, -1.0), np.full(89, 1.0)]) == pytest.approx(0.22)


def test_the_corrected_t_test_is_that_of_nadeau_and_bengio():
    differences = np.array([0.03, 0.05, 0.01, 0.04, 0.02])
    # Without overlap it is the paired t-test; with 1/4, variances grow from 1/5 to 1/5 + 1/4, and
    # the statistic shrinks by the root of their ratio, 2/3.
    plain = ttest_rel(differences, np.zeros(5))
    assert corrected_resampled_p(differences, 0.0) == pytest.approx(plain.pvalue)
    expected = 2 * student.sf(plain.statistic * 2 / 3, 4)
    assert corrected_resampled_p(differences, 0.25) == pytest.approx(expected)
    assert np.isnan(corrected_resampled_p(differences[:1], 0.25))
    assert np.isnan(corrected_resampled_p(np.zeros(3), 0.25))


def test_the_corrected_t_test_is_for_repeated_holdouts_only():
    data = task_data(people=100)
    assert corrected_share(predictions("a", data, holdouts(data))) == pytest.approx(20 / 80)
    assert corrected_share(predictions("a", data, holdouts(data, 1))) is None
    twice = sites_in_turn(data, 0) + sites_in_turn(data, 1)
    assert corrected_share(predictions("a", data, twice)) is None


@pytest.mark.slow
@pytest.mark.parametrize(
    ("classes", "metrics"), [((), ("r", "r2", "mse", "mae")), (TWO, ("auc", "f1"))]
)
def test_p_is_uniform_where_models_do_not_differ(classes, metrics):
    p: dict[str, list[float]] = {}
    for seed in range(1000):
        data = task_data(classes, people=120, seed=seed)
        splits = sites_in_turn(data)
        told: list[Predictions] = [
            predictions(str(k), data, splits, seed=10_000 + 2 * seed + k) for k in (0, 1)
        ]
        scores = score_models(data, told, draws=500, seed=seed)
        for c in compare(scores, {"1": "0"}, data.task, "sites"):
            p.setdefault(c.metric, []).append(c.p)
    for metric in metrics:
        assert kstest(p[metric], "uniform").pvalue > 0.01
        assert 0.03 < (np.array(p[metric]) < 0.05).mean() < 0.07
