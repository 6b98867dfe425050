from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from sklearn.linear_model import LinearRegression
from sklearn.utils.class_weight import compute_class_weight
from small_tasks import task_of

from brainjepa_core.evaluation.learning.learned_target import LearnedTarget, what_is_left


def test_class_weights_are_those_of_sklearn():
    y = np.array([0, 0, 0, 1, 2, 2, 1, 1, 1, 1.0])
    train = np.array([0, 1, 2, 3, 4, 5])
    target = LearnedTarget.of(task_of(y, classes=("a", "b", "c")), train)
    expected = compute_class_weight("balanced", classes=np.arange(3), y=y[train])
    assert_allclose(target.weights, expected)
    output, encoded = torch.randn(6, 3), target.encode(y[train])
    loss = 0.0
    for row, label in zip(output.softmax(1).log(), y[train].astype(int), strict=True):
        loss -= expected[label] * row[label].item() / 6
    assert target.loss(output, encoded).item() == pytest.approx(loss, abs=1e-6)


def test_without_balance_people_weigh_the_same():
    data = task_of([0, 0, 0, 1], classes=("a", "b"))
    assert LearnedTarget.of(data, np.arange(4), balance=False).weights == (1.0, 1.0)


def test_a_class_that_training_lacks_weighs_nothing():
    data = task_of([0, 0, 1, 2], classes=("a", "b", "c"))
    assert LearnedTarget.of(data, np.arange(3)).weights == (0.75, 1.5, 0.0)


def test_values_are_standardised_by_training_people_only():
    y = np.array([1.0, 3.0, 5.0, 100.0])
    target = LearnedTarget.of(task_of(y), np.arange(3))
    assert target.mean == 3.0 and target.sd == pytest.approx(np.std(y[:3]))
    assert_allclose(target.decode(target.encode(y)[:, None]), y, rtol=1e-6)
    zero = target.loss(target.encode(y)[:, None], target.encode(y))
    assert zero == 0


def test_covariates_are_taken_out_of_values_by_training_people_only():
    rng = np.random.default_rng(0)
    c = rng.standard_normal((30, 2))
    y = c @ [2.0, -1.0] + rng.standard_normal(30) + 7
    train = np.arange(20)
    left = what_is_left(task_of(y, covariates=c), train)
    fitted = LinearRegression().fit(c[train], y[train])
    assert_allclose(left, y - fitted.predict(c), atol=1e-12)
    target = LearnedTarget.of(task_of(y, covariates=c), train)
    assert target.sd == pytest.approx(left[train].std())
    classes = task_of(y > 7, classes=("low", "high"), covariates=c)
    assert np.array_equal(what_is_left(classes, train), y > 7)


def test_probabilities_sum_to_one():
    target = LearnedTarget(("a", "b", "c"), (1.0, 1.0, 1.0))
    found = target.decode(torch.randn(5, 3))
    assert found.shape == (5, 3) and found.dtype == np.float64
    assert_allclose(found.sum(1), 1)


def test_one_class_is_refused():
    data = task_of([1, 1, 1, 0], classes=("no", "yes"))
    with pytest.raises(ValueError, match="'made-up': expected training people of at least two"):
        LearnedTarget.of(data, np.arange(3))


def test_a_constant_is_refused():
    message = r"task 'made-up': .* varies in training, found 1 value\(s\) of 3 people"
    with pytest.raises(ValueError, match=message):
        LearnedTarget.of(task_of([2, 2, 2, 5]), np.arange(3))
    with pytest.raises(ValueError, match="0 value"):
        LearnedTarget.of(task_of([2, 2, 2, 5]), np.arange(0))
    c = np.arange(5.0)[:, None]
    with pytest.raises(ValueError, match="nothing that covariates leave"):
        LearnedTarget.of(task_of(3 * c[:, 0] + 1, covariates=c), np.arange(5))
