"""Fusion against loops, and what it may see."""

from __future__ import annotations

import numpy as np
import pytest
from feature_tasks import folds_of_task, held_out, make_task, one_split
from numpy.testing import assert_allclose
from sklearn.metrics import roc_auc_score

from brainjepa_core.evaluation.methods.feature_methods import FeatureMethod
from brainjepa_core.evaluation.methods.fusion import FusionMethod, inner_splits
from brainjepa_core.evaluation.tasks.protocols import Split
from brainjepa_core.evaluation.tasks.settings import TaskData, TaskSettings


def two_views(classes=True, n=100, seed=0):
    """Two sets of features that each tell half of the target."""
    rng = np.random.default_rng(seed)
    a, b = rng.standard_normal((2, n, 4))
    told = a[:, 0] + b[:, 0]
    target = (told > 0).astype(float) if classes else 50 + 10 * told
    return a, b, make_task(target, ["no", "yes"] if classes else ())


def views(a, b):
    return [FeatureMethod("a", a, "svm"), FeatureMethod("b", b, "svm")]


@pytest.mark.parametrize("classes", [True, False])
def test_inner_folds_cover_the_training_part_once_and_nothing_else(classes):
    _, _, data = two_views(classes)
    split = one_split(len(data))
    parts = inner_splits(data, split, 5)
    assert np.array_equal(np.sort(np.concatenate([p.test for p in parts])), split.train)
    for part in parts:
        assert not set(part.train) & set(part.test)
        assert set(part.train) | set(part.test) == set(split.train)
        assert np.array_equal(part.validation, split.validation)
        if classes:
            share = data.target[part.test].mean() - data.target[split.train].mean()
            assert abs(share) < 0.1


def test_the_average_by_a_loop():
    a, b, data = two_views()
    split = one_split(len(data))
    expected = np.zeros((len(split.test), 2))
    for method in views(a, b):
        scores = []
        for part in inner_splits(data, split, 5):
            scores += list(method.predict(data, part))
        mean, spread = np.mean(scores, axis=0), np.std(scores, axis=0)
        expected += (method.predict(data, split) - mean) / spread / 2
    assert_allclose(FusionMethod("f", views(a, b)).predict(data, split), expected)


@pytest.mark.parametrize("combine", ["average", "stack"])
@pytest.mark.parametrize("classes", [True, False])
def test_two_halves_tell_more_than_one(combine, classes):
    a, b, data = two_views(classes)
    splits = folds_of_task(data, 0, 3)
    methods = [*views(a, b), FusionMethod("f", views(a, b), combine)]
    scores = [held_out(method, data, splits) for method in methods]
    if classes:
        one, other, both = (roc_auc_score(data.target, s) for s in scores)
    else:
        one, other, both = (np.corrcoef(s, data.target)[0, 1] for s in scores)
        assert abs(scores[2].mean() - data.target.mean()) < 2
        error = np.mean((scores[2] - data.target) ** 2)
        assert error < 0.5 * data.target.var()  # in the target's units
    assert both > max(one, other) + 0.05


@pytest.mark.parametrize("combine", ["average", "stack"])
def test_tested_people_are_not_learned_from(combine):
    a, b, data = two_views()
    split = one_split(len(data))
    first = Split("first", 0, split.train, split.validation, split.test[:3])
    expected = FusionMethod("f", views(a, b), combine).predict(data, first)
    labels = data.target.copy()
    labels[split.test] = 1 - labels[split.test]
    a[split.test[3:]] = 1e3
    changed = make_task(labels, data.classes)
    found = FusionMethod("f", views(a, b), combine).predict(changed, first)
    assert_allclose(found, expected)


@pytest.mark.parametrize("combine", ["average", "stack"])
def test_shuffled_labels_score_at_chance(combine):
    aucs = []
    for seed in range(4):
        a, b, data = two_views(seed=seed)
        shuffled = np.random.default_rng(seed).permutation(data.target)
        task = make_task(shuffled, data.classes)
        scores = held_out(FusionMethod("f", views(a, b), combine), task, folds_of_task(task, 0, 3))
        aucs.append(roc_auc_score(shuffled, scores))
    assert 0.35 < np.mean(aucs) < 0.65


def test_one_class_only():
    a, b, data = two_views()
    rows = np.flatnonzero(data.target == 0)
    split = Split("one class", 0, rows[:20], rows[:0], rows[20:])
    with pytest.raises(ValueError, match=r"at least two classes, found 20 no, 0 yes; choose"):
        FusionMethod("f", views(a, b)).predict(data, split)


def test_inner_folds_of_a_rare_class():
    task = TaskSettings(name="rare", column="x", kind="classification")
    target = np.array([0.0] * 9 + [1.0] * 3)
    data = TaskData(
        task, np.arange(12), np.array(["a"] * 12), target, ("no", "yes"), np.zeros((12, 0)),
        ({},) * 12,
    )  # fmt: skip
    everybody = Split("all", 0, np.arange(12), np.arange(0), np.arange(0))
    parts = inner_splits(data, everybody, 5)
    assert len(parts) == 3 and all((target[part.test] == 1).sum() == 1 for part in parts)
    few = Split("few", 0, np.arange(10), np.arange(0), np.arange(0))
    with pytest.raises(ValueError, match=r"two training people or more .*9 n"):
        inner_splits(data, few, 5)
