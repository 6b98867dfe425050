"""Connectivity where co-skewness is kept: by definition, read once, and nothing of the tested."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from feature_tasks import make_task
from numpy.testing import assert_allclose

from brainjepa_core.atlas import Atlas
from brainjepa_core.evaluation.features import coskewness
from brainjepa_core.evaluation.features.coskewness import (
    CoskewnessFeatures,
    of_person,
    projected_pairs,
)
from brainjepa_core.pretraining.site_sums.coskewness import coskewness_sum
from brainjepa_core.signals.storing.store import ScanStore
from brainjepa_core.signals.windows import Windows
from brainjepa_core.sums.protocol import total
from brainjepa_simulations.cohort.cohort import CohortSettings
from brainjepa_simulations.cohort.stores import write_cohort

R, M = 10, 4


@pytest.fixture(scope="module")
def windows(tmp_path_factory) -> Windows:
    settings = CohortSettings(
        sites=3, subjects_per_site=5, rois=R, networks=5, latents=3, frames=60, missing_rois=1,
        second_sessions=0.4,
    )  # fmt: skip
    paths = write_cohort(settings, tmp_path_factory.mktemp("cohort"))
    return Windows([ScanStore.open(path) for path in paths])


def people_of(windows: Windows) -> list[tuple[list[np.ndarray], np.ndarray]]:
    """Scans of each person, and the ROIs that all of them have."""
    found = []
    for person in range(windows.subjects):
        series, valid = zip(*windows.aligned(person), strict=True)
        found.append(([s.astype(np.float64) for s in series], np.logical_and.reduce(valid)))
    return found


def standard(series: np.ndarray) -> np.ndarray:
    return (series - series.mean(1, keepdims=True)) / series.std(1, keepdims=True)


def naive_directions(people: list[tuple[list[np.ndarray], np.ndarray]]) -> np.ndarray:
    """By loops over people and scans, from third-moment tensors."""
    products, counts = np.zeros((R, R)), np.zeros((R, R))
    for scans, known in people:
        own = np.zeros((R, R))
        for series in scans:
            z = standard(series[known])
            t = np.einsum("if,kf,lf->ikl", z, z, z) / z.shape[1]
            own[np.ix_(known, known)] += np.einsum("ikl,jkl->ij", t, t) / known.sum() ** 2
        products += own / len(scans)
        counts += np.outer(known, known)
    return np.linalg.eigh(products / counts)[1][:, ::-1][:, :M]


def naive_pairs(scans: list[np.ndarray], known: np.ndarray, directions: np.ndarray) -> np.ndarray:
    """Fisher z of correlations of signals that are projected frame by frame."""
    z = [np.where(known[:, None], standard(np.where(known[:, None], s, np.eye(R, s.shape[1]))), 0)
         for s in scans]  # fmt: skip
    r = np.corrcoef(directions @ (directions.T @ np.concatenate(z, axis=1)))
    r[~known] = r[:, ~known] = np.nan
    return np.arctanh(r[np.tril_indices(R, -1)])


def test_features_are_those_of_naive_loops(windows):
    people, training = people_of(windows), np.arange(9)
    kept = naive_directions([people[person] for person in training])
    data = make_task(np.arange(windows.subjects))
    found = CoskewnessFeatures(windows).features()(data, training)
    expected = np.stack([naive_pairs(*person, kept) for person in people])
    assert_allclose(found, expected, rtol=1e-6, atol=1e-6)  # float32, as all features
    exact = np.stack([of_person(windows.aligned(p), R)["covariance"] for p in data.people])
    assert_allclose(projected_pairs(exact, kept), expected, rtol=1e-9, atol=1e-9)
    lacking = ~np.array([known.all() for _, known in people])
    assert lacking.any() and np.isnan(found[lacking]).any(1).all()
    assert np.isfinite(found[~lacking]).all()


def test_the_sum_is_the_same_by_features_by_windows_and_by_sites(windows):
    everybody = CoskewnessFeatures(windows).total(range(windows.subjects))
    pooled = coskewness_sum(windows)
    sites = total(coskewness_sum(Windows([store])) for store in windows.stores)
    for other in (pooled, sites):
        assert_allclose(other.products, everybody.products, rtol=1e-12)
        assert np.array_equal(other.pair_count, everybody.pair_count)
        assert other.subjects == everybody.subjects == windows.subjects
    assert_allclose(
        abs(everybody.directions(M)), abs(naive_directions(people_of(windows))), atol=1e-9
    )


def test_tested_people_teach_nothing(windows):
    training = np.arange(6)
    everybody, few = make_task(np.arange(windows.subjects)), make_task(np.arange(8))
    features = CoskewnessFeatures(windows).features()
    a, b = features(everybody, training), CoskewnessFeatures(windows).features()(few, training)
    assert np.array_equal(a[:8], b, equal_nan=True)
    assert not np.array_equal(features(everybody, np.arange(5)), a, equal_nan=True)
    assert np.array_equal(features(few, training), b, equal_nan=True)


def test_given_directions_are_those_of_every_split(windows):
    data = make_task(np.arange(windows.subjects))
    directions = coskewness_sum(windows).directions(M)
    features = CoskewnessFeatures(windows, directions=directions).features()
    found = features(data, np.arange(6))
    assert features(data, np.arange(3, 12)) is found
    everybody = CoskewnessFeatures(windows).features()(data, np.arange(windows.subjects))
    assert_allclose(found, everybody, rtol=1e-5, atol=1e-6)


class Read(list[int]):
    """Whose scans were read."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__()
        real = coskewness.scans_of

        def scans_of(windows, person):
            self.append(person)
            return real(windows, person)

        monkeypatch.setattr(coskewness, "scans_of", scans_of)


