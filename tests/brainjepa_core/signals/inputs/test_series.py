"""Folders of parcellated scans: every file is one scan of one person, or a problem with a name."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.io import savemat
from shared_data import shared

from brainjepa_core.atlas import Atlas, load_atlas, names_in_7network_order
from brainjepa_core.signals.inputs import series
from brainjepa_core.signals.inputs.passed_over import in_words
from brainjepa_core.signals.preparation import InputSettings
from brainjepa_core.signals.problems import ScanProblem

ATLAS = Atlas.from_names(["c", "a", "elsewhere"])
VALUES = np.random.default_rng(0).standard_normal((6, 3))


def settings(folder: Path, tr: float | None = 2.0, **more) -> InputSettings:
    names = folder / "names.txt"
    if not names.exists():
        names.write_text("a\nb\nc\n")
    return InputSettings(kind="series", folder=folder, names=names, tr=tr, **more)


def found(folder: Path, **more):
    return series.find(settings(folder, **more), ATLAS)


def save(file: Path, values: np.ndarray = VALUES) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    if file.suffix == ".npy":
        np.save(file, values)
    else:
        np.savetxt(file, values, delimiter="\t")
    return file


def test_a_folder_of_scans(tmp_path):
    save(tmp_path / "sub-01" / "sub-01_ses-2_task-rest_run-1_space-MNI_desc-x_timeseries.tsv")
    save(tmp_path / "sub-Zoë_task-rest.npy")
    save(tmp_path / "deep" / "er" / "anna.tsv")
    save(tmp_path / ".hidden" / "b.tsv")
    save(tmp_path / "phenotype" / "bdi.tsv")
    save(tmp_path / "sub-01_ses-2_task-rest_run-1_motion.tsv")
    save(tmp_path / "sub-01_ses-2_task-rest_run-1_stat-coverage_bold.tsv")
    (tmp_path / "participants.tsv").write_text("participant_id\nsub-01\n")
    (tmp_path / "README.md").write_text("none")
    scans, problems, _ = found(tmp_path)
    assert problems == []
    assert [scan.key for scan in scans] == [
        ("anna", "", ""),
        ("sub-01", "2", "task-rest_run-1"),
        ("sub-Zoë", "", "task-rest"),
    ]
    for scan in pickle.loads(pickle.dumps(scans)):
        assert (scan.check().frames, scan.check().tr) == (6, 2.0)
        raw = scan.read()
        assert np.array_equal(raw.series[:2], VALUES.T[[2, 0]])
        assert np.isnan(raw.series[2]).all() and raw.coverage[2] == 0
        assert np.isnan(raw.coverage[:2]).all() and np.isnan(raw.censored)
        assert np.isnan(raw.tsnr) and raw.fd is raw.keep is raw.regressors is None
    assert [scan.key[0] for scan in found(tmp_path, task="rest")[0]] == ["sub-01", "sub-Zoë"]
    (tmp_path / "none").mkdir()
    (tmp_path / "none" / "names.txt").write_text("a")
    assert found(tmp_path / "none") == ([], [], [])


def test_what_is_found_and_not_read_is_told(tmp_path):
    save(tmp_path / "sub-01_task-rest.npy")
    save(tmp_path / "sub-02_task-nback.npy")
    save(tmp_path / "sub-01_task-rest_motion.tsv")
    for name in ("sub-03.xlsx", "sub-04.xlsx", "sub-05.dat", "README", "a.json", "a.png"):
        (tmp_path / name).write_text("x")
    scans, problems, passed = found(tmp_path, task="rest")
    assert len(scans) == 1 and problems == []
    assert sorted(in_words(passed)) == [
        "1 passed over, such as sub-01_task-rest_motion.tsv: tables that are no series by their "
        "names",
        "1 passed over, such as sub-02_task-nback.npy: tasks other than rest (input.task)",
        "1 passed over, such as sub-05.dat: .dat is not read",
        "2 passed over, such as sub-03.xlsx: .xlsx is not read",
    ]


def test_visits_are_sessions_of_one_person(tmp_path):
    for name in ("HCA1_V1_MR", "HCA1_V2_MR", "100610_7T", "FAM_A"):
        save(tmp_path / f"{name}.npy")
    assert [scan.key for scan in found(tmp_path)[0]] == [
        ("100610", "7T", ""),
        ("FAM_A", "", ""),
        ("HCA1", "V1", ""),
        ("HCA1", "V2", ""),
    ]


@pytest.mark.parametrize("kind", [".npz", ".h5", ".mat"])
def test_a_repetition_time_in_a_file_is_in_seconds(tmp_path, kind):
    def write(tr):
        if kind == ".npz":
            np.savez(tmp_path / "x.npz", ts=VALUES, tr=tr)
        elif kind == ".mat":
            savemat(tmp_path / "x.mat", {"ts": VALUES, "TR": tr})
        else:
            with h5py.File(tmp_path / "x.h5", "w") as handle:
                handle["ts"] = VALUES
                handle["ts"].attrs["tr"] = tr

    write(0.8)
    assert found(tmp_path, tr=None)[0][0].check().tr == 0.8
    write(800.0)
    with pytest.raises(ScanProblem, match="and 20 seconds, found 800; write it in seconds"):
        found(tmp_path, tr=None)[0][0].check()


def test_links_in_a_circle_are_walked_once(tmp_path):
    save(tmp_path / "data" / "a.tsv")
    (tmp_path / "data" / "again").symlink_to(tmp_path / "data")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "linked").symlink_to(tmp_path / "data")
    scans, problems, _ = found(tmp_path / "folder")
    assert [scan.key[0] for scan in scans] == ["a"] and problems == []


def test_the_repetition_time_of_a_sidecar_unless_the_site_says_another(tmp_path):
    save(tmp_path / "a.tsv").with_suffix(".json").write_text(json.dumps({"RepetitionTime": 0.8}))
    (scan,), *_ = found(tmp_path, tr=None)
    assert scan.read().tr == scan.check().tr == 0.8
    assert found(tmp_path)[0][0].check().tr == 2.0
    (tmp_path / "a.json").unlink()
    with pytest.raises(ScanProblem, match=r"a.tsv: expected .*repetition time .* found none; .*tr"):
        scan.check()


def test_one_scan_twice_names_both_files(tmp_path):
    save(tmp_path / "sub-01_desc-a_timeseries.tsv")
    save(tmp_path / "x" / "sub-01_desc-b_timeseries.npy")
    save(tmp_path / "sub-02.tsv")
    scans, (problem,), _ = found(tmp_path)
    assert [scan.key[0] for scan in scans] == ["sub-02"]
    assert "sub-01_desc-a_timeseries.tsv" in str(problem)
    assert "sub-01_desc-b_timeseries.npy" in str(problem)


def test_bad_files_are_problems_and_others_go_on(tmp_path):
    (tmp_path / "empty.tsv").touch()
    (tmp_path / "empty.npz").touch()
    save(tmp_path / "good.npy")
    save(tmp_path / "narrow.tsv", VALUES[:, :2])
    save(tmp_path / "one.npy", VALUES[:1])
    gaps = VALUES.copy()
    gaps[2, 0] = np.nan
    save(tmp_path / "gaps.tsv", gaps)
    save(tmp_path / "flat.tsv", np.zeros((6, 3)))
    (tmp_path / "text.tsv").write_text("1\t2\t3\n4\t5\t6\n7\t8\t9\n1\tx\t3\n")
    scans, problems, _ = found(tmp_path)
    assert [str(problem)[:48] for problem in problems] == [
        "empty.npz: expected numbers, one row a frame, fo"
    ]
    errors = {}
    for scan in scans:
        for step in (scan.check, scan.read):
            try:
                step()
            except ScanProblem as problem:
                errors.setdefault(scan.subject, f"{step.__name__}: {problem}")
    assert set(errors) == {"empty", "narrow", "one", "gaps", "flat", "text"}
    assert (
        "check: narrow.tsv: expected 3 columns, one a name, found shape [6, 2]" in errors["narrow"]
    )
    assert errors["one"].startswith("check: one.npy: expected at least 3 frames, found 1;")
    assert errors["gaps"].startswith("read: gaps.tsv: expected finite numbers, or n/a in all frame")
    assert "found gaps in a; interpolate" in errors["gaps"]
    assert "found no ROI with a signal" in errors["flat"]
    assert errors["text"].startswith(
        "read: text.tsv: expected numbers, one row a frame, found text"
    )


def test_names_that_cannot_be_used_are_a_problem_of_all(tmp_path):
    save(tmp_path / "a.tsv")
    for content, error in (
        (
            b"x\ny\n",
            "expected ROI names of atlas 'named list' such as c, a, elsewhere, found x, y;",
        ),
        (b"a\na\n", "expected ROI names that are non-empty and different, found repeated: a;"),
        (b"", "found an empty list or name; give every ROI its own name"),
        (
            b"\xff",
            "expected ROI names in UTF-8, one a line, found bytes that are not text",
        ),
    ):
        (tmp_path / "names.txt").write_bytes(content)
        with pytest.raises(ScanProblem, match=rf"^names.txt: .*{error}"):
            found(tmp_path)


def test_files_of_several_scans(tmp_path):
    with h5py.File(tmp_path / "all.h5", "w") as handle:
        handle["sub-01/ses-1/task-rest"] = VALUES
        handle["sub-01/ses-2/task-rest"] = VALUES + 1
    np.savez(tmp_path / "more.npz", p1=VALUES, p2=VALUES)
    np.savez(tmp_path / "sub-05_ses-3.npz", first=VALUES, second=VALUES)
    lengths = {"lengths": [2, 4], "participant_id": ["q1", "q2"], "roi": ["b", "c", "a"], "tr": 0.7}
    np.savez(tmp_path / "site.npz", ts=VALUES, **lengths)
    scans, problems, _ = found(tmp_path, tr=None)
    assert problems == []
    assert [scan.key for scan in scans] == [
        ("p1", "", ""),
        ("p2", "", ""),
        ("q1", "", ""),
        ("q2", "", ""),
        ("sub-01", "1", "task-rest"),
        ("sub-01", "2", "task-rest"),
        ("sub-05", "3", "first"),
        ("sub-05", "3", "second"),
    ]
    by_key = {scan.key: scan for scan in found(tmp_path)[0]}
    assert np.array_equal(by_key["sub-01", "2", "task-rest"].read().series[0], VALUES[:, 2] + 1)
    assert np.array_equal(by_key["q2", "", ""].read().series[0], VALUES[2:, 1])
    assert scans[3].check().tr == 0.7 and by_key["q2", "", ""].check().tr == 2.0


def test_stages_by_name(tmp_path):
    """A file of 55 scans; 400 columns in 7-network order, 19 that nobody can name."""
    file = shared("data", "stages419", "stages_ses-1_419.npz")
    names = tmp_path / "names.txt"
    subcortex = [f"subcortex {i}" for i in range(19)]
    names.write_text("\n".join([*names_in_7network_order()[50:], *subcortex]))
    atlas = load_atlas()
    given = InputSettings(kind="series", folder=file.parent, names=names, tr=2.0)
    scans, problems, _ = series.find(given, atlas)
    assert len(scans) == 55 and problems == []
    assert {scan.key[1:] for scan in scans} == {("1", "")}
    raw = scans[7].read()
    with np.load(file) as whole:
        ts, people = whole["ts"], whole["participant_id"]
    place = people.tolist().index(scans[7].subject)
    row = atlas.rois.index(names_in_7network_order()[50])
    assert np.array_equal(raw.series[row], ts[place, :, 0].astype(np.float64))
    assert np.isnan(raw.series[:50]).all() and (raw.coverage[:50] == 0).all()
    assert np.isnan(raw.coverage[50:]).all()
    assert scans[7].check().frames == 234


@given(
    st.sampled_from([".tsv", ".csv.gz", ".npy", ".npz", ".h5"]),
    st.binary(max_size=60) | st.text("0123.\tabc\n", max_size=40).map(str.encode),
)
def test_garbage_raises_nothing_but_problems(tmp_path_factory, kind, content):
    folder = tmp_path_factory.mktemp("garbage")
    (folder / f"x{kind}").write_bytes(content)
    scans, problems, _ = found(folder)
    for scan in scans:
        for step in (scan.check, scan.read):
            try:
                step()
            except ScanProblem as problem:
                problems.append(problem)
    assert all("expected " in str(problem) for problem in problems)
