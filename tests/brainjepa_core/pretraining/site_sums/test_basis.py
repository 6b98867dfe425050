"""The basis of the people at hand, against numpy's correlations one scan at a time."""

from __future__ import annotations

import numpy as np
import pytest

from brainjepa_core.atlas import Atlas
from brainjepa_core.pretraining.site_sums.basis import connectivity_sum, consensus_basis
from brainjepa_core.signals.storing.store import ScanStore
from brainjepa_core.signals.window_settings import WindowSettings
from brainjepa_core.signals.windows import Windows

ATLAS = Atlas.from_names([f"r{i}" for i in range(8)])


def make_windows(path, tr: float = 2.0) -> Windows:
    """Two sites; five people, one with two scans, one without ROI 3 in one scan."""
    rng = np.random.default_rng(0)
    mixing = rng.standard_normal((8, 8)) / 3 + np.eye(8)
    stores = []
    for site, people in (("a", "stv"), ("b", "sw")):
        store = ScanStore.create(path / site, ATLAS)
        for person in people:
            for run in range(2 if person == "s" else 1):
                series = mixing @ rng.standard_normal((8, 120)) + 50
                if person == "t" or (site, person, run) == ("a", "s", 1):
                    series[3] = np.nan
                store.append(series, subject=person, run=str(run), tr=tr)
        stores.append(store)
    return Windows(stores, WindowSettings(frames=40))


def naive_sum(windows: Windows) -> tuple[np.ndarray, np.ndarray]:
    total, count = np.zeros((8, 8)), np.zeros((8, 8), int)
    for subject in range(windows.subjects):
        z, seen = np.zeros((8, 8)), np.zeros((8, 8), int)
        for series, valid in windows.aligned(subject):
            r = np.corrcoef(series[valid].astype(float))
            np.fill_diagonal(r, 0)
            for i, row in enumerate(np.flatnonzero(valid)):
                for j, column in enumerate(np.flatnonzero(valid)):
                    z[row, column] += np.arctanh(r[i, j])
                    seen[row, column] += 1
        total += np.where(seen > 0, z / np.maximum(seen, 1), 0)
        count += seen > 0
    return total, count


def test_the_sum_by_loops(tmp_path):
    windows = make_windows(tmp_path)
    found = connectivity_sum(windows)
    total, count = naive_sum(windows)
    pairs = np.triu_indices(8, k=1)
    assert np.allclose(found.z_sum, total[pairs], atol=1e-5)
    assert found.pair_count.tolist() == count[pairs].tolist()
    assert set(found.pair_count) == {4, 5}  # person t never had ROI 3
    assert (found.rois, found.subjects) == (ATLAS.rois, 5)


def test_the_basis_is_that_of_the_sum(tmp_path):
    windows = make_windows(tmp_path)
    basis = consensus_basis(windows, components=3, sparsity=0.5)
    assert basis.rois == ATLAS.rois and basis.gradients.shape == (8, 3)
    again = consensus_basis(make_windows(tmp_path / "again"), components=3, sparsity=0.5)
    assert basis.hash == again.hash
    assert basis.hash != consensus_basis(windows, components=3, sparsity=0.2).hash


def test_resampling_comes_first(tmp_path):
    windows = make_windows(tmp_path, tr=1.0)
    total, _ = naive_sum(windows)
    assert {x.shape[1] for x, _ in windows.aligned(0)} == {60}
    assert np.allclose(connectivity_sum(windows).z_sum, total[np.triu_indices(8, k=1)], atol=1e-5)


def test_more_components_than_the_atlas_has(tmp_path):
    with pytest.raises(ValueError, match=r"n_components from 1 to 7 .*, found 8"):
        consensus_basis(make_windows(tmp_path), components=8)


def test_an_roi_nobody_has(tmp_path):
    store = ScanStore.create(tmp_path, ATLAS)
    series = np.random.default_rng(0).standard_normal((8, 100))
    series[5] = np.nan
    store.append(series, subject="s", tr=2.0)
    with pytest.raises(ValueError, match=r"7 of 28 pairs .*never observed: r5\); add subjects"):
        consensus_basis(Windows([store]), components=2)
