"""Nothing of tested people reaches what is learned: people, labels, preprocessing, scales."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from sklearn.feature_selection import SelectKBest
from sklearn.metrics import roc_auc_score

from brainjepa_core.atlas import Atlas
from brainjepa_core.evaluation.features.connectivity import ConnectivityFeatures
from brainjepa_core.evaluation.methods import feature_methods
from brainjepa_core.evaluation.methods.baselines import Average
from brainjepa_core.evaluation.methods.feature_methods import FeatureMethod
from brainjepa_core.evaluation.methods.method import Method
from brainjepa_core.evaluation.tasks.protocols import ProtocolSettings, Split, splits_of
from brainjepa_core.evaluation.tasks.settings import TaskData, TaskSettings, load_task
from brainjepa_core.evaluation.tasks.task_data import task_data
from brainjepa_core.signals import aligned_scans
from brainjepa_core.signals.scaling import pooled_scale
from brainjepa_core.signals.storing.store import ScanStore
from brainjepa_core.signals.window_settings import WindowSettings
from brainjepa_core.signals.windows import Windows
from brainjepa_simulations.cohort.cohort import CohortSettings
from brainjepa_simulations.cohort.stores import write_cohort

COHORT = CohortSettings(
    sites=3, subjects_per_site=24, rois=30, networks=5, frames=100, signal_share=0.4,
    trait_effect=0.5, site_strength=0.3, second_sessions=0.3, missing_rois=1,
)  # fmt: skip
PROTOCOLS = {
    "holdout": {},
    "kfold": {},
    "leave_one_site_out": {},
    "transfer": {"train_sites": ("site-01",)},
    "personalised": {},
}


@pytest.fixture(scope="module")
def stores(tmp_path_factory) -> list[ScanStore]:
    folder = tmp_path_factory.mktemp("cohort")
    return [ScanStore.open(path) for path in write_cohort(COHORT, folder)]


@pytest.fixture(scope="module")
def connectivity(stores) -> np.ndarray:
    """Features [people, P]; those of a pair that a site lacks are NaN."""
    windows = Windows(stores)
    everybody = task_data(load_task("age"), windows)
    assert len(everybody) == windows.subjects
    return ConnectivityFeatures(windows).of("correlation")(everybody, np.arange(0))


@pytest.fixture(scope="module")
def data(stores) -> TaskData:
    return task_data(load_task("sex"), Windows(stores))


@pytest.fixture(scope="module")
def twins(tmp_path_factory) -> Windows:
    """The same twelve names at three sites, each with two sessions of two runs."""
    rng, folder = np.random.default_rng(0), tmp_path_factory.mktemp("twins")
    stores = []
    for site in ("site-01", "site-02", "site-03"):
        stores.append(ScanStore.create(folder / site, Atlas.from_names(["a", "b"])))
        for scan in rng.permutation(48):
            person, session, run = f"s{scan % 12}", str(scan // 12 % 2), str(scan // 24)
            facts = {"sex": "FM"[scan % 2]}
            stores[-1].append(
                rng.standard_normal((2, 9)),
                subject=person, session=session, run=run, tr=2.0, phenotypes=facts,
            )  # fmt: skip
    return Windows(stores)


@pytest.mark.parametrize("kind", PROTOCOLS)
def test_all_scans_of_a_person_are_in_one_part(twins, kind):
    """The same name at two sites is two people: sites do not share ids."""
    data = task_data(load_task("sex"), twins)
    assert len(data) == 36
    for split in splits_of(ProtocolSettings(kind=kind, seeds=2, **PROTOCOLS[kind]), data):
        parts = [
            {
                (data.sites[row], record.subject)
                for row in rows
                for record in twins.people[data.people[row]].records
            }
            for rows in (split.train, split.validation, split.test)
        ]
        assert [len(part) for part in parts] == [
            len(rows) for rows in (split.train, split.validation, split.test)
        ]
        assert len(set.union(*parts)) == sum(map(len, parts))


def mean_auc(method: Method, data: TaskData) -> float:
    """Mean over folds; pooled over folds, chance lies below a half."""
    scores = []
    for split in splits_of(ProtocolSettings(kind="kfold", seeds=1, folds=4), data):
        predicted = method.predict(data, split)[:, 1]
        scores.append(roc_auc_score(data.target[split.test], predicted))
    return float(np.mean(scores))


def selected_on_everybody(features: np.ndarray, data: TaskData) -> FeatureMethod:
    """A classical leak: the twenty features that differ most, tested people included."""
    known = np.nan_to_num(features)
    best = SelectKBest(k=20).fit(known[data.people], data.target).get_support()
    return FeatureMethod("leak", known[:, best], "svm")


def test_shuffled_labels_score_at_chance_and_a_leak_would_show(connectivity, data):
    method = FeatureMethod("FC", connectivity, "svm")
    rng = np.random.default_rng(0)
    shuffled = [replace(data, target=rng.permutation(data.target)) for _ in range(25)]
    chance = np.array([mean_auc(method, other) for other in shuffled])
    error = chance.std() / np.sqrt(len(chance))
    assert abs(chance.mean() - 0.5) < 3 * error
    assert mean_auc(method, data) > chance.max()
    leaking = [mean_auc(selected_on_everybody(connectivity, o), o) for o in shuffled]
    assert np.mean(leaking) - 0.5 > 3 * error


def spied(monkeypatch, step: str) -> list[set[int]]:
    """What a step of the pipeline is fitted on: the last column, which says whose row it is."""
    seen: list[set[int]] = []
    original = getattr(feature_methods, step)

    class Spy(original):
        def fit(self, X: Any, y: Any = None) -> Any:
            seen.append({int(number) for number in X[:, -1]})
            return super().fit(X, y)

    monkeypatch.setattr(feature_methods, step, Spy)
    return seen


@pytest.mark.parametrize(
    ("step", "fields"),
    [
        ("SimpleImputer", {}),
        ("StandardScaler", {}),
        ("Adjustment", {"covariates": ("age", "site")}),
    ],
)
@pytest.mark.parametrize("kind", PROTOCOLS)
def test_preprocessing_that_learns_sees_the_training_part_only(
    monkeypatch, stores, connectivity, kind, step, fields
):
    task = load_task("sex").model_copy(update=fields)
    data = task_data(task, Windows(stores))
    numbered = np.column_stack([connectivity[:, :5], np.arange(len(connectivity))])
    method = FeatureMethod("spied", numbered, "svm")
    seen = spied(monkeypatch, step)
    protocol = ProtocolSettings(kind=kind, seeds=1, folds=3, **PROTOCOLS[kind])
    splits = splits_of(protocol, data)
    for split in splits:
        method.predict(data, split)
    expected = [set(data.people[np.union1d(s.train, s.validation)].tolist()) for s in splits]
    assert seen == expected
    assert all(not seen_ & {*data.people[s.test]} for seen_, s in zip(seen, splits, strict=True))


METHODS = {
    "site mean": lambda features: Average("regression", by_site=True),
    "site majority": lambda features: Average("classification", by_site=True),
    "linear": lambda features: FeatureMethod("FC", features, "linear"),
    "svm": lambda features: FeatureMethod("FC", features, "svm"),
}


@pytest.mark.parametrize(
    ("task", "name"),
    [("age", "site mean"), ("age", "linear"), ("age", "svm"),
     ("sex", "site majority"), ("sex", "svm")],
)  # fmt: skip
def test_a_prediction_depends_on_no_other_tested_person(stores, connectivity, task, name):
    """Whoever is tested beside them, with whatever scan and label, everybody's stays the same."""
    settings = load_task(task).model_copy(update={"covariates": ("mean_fd", "site")})
    data = task_data(settings, Windows(stores))
    (split, *_) = splits_of(ProtocolSettings(seeds=1), data)
    kept, others = split.test[::2], split.test[1::2]
    some = connectivity[:, :40]
    changed, target = some.copy(), data.target.copy()
    changed[data.people[others]] *= 1000.0
    target[split.test] = 1 - target[split.test]
    plain = METHODS[name](some).predict(data, split)
    odd = METHODS[name](changed).predict(replace(data, target=target), split)
    alone = METHODS[name](changed).predict(data, replace(split, test=kept))
    assert np.array_equal(plain[::2], odd[::2])
    np.testing.assert_allclose(plain[::2], alone, rtol=1e-6)


def test_scales_are_learned_from_the_training_part(monkeypatch, stores):
    windows = Windows(stores, WindowSettings(frames=20, scaling="pooled"))
    data = task_data(TaskSettings(name="t", column="age", kind="regression"), windows)
    people = {
        windows.stores[person.store].series(record)[0, :3].tobytes(): number
        for number, person in enumerate(windows.people)
        for record in person.records
    }
    seen: list[int] = []

    def spy(scans: Any, count: int) -> Any:
        arrays = list(scans)
        seen.extend(people[array[0, :3].tobytes()] for array in arrays)
        return pooled_scale(arrays, count)

    monkeypatch.setattr(aligned_scans, "pooled_scale", spy)
    split: Split
    for split in splits_of(ProtocolSettings(kind="leave_one_site_out", seeds=1), data):
        seen.clear()
        scaled = windows.scaled_on(data.people[split.train].tolist())
        assert set(seen) == set(data.people[split.train].tolist())
        seen.clear()
        scaled.full_windows(int(data.people[split.test[0]]))
        assert not seen
