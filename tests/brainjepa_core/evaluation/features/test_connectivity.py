"""Connectivity features against nilearn and loops, and what the tangent space learns from."""

from __future__ import annotations

import gc
import tracemalloc

import numpy as np
import pytest
from feature_tasks import make_task
from hypothesis import given
from hypothesis import strategies as st
from nilearn.connectome import ConnectivityMeasure
from numpy.testing import assert_allclose

from brainjepa_core.atlas import Atlas
from brainjepa_core.evaluation.features import connectivity as module
from brainjepa_core.evaluation.features.connectivity import (
    ConnectivityFeatures,
    mean_known,
    pair_features,
    shrunk_covariance,
    tangent_features,
)
from brainjepa_core.evaluation.readout.log_connectivity import complete_covariance
from brainjepa_core.signals.storing.store import ScanStore
from brainjepa_core.signals.windows import Windows

ROIS, PEOPLE = 8, 10
PAIRS = np.tril_indices(ROIS, -1)


def make_windows(folder, missing=(), sessions=1):
    """People whose ROIs share a signal; the ones named lack the third ROI."""
    store = ScanStore.create(folder / "site", Atlas.from_names([f"r{i}" for i in range(ROIS)]))
    for person in range(PEOPLE):
        for session in range(sessions):
            rng = np.random.default_rng([person, session])
            series = rng.standard_normal((ROIS, 60)) + rng.standard_normal(60)
            if person in missing:
                series[2] = np.nan
            store.append(series, subject=f"sub-{person:02}", session=str(session), tr=2.0)
    return Windows([store])


def nilearn_features(windows, kind, people=range(PEOPLE)):
    series = [windows.aligned(p)[0][0].T.astype(np.float64) for p in people]
    full = kind == "tangent"
    measure = ConnectivityMeasure(
        kind=kind, vectorize=True, discard_diagonal=not full, standardize="zscore_sample"
    )
    found = measure.fit_transform(series)
    return found if full else np.arctanh(found)


DATA = make_task(np.arange(PEOPLE))


@pytest.mark.parametrize("kind", ["correlation", "partial correlation", "tangent"])
def test_features_equal_nilearns(kind, tmp_path):
    windows = make_windows(tmp_path)
    found = ConnectivityFeatures(windows).of(kind)(DATA, np.arange(PEOPLE))
    assert found.dtype == np.float32
    assert_allclose(found, nilearn_features(windows, kind), atol=2e-5)


def test_several_scans_are_averaged(tmp_path):
    windows = make_windows(tmp_path, sessions=2)
    found = ConnectivityFeatures(windows).of("correlation")(DATA, np.arange(5))
    scans = windows.aligned(3)
    z = [pair_features(shrunk_covariance(*scan), "correlation") for scan in scans]
    assert len(scans) == 2
    assert_allclose(found[3], (z[0] + z[1]) / 2, rtol=1e-5)


@pytest.mark.parametrize("kind", ["correlation", "partial correlation"])
def test_pairs_with_a_missing_roi_are_nan(kind, tmp_path):
    windows = make_windows(tmp_path, missing=[4])
    found = ConnectivityFeatures(windows).of(kind)(DATA, np.arange(5))
    gone = (PAIRS[0] == 2) | (PAIRS[1] == 2)
    assert np.array_equal(np.isnan(found[4]), gone)
    assert np.isfinite(np.delete(found, 4, axis=0)).all()
    scan = windows.aligned(4)[0][0]
    known = np.delete(scan, 2, axis=0).T.astype(np.float64)
    measure = ConnectivityMeasure(
        kind=kind, vectorize=True, discard_diagonal=True, standardize="zscore_sample"
    )
    assert_allclose(found[4, ~gone], np.arctanh(measure.fit_transform([known])[0]), atol=2e-5)


def test_a_scan_that_has_the_roi_stands_for_one_that_lacks_it():
    found = mean_known([np.array([1.0, np.nan, np.nan]), np.array([3.0, 5.0, np.nan])])
    assert_allclose(found, [2, 5, np.nan])


