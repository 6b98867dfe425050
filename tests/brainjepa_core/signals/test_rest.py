"""The rest of a person's scans: by correlations of the frames that a window leaves."""

from __future__ import annotations

import numpy as np
import pytest

from brainjepa_core.atlas import Atlas
from brainjepa_core.signals.people import in_short, people_of
from brainjepa_core.signals.rest import rest_connectivity
from brainjepa_core.signals.storing.store import ScanStore
from brainjepa_core.signals.window_settings import WindowSettings
from brainjepa_core.signals.windows import Windows

ROIS = 5
ATLAS = Atlas.from_names([f"r{i}" for i in range(ROIS)])
SMALL = WindowSettings(frames=20, tr=2.0)


def store_of(path, scans: dict[str, list[np.ndarray]], tr: float = 2.0) -> ScanStore:
    store = ScanStore.create(path, ATLAS)
    for subject, series in scans.items():
        for run, x in enumerate(series):
            store.append(x.astype(np.float32), subject=subject, run=str(run), tr=tr)
    return store


def scan(frames: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.standard_normal((ROIS, ROIS)) @ rng.standard_normal((ROIS, frames))


def z_of(x: np.ndarray) -> np.ndarray:
    r = np.corrcoef(x)
    np.fill_diagonal(r, 0)
    return np.arctanh(r)


def test_window_and_rest_are_the_scan_and_share_no_frame(tmp_path):
    windows = Windows([store_of(tmp_path, {"a": [scan(70)]})], SMALL)
    (series, _), starts = windows.aligned(0)[0], set()
    for seed in range(30):
        window = windows.window(0, (seed,)).signal
        (start,) = [i for i in range(51) if np.array_equal(series[:, i : i + 20], window)]
        others = np.delete(series, np.arange(start, start + 20), axis=1)
        (found,) = windows.rest([0], [(seed,)])
        np.testing.assert_allclose(found, z_of(others), atol=2e-5)
        assert found.dtype == np.float32 and np.array_equal(found, found.T)
        starts.add(start)
    assert len(starts) > 10


def test_a_person_s_other_scans_count_by_their_frames(tmp_path):
    scans = [scan(45), scan(90, 1)]
    windows = Windows([store_of(tmp_path, {"a": scans})], SMALL)
    first, second = (series for series, _ in windows.aligned(0))
    for seed in range(10):
        window = windows.window(0, (seed,)).signal
        (found,) = windows.rest([0], [(seed,)])
        own, other = (first, second) if any(
            np.array_equal(first[:, i : i + 20], window) for i in range(26)
        ) else (second, first)  # fmt: skip
        place = next(i for i in range(own.shape[1]) if np.array_equal(own[:, i : i + 20], window))
        left = np.delete(own, np.arange(place, place + 20), axis=1)
        parts = [(z_of(part), part.shape[1]) for part in (left, other)]
        expected = sum(z * n for z, n in parts) / sum(n for _, n in parts)
        np.testing.assert_allclose(found, expected, atol=2e-5)


def test_pairs_of_missing_rois_are_unknown_until_another_scan_shows_them():
    x, y = scan(30).astype(np.float32), scan(40, 1).astype(np.float32)
    known, gone = np.ones(ROIS, bool), np.arange(ROIS) != 2
    found = rest_connectivity([(np.where(gone[:, None], x, 0), gone)])
    assert np.isnan(found[2, [0, 1, 3, 4]]).all() and np.isnan(found[:, 2]).sum() == ROIS - 1
    np.testing.assert_allclose(found[np.ix_(gone, gone)], z_of(x[gone]), atol=2e-5)
    both = rest_connectivity([(np.where(gone[:, None], x, 0), gone), (y, known)])
    np.testing.assert_allclose(both[2], z_of(y)[2], atol=2e-5)


def test_parts_without_a_correlation_count_nothing():
    x, known = scan(30).astype(np.float32), np.ones(ROIS, bool)
    short = scan(2).astype(np.float32)
    np.testing.assert_array_equal(
        rest_connectivity([(x, known), (short, known)]), rest_connectivity([(x, known)])
    )
    still = x.copy()
    still[1] = 3.0
    found = rest_connectivity([(still, known)])
    assert (
        np.isnan(found[1, [0, 2, 3, 4]]).all() and np.isfinite(np.delete(found, 1, 0)[:, 0]).all()
    )
    twice = x.copy()
    twice[1] = twice[0]
    assert np.isfinite(rest_connectivity([(twice, known)])).all()


@pytest.mark.parametrize(
    ("frames", "tr", "settings", "enough"),
    [
        ([40], 2.0, {}, True),
        ([39], 2.0, {}, False),
        ([20, 20], 2.0, {}, True),
        ([30, 8], 2.0, {}, False),
        ([100], 0.8, {}, True),
        ([97], 0.8, {}, False),
        ([100], 0.8, {"temporal": "official"}, True),
        ([75], 0.8, {"temporal": "official"}, False),
    ],
)
def test_who_has_no_two_windows_apart_is_left_out_and_told(tmp_path, frames, tr, settings, enough):
    chosen = SMALL.model_copy(update=settings)
    scans = {"a": [scan(n, i) for i, n in enumerate(frames)], "b": [scan(400)]}
    store = store_of(tmp_path / "site", scans, tr)
    people, left_out = people_of([store], chosen, with_rest=True)
    assert [person.records[0].subject for person in people] == (["a", "b"] if enough else ["b"])
    assert len(left_out) == (0 if enough else len(frames))
    assert len(in_short(left_out)) == (not enough)
    for one in left_out:
        assert str(one).startswith("site/a ")
        assert "expected two windows of 40 s apart from one another, as the model" in str(one)
        assert f"in {len(frames)} usable scan" in str(one)
    assert len(people_of([store], chosen)[0]) == 2  # other models take them
    if enough:
        windows = Windows([store], chosen, with_rest=True)
        for seed in range(5):
            assert np.isfinite(windows.rest([0, 1], [(seed,), (seed,)])).all()
