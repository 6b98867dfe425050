from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from small_tasks import split_of, task_of

from brainjepa_core.evaluation.learning.probe import (
    ADAMW,
    LinearProbe,
    ProbeMethod,
    adjusted_features,
)

FAST = ADAMW.model_copy(update={"steps": 60})


def readable(n: int = 160, seed: int = 0):
    """Features of very different scales, and classes that are linear in them but for noise."""
    rng = np.random.default_rng(seed)
    z = rng.standard_normal((n, 8))
    y = z[:, :4].sum(1) + 0.8 * rng.standard_normal(n) > 0
    return z * 10.0 ** rng.uniform(-3, 3, 8) + 5, y.astype(np.float64)


def test_standardised_over_the_batch_then_weighed():
    torch.manual_seed(0)
    probe, x = LinearProbe(4, 3), torch.randn(50, 4) * 7 + 2
    z = (x - x.mean(0)) / x.var(0, unbiased=False).add(1e-6).sqrt()
    expected = z @ probe.head.weight.T + probe.head.bias
    assert_allclose(probe(x).detach(), expected.detach(), atol=1e-5)
    assert [name for name, _ in probe.named_parameters()] == ["head.weight", "head.bias"]
    probe.eval()
    x = torch.randn(5, 4)
    assert torch.equal(probe(x)[:1], probe(x[:1]))  # nobody depends on the others


def test_the_auc_of_sklearns_logistic_regression():
    found, expected = [], []
    for seed in range(2):
        x, y = readable(seed=seed)
        split = split_of(160, seed)
        settings = ADAMW.model_copy(update={"steps": 200})
        data = task_of(y, classes=("no", "yes"))
        scores = ProbeMethod("probe", x, settings).predict(data, split)
        model = make_pipeline(StandardScaler(), LogisticRegression())
        model.fit(x[split.train], y[split.train])
        found.append(roc_auc_score(y[split.test], scores[:, 1]))
        expected.append(roc_auc_score(y[split.test], model.predict_proba(x[split.test])[:, 1]))
    assert np.mean(expected) > 0.85
    assert np.mean(found) == pytest.approx(np.mean(expected), abs=0.03)


def test_people_are_looked_up_by_their_number():
    x, y = readable()
    people = np.random.default_rng(1).permutation(160)[:80]
    data, split = task_of(y[people], classes=("no", "yes"), people=people), split_of(80)
    found = ProbeMethod("probe", x, FAST).predict(data, split)
    again = ProbeMethod("probe", x[people], FAST).predict(
        task_of(y[people], classes=("no", "yes")), split
    )
    assert np.array_equal(found, again)
    assert found.shape == (16, 2)
    called = ProbeMethod("probe", lambda data, training: x[data.people], FAST)
    assert np.array_equal(called.predict(data, split), found)


def test_the_test_parts_labels_and_shuffled_ones_tell_nothing():
    x, y = readable(400)
    split = split_of(400)
    hidden = y.copy()
    hidden[split.test] = 1 - y[split.test]
    method = ProbeMethod("probe", x, FAST)
    found = method.predict(task_of(y, classes=("no", "yes")), split)
    assert np.array_equal(method.predict(task_of(hidden, classes=("no", "yes")), split), found)
    shuffled = np.random.default_rng(0).permutation(y)
    scores = method.predict(task_of(shuffled, classes=("no", "yes")), split)
    assert abs(roc_auc_score(shuffled[split.test], scores[:, 1]) - 0.5) < 0.15


def test_what_is_learned_of_features_is_learned_of_training_people():
    rng = np.random.default_rng(0)
    c = rng.standard_normal((40, 2))
    x = c @ rng.standard_normal((2, 3)) + 0.1 * rng.standard_normal((40, 3))
    x[3, 1] = np.nan
    train = np.arange(25)
    found = adjusted_features(task_of(rng.standard_normal(40), covariates=c), train, x)
    complete = x.copy()
    complete[3, 1] = np.nanmean(x[train, 1])
    expected = complete - LinearRegression().fit(c[train], complete[train]).predict(c)
    assert_allclose(found, expected, atol=1e-12)
    plain = adjusted_features(task_of(rng.standard_normal(40)), train, x)
    assert_allclose(plain, complete)


def test_features_of_other_people_are_refused():
    data = task_of(np.arange(10.0))
    with pytest.raises(ValueError, match=r"'made-up': expected features of 10 people, found shape"):
        adjusted_features(data, np.arange(5), lambda *_: np.zeros((9, 2)))


def test_values_are_predicted_in_their_unit():
    x, _ = readable(200)
    y = 40 + 12 * StandardScaler().fit_transform(x)[:, 0]
    split = split_of(200)
    found = ProbeMethod("probe", x, ADAMW).predict(task_of(y), split)
    assert found.shape == (40,) and found.dtype == np.float64
    assert np.abs(found - y[split.test]).mean() < 3
