"""Walking a BIDS dataset: keys, accents, repetition times, copies."""

from __future__ import annotations

import json
import os
import unicodedata
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brainjepa_core.signals.inputs.bids import (
    read_sidecar,
    repetition_time,
    walk_functional,
    without_copies,
)
from brainjepa_core.signals.inputs.parcellated import walk
from brainjepa_core.signals.problems import ScanProblem


def touch(root: Path, *names: str) -> None:
    for name in names:
        subject, session = name.split("_")[0], name.split("_")[1]
        folder = root / subject / (session if session.startswith("ses-") else "") / "func"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def keys(root: Path) -> list[tuple[str, str, str]]:
    return [file.key for file in walk_functional(root)[0]]


def test_keys_tell_scans_apart_and_not_versions_of_one(tmp_path):
    root = tmp_path / "fmriprep-23.2.1"  # a dot in the folder's name is common
    touch(
        root,
        "sub-01_task-rest_run-01_space-MNI152NLin6Asym_res-2_desc-preproc_bold.nii.gz",
        "sub-01_task-rest_run-01_desc-confounds_timeseries.tsv",
        "sub-01_task-rest_acq-mb_dir-AP_run-02_space-fsLR_den-91k_bold.dtseries.nii",
        "sub-02_ses-b_task-rest_bold.json",
        "sub-02_ses-b_task-rest_atlas-Tian_stat-mean_timeseries.tsv",
    )
    touch(root, "sub-A.1_task-rest_bold.nii.gz")  # no label of BIDS, and yet somebody's
    (root / "sub-01" / "anat").mkdir()
    (root / "sub-01" / "anat" / "sub-01_desc-preproc_T1w.nii.gz").touch()
    (root / "sub-01.html").touch()
    (root / "sub-01" / "func" / "notes.txt").touch()
    assert keys(root) == [
        ("sub-01", "", "task-rest_acq-mb_dir-AP_run-02"),
        ("sub-01", "", "task-rest_run-01"),
        ("sub-01", "", "task-rest_run-01"),
        ("sub-02", "b", "task-rest"),
        ("sub-02", "b", "task-rest"),
        ("sub-A.1", "", "task-rest"),
    ]


def test_accents_are_the_same_person_however_they_are_written(tmp_path):
    for form in ("NFC", "NFD"):
        touch(tmp_path / form, unicodedata.normalize(form, "sub-Jürgen_task-rest_bold.nii.gz"))
        assert keys(tmp_path / form) == [("sub-Jürgen", "", "task-rest")]


def test_a_name_in_another_encoding_is_a_problem_and_the_others_go_on(tmp_path):
    touch(tmp_path, "sub-01_task-rest_bold.nii.gz")
    folder = os.fsencode(tmp_path / "sub-01" / "func")
    with open(folder + b"/sub-01_task-J\xfcrgen_bold.nii.gz", "w"):
        pass
    files, problems = walk_functional(tmp_path)
    assert len(files) == 1
    text = "expected a file name in UTF-8, found bytes of another encoding; rename the file"
    assert [text in str(problem) for problem in problems] == [True]


def sidecar(folder: Path, content: object) -> Path:
    path = folder / "bold.json"
    path.write_text(json.dumps(content))
    return path


@pytest.mark.parametrize(
    "header, beside, told, expected",
    [
        (2.0, {"RepetitionTime": 2.0}, None, 2.0),
        (0.73500001, {"RepetitionTime": 0.735}, None, 0.735),
        (0.0, {"RepetitionTime": 3}, None, 3.0),
        (float("nan"), {"RepetitionTime": 3}, None, 3.0),
        (2.5, {}, None, 2.5),
        (2.5, {"RepetitionTime": 800}, 0.8, 0.8),
    ],
)
def test_repetition_time(tmp_path, header, beside, told, expected):
    path = sidecar(tmp_path, beside)
    assert repetition_time(tmp_path / "bold.nii.gz", header, path, told) == expected


@pytest.mark.parametrize(
    "header, beside, text",
    [
        (2.0, {"RepetitionTime": 0.8}, r"bold.json: expected RepetitionTime 2 s, as in the image'"),
        (2.0, {"RepetitionTime": 2000}, r"between 0.1 and 20 seconds, found 2000; write it in sec"),
        (2.0, {"RepetitionTime": "2"}, r"RepetitionTime in seconds, found RepetitionTime '2'; wri"),
        (2.0, {"RepetitionTime": True}, "found RepetitionTime True"),
        (0.0, {}, r"bold.nii.gz: expected the header's repetition time between .* found none; wri"),
        (float("nan"), {}, "found none"),
        (2.0, [2.0], "expected a JSON object, found a list; write the sidecar again, or remove it"),
    ],
)
def test_repetition_times_that_cannot_be(tmp_path, header, beside, text):
    path = sidecar(tmp_path, beside)
    with pytest.raises(ScanProblem, match=text):
        repetition_time(tmp_path / "bold.nii.gz", header, path)


@given(content=st.binary(max_size=60))
def test_any_sidecar_is_read_or_refused(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("sidecar") / "bold.json"
    path.write_bytes(content)
    try:
        assert isinstance(read_sidecar(path), dict)
    except ScanProblem as problem:
        assert str(problem).startswith("bold.json: expected a ")


def test_copies_are_named_and_neither_is_taken():
    @dataclass(frozen=True)
    class Scan:
        key: tuple[str, str, str]
        files: tuple[Path, ...]

    one = Scan(("sub-01", "", "rest"), (Path("a_res-1.nii.gz"),))
    same = Scan(("sub-01", "", "rest"), (Path("a_res-2.nii.gz"),))
    other = Scan(("sub-02", "", "rest"), (Path("b.nii.gz"),))
    scans, problems = without_copies([one, same, other])
    assert scans == [other]
    assert [str(problem) for problem in problems] == [
        "a_res-1.nii.gz: expected one file of a subject, session and run, found also "
        "a_res-2.nii.gz; move away all but one"
    ]


def test_folders_that_cannot_be_listed_are_problems_and_the_others_go_on(tmp_path, monkeypatch):
    touch(tmp_path, "sub-01_task-rest_bold.nii.gz", "sub-02_task-rest_bold.nii.gz")
    closed = str(tmp_path / "sub-01" / "func")
    listdir, scandir = os.listdir, os.scandir

    def refuse(true):
        def refusing(path):
            if os.fspath(path) == closed:
                raise PermissionError(13, "Permission denied", closed)
            return true(path)

        return refusing

    monkeypatch.setattr(os, "listdir", refuse(listdir))
    monkeypatch.setattr(os, "scandir", refuse(scandir))
    for files, problems in (walk_functional(tmp_path), walk(tmp_path, lambda _: True)):
        assert len(files) == 1
        assert list(map(str, problems)) == [
            "func: expected a folder that can be listed, found no permission to open it; give "
            "whoever prepares the right to read it"
        ]
