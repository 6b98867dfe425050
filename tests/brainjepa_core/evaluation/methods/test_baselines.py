"""Baselines: naive ones by loops, tables of facts, and the published figure on real data."""

from __future__ import annotations

import numpy as np
import pytest
from feature_tasks import NOBODY, held_out, make_task, one_split, site_splits
from numpy.testing import assert_allclose
from shared_data import shared
from sklearn.metrics import roc_auc_score

from brainjepa_core.evaluation.features.connectivity import ConnectivityFeatures
from brainjepa_core.evaluation.features.readouts import SignalReadOuts
from brainjepa_core.evaluation.methods.baselines import (
    Average,
    CovariatesOnly,
    FactsFeatures,
    baseline_methods,
    facts_features,
)
from brainjepa_core.evaluation.methods.feature_methods import FeatureMethod
from brainjepa_core.evaluation.tasks.protocols import Split
from brainjepa_core.evaluation.tasks.settings import TaskData, TaskSettings
from brainjepa_core.signals.importing.importers import import_site_archive
from brainjepa_core.signals.storing.store import ScanStore
from brainjepa_core.signals.windows import Windows
from brainjepa_simulations.cohort.cohort import CohortSettings
from brainjepa_simulations.cohort.stores import write_cohort


def test_averages_by_hand():
    data = make_task([1, 2, 3, 10, 20, 99], sites=["A", "A", "A", "B", "B", "C"])
    split = Split("s", 0, np.array([0, 1, 3]), np.array([4]), np.array([2, 5]))
    assert_allclose(Average("regression").predict(data, split), [8.25, 8.25])
    assert_allclose(Average("regression", by_site=True).predict(data, split), [1.5, 8.25])


def test_a_row_says_which_average_it_is():
    names = [Average(k, s).name for k in ("regression", "classification") for s in (False, True)]
    assert names == ["mean", "site mean", "majority", "site majority"]


def test_shares_of_classes_by_hand():
    data = make_task([0, 0, 1, 2, 2, 1], ["a", "b", "c"], sites=["A", "A", "A", "B", "B", "C"])
    split = Split("s", 0, np.array([0, 1, 2, 3]), NOBODY, np.array([4, 5]))
    assert_allclose(Average("classification").predict(data, split), [[0.5, 0.25, 0.25]] * 2)
    expected = [[0, 0, 1], [0.5, 0.25, 0.25]]
    by_site = Average("classification", by_site=True)
    assert_allclose(by_site.predict(data, split), expected)


def test_facts_are_numbers_and_indicators():
    facts = [{"age": 3, "sex": "M"}, {"sex": "f"}, {"age": 5.0, "outcome": 1.0}]
    data = make_task([1, 2, 3], facts=facts)
    found = facts_features(data, ("age", "sex", "outcome", "height"))
    assert_allclose(found, [[3, 0, 1], [np.nan, 1, 0], [5, 0, 0]])
    assert facts_features(data, ("outcome", "height")) is None


def test_motion_is_read_from_facts():
    rng = np.random.default_rng(0)
    target = rng.integers(2, size=60)
    facts = [{"mean_fd": 0.1 + 0.2 * t + 0.05 * rng.standard_normal()} for t in target]
    data = make_task(target, ["no", "yes"], facts=facts)
    split = one_split(60)
    scores = FeatureMethod("motion", FactsFeatures(("mean_fd",))).predict(data, split)
    assert roc_auc_score(target[split.test], scores[:, 1]) > 0.9


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cohort")
    settings = CohortSettings(
        sites=3, subjects_per_site=12, rois=16, networks=6, latents=3, frames=100
    )
    return Windows([ScanStore.open(path) for path in write_cohort(settings, folder)])


def task_of(windows, column, classes=()):
    facts = [{**p.records[0].phenotypes, **p.records[0].qc} for p in windows.people]
    values = [classes.index(f[column]) if classes else f[column] for f in facts]
    sites = [windows.stores[p.store].path.name for p in windows.people]
    return make_task(values, classes, sites, facts=facts)


def test_all_baselines_predict(cohort):
    for column, names in [("age", ("ridge", "SVR")), ("diagnosis", ("logistic", "SVM"))]:
        classes = ["control", "case"] if column == "diagnosis" else ()
        data = task_of(cohort, column, classes)
        methods = baseline_methods(cohort, data, SignalReadOuts(cohort))
        kinds = ("correlation", "partial correlation", "tangent")
        slow = "connectivity 0.01-0.1 Hz"
        read_outs = ("connectivity", slow, "log-connectivity", f"{slow} + log-connectivity")
        assert [method.name for method in methods] == [
            *(("majority", "site majority") if classes else ("mean", "site mean")),
            "motion only",
            "tabular",
            *(f"FC {kind} + {name}" for kind in kinds for name in names),
            *(f"{kind}{centred}" for kind in read_outs for centred in ("", ", site-centred")),
        ]
        split = one_split(len(data))
        for method in methods:
            found = method.predict(data, split)
            assert found.shape == ((len(split.test), 2) if classes else (len(split.test),))
            assert np.isfinite(found).all()
            assert np.array_equal(found, method.predict(data, split))


def test_without_facts_there_are_no_baselines_of_facts(cohort):
    data = make_task(np.arange(cohort.subjects))
    names = [method.name for method in baseline_methods(cohort, data, SignalReadOuts(cohort))]
    assert "tabular" not in names and "motion only" not in names and len(names) == 16


def abide(folder):
    source = shared("data", "abide")
    sites = sorted(path for path in source.glob("*.npz") if path.stem != "project_450")
    table = source / "participants.tsv"
    return Windows([import_site_archive(path, folder / path.stem, table) for path in sites])


@pytest.mark.slow
def test_connectivity_tells_autism_at_sites_it_has_not_seen(tmp_path):
    """Untuned linear models on FC of these 312 people reach an AUC of 0.71 (CI 0.65 to 0.77)."""
    windows = abide(tmp_path)
    data = task_of(windows, "diagnosis", ["TC", "ASD"])
    splits = site_splits(data)
    assert (len(data), len(splits)) == (312, 12)
    method = FeatureMethod("FC", ConnectivityFeatures(windows).of("correlation"), "svm")
    assert abs(roc_auc_score(data.target, held_out(method, data, splits)) - 0.71) <= 0.02
    site = Average("classification", by_site=True)
    assert roc_auc_score(data.target, held_out(site, data, splits)) <= 0.5


def test_covariates_only_is_their_regression_on_the_training_part():
    rng = np.random.default_rng(0)
    covariates = rng.standard_normal((30, 2))
    target = covariates @ [2.0, -1.0] + 5 + 0.1 * rng.standard_normal(30)
    task = TaskSettings(name="t", column="x", kind="regression", covariates=("a", "b"))
    data = TaskData(task, np.arange(30), np.array(["s"] * 30), target, (), covariates, ({},) * 30)
    split = Split("all", 0, np.arange(15), np.arange(15, 20), np.arange(20, 30))
    design = np.column_stack([np.ones(30), covariates])
    fitted = np.linalg.lstsq(design[:20], target[:20], rcond=None)[0]
    assert_allclose(CovariatesOnly().predict(data, split), design[20:] @ fitted, rtol=1e-6)
