"""Methods on features: against scikit-learn by hand, what they see, and what chance is."""

from __future__ import annotations

import numpy as np
import pytest
from feature_tasks import NOBODY, folds_of_task, held_out, make_task, one_split
from numpy.testing import assert_allclose
from sklearn.linear_model import Ridge
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GridSearchCV, KFold, StratifiedKFold
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC, SVR

from brainjepa_core.evaluation.methods.feature_methods import FeatureMethod, class_scores
from brainjepa_core.evaluation.tasks.protocols import Split

ESTIMATORS = ["linear", "svm"]


def made_up(n=80, features=10, seed=0, classes=0, **more):
    """People whose first three features tell their target, or their class."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, features))
    told = x[:, :3].sum(1) + 0.5 * rng.standard_normal(n)
    if not classes:
        return x, make_task(50 + 10 * told, **more)
    ranks = np.argsort(np.argsort(told))
    return x, make_task(ranks * classes // n, [f"class {k}" for k in range(classes)], **more)


def strengths(features):
    """C of each penalty, times what standardised features add up to."""
    return {"C": 1 / (features * 10.0 ** np.arange(2, -4, -1))}


@pytest.mark.parametrize("features", [10, 300])
def test_svm_equals_scikit_learns_on_standardised_features(features):
    """C too; also where features outnumber people, whose span the machine is fitted in."""
    x, data = made_up(features=features, classes=2)
    split = one_split(len(data))
    rows = np.union1d(split.train, split.validation)
    scaler = StandardScaler().fit(x[rows])
    train, test = scaler.transform(x[rows]), scaler.transform(x[split.test])
    machine = SVC(kernel="linear", class_weight="balanced", tol=1e-6)
    folds = StratifiedKFold(5, shuffle=True, random_state=0)
    chosen = GridSearchCV(machine, strengths(features), scoring="balanced_accuracy", cv=folds)
    expected = chosen.fit(train, data.target[rows]).decision_function(test)
    found = FeatureMethod("svm", x, "svm").predict(data, split)
    assert found.shape == (len(split.test), 2)
    assert_allclose(found[:, 1], expected, atol=0.02)  # the solver stops at a tolerance of 1e-3
    assert_allclose(found[:, 0], -found[:, 1])


@pytest.mark.parametrize("features", [10, 300])
def test_ridge_and_svr_equal_scikit_learns(features):
    x, data = made_up(features=features)
    split = one_split(len(data))
    rows = np.union1d(split.train, split.validation)
    scaler = StandardScaler().fit(x[rows])
    train, test = scaler.transform(x[rows]), scaler.transform(x[split.test])
    found = FeatureMethod("ridge", x).predict(data, split)
    candidates = [
        Ridge(alpha=features * penalty).fit(train, data.target[rows]).predict(test)
        for penalty in 10.0 ** np.arange(-3, 3)
    ]
    assert min(np.abs(found - one).max() for one in candidates) < 1e-6
    y = data.target[rows]
    folds = KFold(5, shuffle=True, random_state=0)
    scoring = "neg_mean_squared_error"
    chosen = GridSearchCV(
        SVR(kernel="linear", tol=1e-6), strengths(features), scoring=scoring, cv=folds
    )
    expected = chosen.fit(train, (y - y.mean()) / y.std()).predict(test) * y.std() + y.mean()
    assert_allclose(FeatureMethod("svr", x, "svm").predict(data, split), expected, atol=0.3)


@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize("features", [10, 200])
def test_what_is_there_is_found(estimator, features):
    x, data = made_up(160, features, classes=2)
    x[:, :3] *= 3  # standardised away
    folds = folds_of_task(data, 0, folds=3)
    scores = held_out(FeatureMethod("m", x, estimator), data, folds)
    assert roc_auc_score(data.target, scores) > (0.9 if features == 10 else 0.6)
    x, data = made_up(160, features)
    values = held_out(FeatureMethod("m", x, estimator), data, folds)
    assert np.corrcoef(values, data.target)[0, 1] > (0.9 if features == 10 else 0.3)
    assert abs(values.mean() - data.target.mean()) < 3  # in the target's units


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_three_classes(estimator):
    x, data = made_up(120, classes=3)
    split = one_split(len(data))
    scores = FeatureMethod("m", x, estimator).predict(data, split)
    assert scores.shape == (len(split.test), 3)
    assert (scores.argmax(1) == data.target[split.test]).mean() > 0.6
    if estimator == "linear":
        assert_allclose(scores.sum(1), 1)


@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize("classes", [0, 2])
@pytest.mark.parametrize("features", [6, 200])
def test_only_training_rows_are_learned_from(estimator, classes, features):
    """Other people's features and labels may be anything: nobody's score moves."""
    rng = np.random.default_rng(1)
    covariates = rng.standard_normal((80, 2))
    x, data = made_up(features=features, classes=classes, covariates=covariates)
    split = one_split(len(data))
    first = Split("first", 0, split.train, split.validation, split.test[:5])
    asked = []

    def features_of(values):
        def give(task, rows):
            asked.append(rows)
            return values

        return give

    others = split.test[5:]
    wild, foreign = x.copy(), data.target.copy()
    wild[others] = 1e3 * rng.standard_normal(wild[others].shape)
    foreign[split.test] = 0
    changed = make_task(foreign, data.classes, covariates=covariates)
    expected = FeatureMethod("m", features_of(x), estimator).predict(data, first)
    found = FeatureMethod("m", features_of(wild), estimator).predict(changed, first)
    assert_allclose(found, expected, rtol=1e-10)
    for rows in asked:
        assert np.array_equal(rows, np.union1d(split.train, split.validation))


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_shuffled_labels_score_at_chance(estimator):
    aucs = []
    for seed in range(4):
        x, data = made_up(60, 80, seed, classes=2)
        shuffled = np.random.default_rng(seed).permutation(data.target)
        task = make_task(shuffled, data.classes)
        scores = held_out(FeatureMethod("m", x, estimator), task, folds_of_task(task, seed))
        aucs.append(roc_auc_score(shuffled, scores))
    assert 0.35 < np.mean(aucs) < 0.65


def test_missing_features_count_as_the_training_mean():
    x, data = made_up(classes=2)
    split = one_split(len(data))
    rows = np.union1d(split.train, split.validation)
    gaps, filled = x.copy(), x.copy()
    gaps[split.test[0], 2] = np.nan
    filled[split.test[0], 2] = x[rows, 2].mean()
    gaps[:, 9], filled[:, 9] = np.nan, 0  # nobody has it
    found, expected = (FeatureMethod("m", v, "svm").predict(data, split) for v in (gaps, filled))
    assert_allclose(found, expected)


def test_covariates_are_taken_out():
    """The target is the covariate's alone, and features tell of it; nothing is left to find."""
    rng = np.random.default_rng(0)
    age = rng.standard_normal((120, 1))
    x = age + 0.1 * rng.standard_normal((120, 5))
    data = make_task((age[:, 0] + rng.standard_normal(120) > 0).astype(int), ["no", "yes"])
    adjusted = make_task(data.target, data.classes, covariates=age)
    splits = folds_of_task(data, 0)
    method = FeatureMethod("m", x)
    assert roc_auc_score(data.target, held_out(method, data, splits)) > 0.7
    assert 0.35 < roc_auc_score(data.target, held_out(method, adjusted, splits)) < 0.6
    # A regression predicts in the target's units: covariates' part and what is left.
    target = 100 + 5 * age[:, 0]
    values = held_out(FeatureMethod("m", x), make_task(target, covariates=age), splits)
    assert_allclose(values, target, atol=1e-6)