SPLITS = (np.arange(6), np.arange(3, 12), np.arange(15))


def test_scans_are_read_once_for_all_splits(windows, tmp_path, monkeypatch):
    read, data = Read(monkeypatch), make_task(np.arange(windows.subjects))
    features = CoskewnessFeatures(windows, tmp_path).features()
    first = [features(data, training) for training in SPLITS]
    assert sorted(read) == list(range(windows.subjects)) and not list(tmp_path.iterdir())
    read.clear()
    again = CoskewnessFeatures(windows, tmp_path, at_hand=0).features()
    for training, expected in zip(SPLITS, first, strict=True):
        assert np.array_equal(again(data, training), expected, equal_nan=True)
    assert len(read) == windows.subjects


def test_no_more_people_are_at_hand_than_there_is_room_for(windows, monkeypatch):
    read, data = Read(monkeypatch), make_task(np.arange(windows.subjects))
    one = 2 * 8 * R * (R + 1) // 2
    features = CoskewnessFeatures(windows, at_hand=4 * one + 1)
    whole = CoskewnessFeatures(windows).features()
    expected = [whole(data, training) for training in SPLITS]
    read.clear()
    for training, same in zip(SPLITS, expected, strict=True):
        assert np.array_equal(features.features()(data, training), same, equal_nan=True)
    assert len(features._kept) == 4 and max(read.count(p) for p in features._kept) == 1
    assert len(read) > windows.subjects


@pytest.mark.parametrize("damage", [b"", b"not an archive", None])
def test_a_damaged_or_foreign_file_is_made_anew(windows, tmp_path, damage):
    data, training = make_task(np.arange(windows.subjects)), np.arange(6)
    found = CoskewnessFeatures(windows, tmp_path, at_hand=0).features()(data, training)
    files = sorted((tmp_path / "coskewness").iterdir())
    assert len(files) == windows.subjects
    for path in files[:3]:
        path.write_bytes(path.read_bytes()[:50] if damage is None else damage)
    again = CoskewnessFeatures(windows, tmp_path, at_hand=0).features()(data, training)
    assert np.array_equal(again, found, equal_nan=True)


def test_other_scans_have_other_files(windows, tmp_path):
    data = make_task(np.arange(5))
    one, other = (Windows([store]) for store in windows.stores[:2])
    for part in (one, other):
        kept = CoskewnessFeatures(part, tmp_path, at_hand=0).features()(data, np.arange(5))
        fresh = CoskewnessFeatures(part).features()(data, np.arange(5))
        assert np.array_equal(kept, fresh, equal_nan=True)
    assert len(list(Path(tmp_path / "coskewness").iterdir())) == 10


def test_whose_scans_share_too_few_rois_is_unknown_and_counts_nowhere(tmp_path):
    rng = np.random.default_rng(0)
    store = ScanStore.create(tmp_path / "store", Atlas.from_names([f"r{i}" for i in range(R)]))
    for person in range(4):
        for session, half in enumerate((np.arange(R) < 5, np.arange(R) >= 5)):
            series = rng.standard_normal((R, 40))
            if person == 2:
                series[~half] = np.nan
            store.append(series, subject=f"p{person}", tr=2.0, session=str(session))
    windows = Windows([store])
    assert coskewness_sum(windows).people == 3
    features = CoskewnessFeatures(windows)
    assert features.total(range(4)).people == 3
    found = features.features()(make_task(np.arange(4)), np.arange(4))
    assert np.isnan(found[2]).all() and np.isfinite(np.delete(found, 2, axis=0)).all()