def test_the_tangent_space_is_centred_on_training_people_only(tmp_path):
    windows = make_windows(tmp_path, missing=[1, 9])
    people = [mean_known(ConnectivityFeatures(windows).covariances(p)) for p in range(PEOPLE)]
    training = np.arange(6)
    expected = tangent_features(people, training)
    assert np.isfinite(expected).all()
    changed = [c if i < 6 else 4 * np.eye(ROIS) for i, c in enumerate(people)]
    assert np.array_equal(tangent_features(changed, training)[:6], expected[:6])
    assert_allclose(expected[:6].mean(0), 0, atol=1e-4)  # the logs around a geometric mean
    assert np.abs(expected[6:].mean(0)).max() > 0.01


@given(seed=st.integers(0, 99), gone=st.integers(1, 4))
def test_missing_rois_are_completed_by_the_regression_that_holds_in_the_mean(seed, gone):
    rng = np.random.default_rng(seed)
    mean, person = (a @ a.T / 20 for a in rng.standard_normal((2, 6, 20)))
    known = np.ones(6, bool)
    known[rng.choice(6, gone, replace=False)] = False
    gaps = np.where(known[:, None] & known, person, np.nan)
    found = complete_covariance(gaps, mean)
    assert_allclose(found, found.T)
    assert_allclose(found[np.ix_(known, known)], person[np.ix_(known, known)])
    assert np.linalg.eigvalsh(found).min() > 0
    # The regression of the missing on the known ROIs, and its error, are those of the mean.
    for c in (found, mean):
        weights = np.linalg.solve(c[np.ix_(known, known)], c[np.ix_(known, ~known)])
        left = c[np.ix_(~known, ~known)] - weights.T @ c[np.ix_(known, ~known)]
        if c is found:
            expected = weights, left
    assert_allclose(weights, expected[0], atol=1e-8)
    assert_allclose(left, expected[1], atol=1e-8)
    assert complete_covariance(person, mean) is person


def test_tangent_features_are_kept_by_content(tmp_path, monkeypatch):
    asked = []

    def spy(covariances, training):
        asked.append(training.tolist())
        return tangent_features(covariances, training)

    monkeypatch.setattr(module, "tangent_features", spy)
    windows, cache = make_windows(tmp_path), tmp_path / "cache"
    for _ in range(2):
        features = ConnectivityFeatures(windows, cache).of("tangent")
        first = features(DATA, np.arange(5))
        features(DATA, np.arange(5))
        features(DATA, np.arange(6))
    assert asked == [[0, 1, 2, 3, 4], [0, 1, 2, 3, 4, 5]]
    assert np.array_equal(first, ConnectivityFeatures(windows).of("tangent")(DATA, np.arange(5)))


def test_a_kind_is_computed_once(tmp_path, monkeypatch):
    calls = []
    real = shrunk_covariance
    monkeypatch.setattr(module, "shrunk_covariance", lambda *s: calls.append(1) or real(*s))
    features = ConnectivityFeatures(make_windows(tmp_path))
    kinds = ("correlation", "partial correlation", "tangent")
    for kind in (*kinds, "correlation"):
        features.of(kind)(DATA, np.arange(5))
    features.of("tangent")(DATA, np.arange(6))  # another split of the same people
    assert len(calls) == PEOPLE * len(kinds)


@pytest.mark.parametrize("kind", ["correlation", "partial correlation", "tangent"])
def test_what_stays_in_memory_is_a_float32_triangle_a_person(kind, tmp_path, monkeypatch):
    """Of 40,000 people whole float64 matrices are 65 GB."""
    monkeypatch.setattr(module, "tangent_features", lambda people, _: np.zeros((len(people), 1)))
    rois = 120
    store = ScanStore.create(tmp_path / "site", Atlas.from_names([f"r{i}" for i in range(rois)]))
    for person in range(PEOPLE):
        series = np.random.default_rng(person).standard_normal((rois, 60))
        store.append(series, subject=f"sub-{person:02}", tr=2.0)
    windows = Windows([store])
    ConnectivityFeatures(windows).of(kind)(DATA, np.arange(5))  # scans and modules are loaded
    features = ConnectivityFeatures(windows)
    tracemalloc.start()
    features.of(kind)(DATA, np.arange(5))
    gc.collect()
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert kept < 1.3 * PEOPLE * 4 * rois * (rois + 1) / 2
