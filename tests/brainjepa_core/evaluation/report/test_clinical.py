"""Rates at a threshold and calibration, against scikit-learn's and SciPy's."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from made_predictions import holdouts, predictions, sites_in_turn, task_data
from scipy import stats
from sklearn.calibration import calibration_curve
from sklearn.metrics import brier_score_loss, precision_score, recall_score

from brainjepa_core.evaluation.report.clinical import (
    calibration_figure,
    clinical_table,
    reliability,
    wilson,
)
from brainjepa_core.evaluation.report.prediction_figures import truth_figure

TWO = ("control", "autism")


def as_chances(told):
    """The same predictions as probabilities."""
    values = [np.exp(v) / np.exp(v).sum(1, keepdims=True) for v in told.values]
    return replace(told, values=values)


def test_rates_are_scikit_learns():
    data = task_data(TWO)
    told = as_chances(predictions("probe", data, sites_in_turn(data)))
    truth = np.concatenate([data.target[split.test] for split in told.splits])
    chance = np.concatenate(told.values)[:, 1]
    said = chance > 0.5
    (row,) = clinical_table(data, [told]).rows
    expected = [
        recall_score(truth, said), recall_score(truth, said, pos_label=0),
        precision_score(truth, said), precision_score(truth, said, pos_label=0),
    ]  # fmt: skip
    assert [cell.text for cell in row.cells[1:5]] == [f"{value:.2f}" for value in expected]
    assert row.cells[5] == f"{brier_score_loss(truth, chance):.3f}"


@pytest.mark.parametrize(("hits", "people"), [(0, 10), (7, 10), (26, 26), (40, 99)])
def test_intervals_are_wilsons(hits, people):
    low, high = stats.binomtest(hits, people).proportion_ci(method="wilson")
    assert wilson(hits / people, people) == pytest.approx((low, high))


def test_people_tested_again_do_not_narrow_the_interval():
    data = task_data(TWO)
    once = predictions("m", data, sites_in_turn(data))
    splits = [*once.splits, *once.splits]
    twice = replace(once, splits=splits, values=[*once.values, *once.values])
    first, second = clinical_table(data, [once, twice]).rows
    assert first.cells[1:] == second.cells[1:]


def test_scores_that_are_no_probabilities_have_no_calibration():
    data = task_data(TWO)
    margins = predictions("svm", data, holdouts(data))
    assert calibration_figure(data, [margins]) is None
    (row,) = clinical_table(data, [margins]).rows
    assert row.cells[5] == "–"
    figure = calibration_figure(data, [margins, as_chances(margins)])
    assert len(figure.axes[0].lines) == 2  # the diagonal, and the one with probabilities


def test_reliability_is_scikit_learns():
    rng = np.random.default_rng(0)
    chance = rng.random(100)
    truth = (rng.random(100) < chance).astype(float)
    found, told = calibration_curve(truth, chance, n_bins=5, strategy="quantile")
    assert np.allclose(reliability(chance, truth), (told, found))


def test_other_tasks_have_none():
    for classes in ((), ("a", "b", "c")):
        data = task_data(classes)
        told = [predictions("m", data, sites_in_turn(data))]
        assert clinical_table(data, told) is None and calibration_figure(data, told) is None


def test_a_model_has_one_colour_in_all_pictures():
    data = task_data(TWO)
    margins = [predictions(name, data, holdouts(data)) for name in ("svm", "probe")]
    drawn = [margins[0], as_chances(margins[1])]
    (probe,) = calibration_figure(data, drawn).axes[0].lines[1:]
    curves = truth_figure(data, drawn).axes[0].lines
    (same,) = (curve for curve in curves if str(curve.get_label()).startswith("probe"))
    assert probe.get_color() == same.get_color()
