"""Windows of volumes: whose frames they are, that two share none, and who is left out."""

from __future__ import annotations

import numpy as np
import pytest
from made_volumes import GRID, of_people, volume_store

from brainjepa_core.atlas import Atlas
from brainjepa_core.evaluation.features.embeddings import person_key
from brainjepa_core.signals.storing.scan_arrays import WrittenVolumes
from brainjepa_core.signals.storing.store import ScanStore
from brainjepa_core.signals.volume_windows import VolumeWindows
from brainjepa_core.signals.window_settings import WindowSettings
from brainjepa_core.volume_grid import VolumeGrid, VolumesRead

ONE, TWO = VolumesRead(GRID), VolumesRead(GRID, 2)
SETTINGS = WindowSettings(frames=5, tr=2.0, temporal="official")


def numbered(frames: int) -> np.ndarray:
    """Volumes that are told by the number of their frame."""
    return np.broadcast_to(np.arange(frames)[:, None, None, None], (frames, *GRID.size))


def frames_of(window: np.ndarray) -> list[int]:
    assert (window == window[:, :1, :1, :1]).all()
    return window[:, 0, 0, 0].astype(int).tolist()


@pytest.mark.parametrize("frames", [10, 11, 14])
def test_two_windows_share_no_frame_and_all_pairs_are_drawn_alike(tmp_path, frames):
    windows = VolumeWindows(
        [volume_store(tmp_path / "store", {"sub-1": numbered(frames)})], SETTINGS, TWO
    )
    pairs = []
    for seed in range(600):
        first, second = windows.batch([0], [(seed,)])[0][0], windows.other([0], [(seed,)])[0]
        assert first.dtype == np.float32 and first.shape == (5, *GRID.size)
        one, two = frames_of(first), frames_of(second)
        assert np.diff(one).tolist() == np.diff(two).tolist() == [1] * 4
        assert not set(one) & set(two)
        pairs.append((one[0], two[0]))
    places = frames - 4
    every = {(a, b) for a in range(places) for b in range(places) if abs(a - b) >= 5}
    counts = [pairs.count(pair) for pair in every]
    assert set(pairs) == every and max(counts) < 600 / len(every) + 5 * (600 / len(every)) ** 0.5
    assert (windows.batch([0], [(3,)])[0] == windows.batch([0], [(3,)])[0]).all()


def test_frames_are_picked_as_published(tmp_path):
    store = volume_store(tmp_path / "store", {"sub-1": numbered(40)}, tr=0.7)
    windows = VolumeWindows([store], SETTINGS, ONE)
    x, frames, rois = windows.full_windows(0)
    assert x.shape == (2, 5, *GRID.size) and frames.all() and rois.all()
    assert frames_of(x[1]) == np.linspace(15, 29, 5).astype(int).tolist()
    with pytest.raises(ValueError, match=r"expected windows\.temporal: official with a model that"):
        VolumeWindows([store], WindowSettings(frames=5), ONE)


def test_what_a_scan_lacks_is_padded_and_told(tmp_path):
    windows = VolumeWindows(
        [volume_store(tmp_path / "store", {"sub-1": 1 + numbered(7)})], SETTINGS, ONE
    )
    ((x, frames, _),) = windows.whole_scans(0)
    assert frames.tolist() == [[True] * 5, [True, True, False, False, False]]
    assert frames_of(x[1]) == [6, 7, 0, 0, 0]
    series, _ = windows.aligned(0)[0]
    assert series.shape == (6, 7)


def test_who_is_left_out_and_why(tmp_path):
    store = volume_store(tmp_path / "store", of_people(2, 12) | {"sub-short": numbered(9)})
    store.append(np.random.default_rng(0).standard_normal((6, 12)), subject="sub-bare", tr=2.0)
    windows = VolumeWindows([store], SETTINGS, TWO)
    assert windows.subjects == 2
    reasons = {scan.scan.rpartition("/")[2]: scan.reason for scan in windows.left_out}
    assert reasons == {
        "sub-bare": "expected volumes (8 x 8 x 8 voxels of 24 mm) beside the series, as the model "
        "reads them, found none; say prepare.volumes, and make the store in another folder "
        "(site prepare)",
        "sub-short": "expected 2 windows apart from one another in a scan, 10 frames, as the "
        "model compares them, found 9 frames",
    }
    assert VolumeWindows([store], SETTINGS, ONE).subjects == 3
    other = VolumesRead(VolumeGrid((8, 8, 8), 12.0))
    with pytest.raises(ValueError, match=r"found 4 that cannot, the first .*prepare\.volumes"):
        VolumeWindows([store], SETTINGS, other)


def test_another_volume_is_another_store_and_a_store_without_is_as_it_was(tmp_path):
    one = volume_store(tmp_path / "one", {"sub-1": numbered(12)})
    two = volume_store(tmp_path / "two", {"sub-1": 1 + numbered(12)})
    assert one.records[0].sha256 == two.records[0].sha256 and one.fingerprint != two.fingerprint
    keys = {person_key(VolumeWindows([store], SETTINGS, ONE), 0) for store in (one, two)}
    assert len(keys) == 2  # of embeddings that are kept
    assert ScanStore.open(one.path).records == one.records
    bare = ScanStore.create(tmp_path / "bare", Atlas.from_names(one.atlas.rois, "six"))
    bare.append(one.series(one.records[0]), subject="sub-1", tr=2.0)
    assert '"volumes"' not in (bare.path / "scans.jsonl").read_text()


def test_volumes_of_other_frames_than_the_series_are_refused(tmp_path):
    store = volume_store(tmp_path / "store", {"sub-1": numbered(12)})
    (record,) = store.records
    written = WrittenVolumes(tmp_path / "none", record.volumes, 11)
    with pytest.raises(ValueError, match="expected a volume for each of 12 frames, found 11; make"):
        store.append(store.series(record), subject="sub-2", tr=2.0, volumes=written)
