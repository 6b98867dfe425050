"""Few labels: everybody's scans serve, and only the drawn people's labels."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from brainjepa_core.evaluation.asked.few_labels import SHARE, TIMES, few_labels
from brainjepa_core.evaluation.methods.feature_methods import FeatureMethod
from brainjepa_core.evaluation.methods.readout_methods import ReadOut, ReadOutMethod
from brainjepa_core.evaluation.readout.centring import levels_of
from brainjepa_core.evaluation.readout.kernel_ridge import ridge_predictions
from brainjepa_core.evaluation.tasks.protocols import Split

from ..small_tasks import task_of

N, TESTED = 90, 40
RNG = np.random.default_rng(0)
SITES = np.array([f"s{i % 4}" for i in range(N)])
LEVEL = 3 * RNG.standard_normal((4, 60))[np.arange(N) % 4]
TARGET = RNG.integers(0, 2, N)
X = RNG.standard_normal((N, 60)) + LEVEL
X[:, :3] += TARGET[:, None]
TEST = np.arange(N - TESTED, N)
SPLIT = Split("to others", 0, np.arange(40), np.arange(40, N - TESTED), TEST)


def data_of(kind="classification"):
    target = TARGET if kind == "classification" else X[:, 0] + 0.1 * RNG.standard_normal(N)
    data = task_of(target, classes=("no", "yes") if kind == "classification" else ())
    return replace(data, sites=SITES)


@pytest.mark.parametrize("kind", ["classification", "regression"])
@pytest.mark.parametrize("centred", [False, True])
def test_with_everybody_labelled_it_is_the_method_itself(kind, centred):
    data, method = data_of(kind), ReadOutMethod("x", (ReadOut(X),), centred)
    everybody = np.union1d(SPLIT.train, SPLIT.validation)
    split = Split("all", 0, everybody, everybody[:0], TEST)
    (found,) = method.predict_labelled(data, [split], everybody)
    np.testing.assert_allclose(found, method.predict(data, SPLIT), atol=1e-9)


def test_the_unlabelled_centre_their_hospital_and_teach_nothing_else():
    """Against ridge on features that were centred by hand."""
    data, drawn = data_of("regression"), np.arange(24)  # six of each hospital
    everybody = np.union1d(SPLIT.train, SPLIT.validation)
    method = ReadOutMethod("x", (ReadOut(X),), centred=True)
    split = Split("few", 0, drawn, drawn[:0], TEST)
    (found,) = method.predict_labelled(data, [split], everybody)
    own, base = X.copy(), np.zeros(N)
    for site in set(SITES):
        own[site == SITES] -= X[everybody[SITES[everybody] == site]].mean(0)
        base[site == SITES] = data.target[drawn[SITES[drawn] == site]].mean()
    scale = (own[everybody] ** 2).sum(1).mean()
    own = own[np.concatenate([drawn, TEST])]
    own -= own[:24].mean(0)
    told = (data.target - base)[drawn][:, None]
    beside = levels_of(SITES[drawn], np.zeros((24, 0)))
    kernel = own @ own.T / scale
    expected = ridge_predictions(kernel, told, np.arange(24), beside)[24:, 0] + base[TEST]
    np.testing.assert_allclose(found, expected, atol=1e-8)


def test_labels_that_were_not_drawn_change_nothing():
    data = data_of()
    everybody = np.union1d(SPLIT.train, SPLIT.validation)
    split = Split("few", 0, np.arange(20), everybody[:0], TEST)
    method = ReadOutMethod("x", (ReadOut(X),), centred=True)
    before = method.predict_labelled(data, [split], everybody)[0]
    others = data.target.copy()
    others[20:] = 1 - others[20:]
    np.testing.assert_array_equal(
        before, method.predict_labelled(replace(data, target=others), [split], everybody)[0]
    )


def test_curves_over_the_numbers_that_people_suffice_for():
    data = data_of()
    plain = FeatureMethod("plain", RNG.standard_normal((N, 60)), "svm")
    asked = few_labels(data, SPLIT, [plain, ReadOutMethod("x", (ReadOut(X),), True)], "plain")
    assert asked is not None and asked.conditions == ("25 labels",)  # 50 train
    rows = {(row.model, row.metric): row for row in asked.rows}
    row = rows["x", "auc, 25 labels"]
    assert row.n == TESTED and row.low < row.mean < row.high and row.sd > 0
    share = rows["x", f"{SHARE} plain, 25 labels"].mean
    assert 0.6 <= share <= 1 and (share * TIMES * 2) % 1 == pytest.approx(0, abs=1e-9)
    (one,) = asked.comparisons
    assert one.metric == "auc, 25 labels" and one.against == "plain"
    assert one.difference == pytest.approx(row.mean - rows["plain", "auc, 25 labels"].mean)


def test_too_few_people_are_asked_nothing():
    small = Split("to others", 0, np.arange(20), np.arange(20, 26), TEST)
    method = ReadOutMethod("x", (ReadOut(X),), True)
    assert few_labels(data_of(), small, [method], "x") is None