def test_a_class_that_training_lacks_gets_the_lowest_score():
    x, data = made_up(90, classes=3)
    rows = np.flatnonzero(data.target != 1)
    split = Split("few", 0, rows[:40], NOBODY, np.flatnonzero(data.target == 1)[:4])
    probabilities = FeatureMethod("m", x).predict(data, split)
    assert np.array_equal(probabilities[:, 1], np.zeros(4))
    decisions = FeatureMethod("m", x, "svm").predict(data, split)
    assert np.array_equal(decisions[:, 1], decisions[:, [0, 2]].min(1))


def test_scores_of_a_fitted_classifier():
    x = np.array([[-1.0], [1.0]])
    svm = SVC(kernel="linear").fit(x, [0, 2])
    assert_allclose(class_scores(svm, x, 3), [[1, -1, -1], [-1, -1, 1]])


def test_error_texts():
    x, data = made_up(classes=2)
    rows = np.flatnonzero(data.target == 1)
    split = Split("one class", 0, rows[:20], NOBODY, rows[20:25])
    with pytest.raises(ValueError, match=r"task 'made_up': expected training people of at least "):
        FeatureMethod("m", x).predict(data, split)
    with pytest.raises(ValueError, match=r"two classes, found 0 class 0, 20 class 1; choose"):
        FeatureMethod("m", x, "svm").predict(data, split)
    with pytest.raises(ValueError, match=r"features of 80 people, found shape \[79, 10\]; give"):
        FeatureMethod("m", lambda task, rows: x[1:]).predict(data, one_split(80))
