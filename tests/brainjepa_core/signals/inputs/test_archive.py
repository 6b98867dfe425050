"""Site archives as scans: what an import stores, participant by participant."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from shared_data import shared

from brainjepa_core.atlas import Atlas
from brainjepa_core.signals.importing.importers import import_site_archive
from brainjepa_core.signals.inputs import archive
from brainjepa_core.signals.preparation import InputSettings
from brainjepa_core.signals.problems import ScanProblem

TS = np.random.default_rng(0).standard_normal((41, 3)).astype(np.float16)
SOUND = {
    "ts": TS,
    "lengths": np.array([12, 20, 9]),
    "participant_id": np.array(["p2", "p1", "p3"]),
    "tr": np.float32(2.5),
    "roi": np.array(["a", "b", "c"]),
}
ATLAS = Atlas.from_names(["c", "a", "elsewhere"])


def found(folder, told=None, **changes):
    np.savez_compressed(folder / "site.npz", **{**SOUND, **changes})
    return archive.find(InputSettings(kind="archive", folder=folder / "site.npz", tr=told), ATLAS)


def test_a_scan_for_each_participant(tmp_path):
    scans, problems = found(tmp_path)
    assert [scan.key for scan in scans] == [("p1", "", ""), ("p2", "", ""), ("p3", "", "")]
    assert problems == [] and [scan.check().frames for scan in scans] == [20, 12, 9]
    raw = pickle.loads(pickle.dumps(scans[0])).read()
    assert np.array_equal(raw.series[:2], TS[12:32].T[[2, 0]].astype(float)) and raw.tr == 2.5
    assert np.isnan(raw.series[2]).all() and np.array_equal(
        raw.coverage, [np.nan, np.nan, 0], equal_nan=True
    )
    assert found(tmp_path, told=0.8)[0][1].read().tr == 0.8
    each = found(tmp_path, tr=np.array([2.5, 0.7, 3.0]))[0]
    assert [scan.check().tr for scan in each] == [0.7, 2.5, 3.0]


def test_repetition_times_are_seconds_as_they_were_written(tmp_path):
    scans, _ = found(tmp_path, tr=np.float32(1.667))
    assert {scan.check().tr for scan in scans} == {1.667}  # not 1.66700005
    scans, _ = found(tmp_path, tr=np.array([2000.0, 2.0, 2.0]))
    text = r"site.npz: expected a repetition time between 0.1 and 20 seconds, found 2000; write it"
    with pytest.raises(ScanProblem, match=text):
        [scan.check() for scan in scans]


def test_scans_are_what_an_import_stores(tmp_path):
    file = shared("data", "abide", "STANFORD.npz")
    store = import_site_archive(file, tmp_path / "store")
    scans, _ = archive.find(InputSettings(kind="archive", folder=file), store.atlas)
    by_key = {record.key: record for record in store.records}
    assert set(by_key) == {scan.key for scan in scans}
    for scan in scans:
        raw, record = scan.read(), by_key[scan.key]
        assert np.array_equal(raw.series.astype(np.float32), store.series(record))
        assert (raw.tr, raw.series.shape[1]) == (record.tr, record.frames)


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"lengths": np.array([12, 20, 8])}, "expected ts .sum of lengths, ROIs., one participant"),
        (
            {"roi": np.array(["x", "y", "z"])},
            "expected ROI names of atlas .* found x, y, z; give n",
        ),
        ({"tr": np.array(0.0)}, "expected each participant once and TRs in seconds above 0"),
        (
            {"participant_id": np.array([None] * 3)},
            "expected a site archive .*; give the archive, or export",
        ),
    ],
)
def test_archives_that_cannot_be_used_are_one_problem(tmp_path, changes, error):
    scans, (problem,) = found(tmp_path, **changes)
    assert scans == []
    with pytest.raises(ScanProblem, match=rf"^site.npz: {error}"):
        raise problem


def test_scans_that_cannot_be_used(tmp_path):
    ts = TS.copy()
    ts[3, 0] = np.inf
    lengths = np.array([12, 28, 1])
    scans, _ = found(tmp_path, ts=ts, lengths=lengths)
    assert scans[0].read().series.shape == (3, 28)
    with pytest.raises(ScanProblem, match=r"site.npz: expected finite numbers, .* gaps in a;"):
        scans[1].read()
    for step in (scans[2].check, scans[2].read):
        with pytest.raises(ScanProblem, match="at least 3 frames, found 1"):
            step()
    (tmp_path / "site.npz").write_bytes(b"gone")
    with pytest.raises(ScanProblem, match="expected a site archive"):
        scans[0].read()


@given(st.data())
def test_damage_raises_nothing_but_problems(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("archive")
    found(folder)
    content = bytearray((folder / "site.npz").read_bytes())
    places = st.tuples(st.integers(0, len(content) - 1), st.integers(0, 255))
    for place, value in data.draw(st.lists(places, min_size=1, max_size=8)):
        content[place] = value
    (folder / "site.npz").write_bytes(content)
    settings = InputSettings(kind="archive", folder=folder / "site.npz")
    scans, problems = archive.find(settings, ATLAS)
    assert bool(scans) != bool(problems)
    for scan in scans:
        try:
            scan.check()
            scan.read()
        except ScanProblem as problem:
            assert str(problem).startswith("site.npz: expected ")
