"""HCP-style folders: which files are taken, what they hold."""

from __future__ import annotations

import pickle
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from nibabel.cifti2 import ParcelsAxis, SeriesAxis

from brainjepa_core.atlas import load_atlas
from brainjepa_core.signals.inputs.hcp.scans import find
from brainjepa_core.signals.inputs.passed_over import in_words
from brainjepa_core.signals.preparation import InputSettings
from brainjepa_core.signals.problems import ScanProblem


@pytest.fixture
def folder(tree, tmp_path):
    """Two subjects with a run each, one of them uncleaned; and a task that is not rest."""
    painted = next(scan for scan in tree.scans.values() if scan.cifti_truth is not None)
    for subject, run, versions in (
        ("100307", "rfMRI_REST1_LR", ("_Atlas", "_Atlas_hp2000_clean", "_Atlas_MSMAll_hp2_clean")),
        ("100408", "rfMRI_REST1_RL", ("_Atlas",)),
        ("100307", "tfMRI_WM_LR", ("_Atlas_MSMAll_clean",)),
    ):
        place = tmp_path / "hcp" / subject / "MNINonLinear" / "Results" / run
        place.mkdir(parents=True)
        for version in versions:
            shutil.copy(painted.cifti, place / f"{run}{version}.dtseries.nii")
        np.savetxt(place / "Movement_RelativeRMS.txt", np.full(painted.truth.shape[1], 0.1))
    return tmp_path / "hcp"


def found(tree, folder, **changes):
    source = dict(kind="hcp", folder=folder, label_image=tree.cifti_labels)
    return find(InputSettings(**{**source, **changes}), load_atlas(tree.atlas_table))


def test_the_most_processed_resting_runs(tree, folder):
    (scan,), (problem,), _ = found(tree, folder)
    assert scan.key == ("100307", "", "rfMRI_REST1_LR")
    assert scan.files[0].name == "rfMRI_REST1_LR_Atlas_MSMAll_hp2_clean.dtseries.nii"
    assert str(problem) == (
        "rfMRI_REST1_RL_Atlas.dtseries.nii: expected a cleaned series of the run "
        "(..._clean.dtseries.nii), found only uncleaned ones; run ICA-FIX, or give the data as "
        "fMRIPrep derivatives with confounds"
    )
    painted = next(s for s in tree.scans.values() if s.cifti_truth is not None)
    raw = pickle.loads(pickle.dumps(scan)).read()
    np.testing.assert_allclose(raw.series, painted.cifti_truth, rtol=0, atol=1e-4)
    assert raw.tr == painted.tr == scan.check().tr
    np.testing.assert_array_equal(raw.fd, 0.1)


@pytest.mark.parametrize(
    ("spoilt", "text"),
    [
        ("nan", "every frame but the first, found 1 of 30 frames without a number; take the"),
        ("0,1", "a number a line, with a point, found a decimal comma in line 4; copy the file"),
        ("1_0", "a number a line, with a point, found text in line 4; copy the file again"),
        ("-1", "framewise_displacement of 0 mm or more, found 1 of 30 frames below; write n/a"),
        ("", "30 lines, one a frame, found 29; give the file of this run"),
    ],
)
def test_motion_without_a_number_is_a_problem(tree, folder, spoilt, text):
    (scan,), *_ = found(tree, folder)
    lines = scan.files[1].read_text().splitlines()
    scan.files[1].write_text("\n".join([*lines[:3], spoilt, *lines[4:]]) + "\n")
    with pytest.raises(ScanProblem, match=f"Movement_RelativeRMS.txt: expected .*{text}"):
        scan.read()


def test_motion_that_is_known_of_no_frame_is_unknown(tree, folder):
    (scan,), *_ = found(tree, folder)
    scan.files[1].write_text("0\n" + "nan\n" * (scan.check().frames - 1))
    assert scan.read().fd is None


def paint(tree, folder, visit, run, version="_Atlas_MSMAll_hp0_clean"):
    painted = next(scan for scan in tree.scans.values() if scan.cifti_truth is not None)
    place = folder / visit / "MNINonLinear" / "Results" / run
    place.mkdir(parents=True, exist_ok=True)
    return Path(shutil.copy(painted.cifti, place / f"{run}{version}.dtseries.nii"))


@pytest.mark.parametrize(
    ("joined", "parts"),
    [
        ("rfMRI_REST", ["rfMRI_REST1_AP", "rfMRI_REST1_PA"]),
        ("rfMRI_REST", ["rfMRI_REST1a_AP", "rfMRI_REST1b_AP"]),
        ("rfMRI_REST_7T", ["rfMRI_REST1_7T_PA", "rfMRI_REST2_7T_AP"]),
        ("rfMRI_REST1_RL_LR", ["rfMRI_REST1_LR", "rfMRI_REST1_RL"]),
        ("rfMRI_REST1", ["rfMRI_REST1_LR", "rfMRI_REST1_RL"]),
        ("rfMRI_REST_hp0_clean", ["rfMRI_REST1_LR"]),
        ("rfMRI_CONCAT_ALL", ["rfMRI_REST1_LR"]),
        ("tfMRI_rfMRI_CONCAT", ["rfMRI_REST1_LR"]),
    ],
)
def test_what_is_joined_from_runs_is_left_out_and_told(tree, tmp_path, joined, parts):
    for run in (joined, *parts):
        paint(tree, tmp_path / "joined", "HCA1_V1_MR", run)
    scans, problems, passed = found(tree, tmp_path / "joined")
    assert [scan.run for scan in scans] == sorted(parts) and problems == []
    (note,) = in_words(passed)
    assert note.startswith(f"1 passed over, such as {joined}_Atlas_MSMAll_hp0_clean.dtseries.nii: ")
    assert "joined from runs" in note or "rest and tasks in one" in note


@pytest.mark.parametrize(
    "runs",
    [
        ["rfMRI_REST"],  # some releases have it alone
        ["rfMRI_REST", "rfMRI_REST1_7T_PA"],  # of another scanner
        ["rfMRI_REST1_LR", "rfMRI_REST10_LR"],
        ["rfMRI_REST1_LR", "rfMRI_REST1_RL", "rfMRI_REST2_LR"],
    ],
)
def test_what_is_not_joined_is_taken(tree, tmp_path, runs):
    for run in runs:
        paint(tree, tmp_path / "single", "100307", run)
    scans, problems, passed = found(tree, tmp_path / "single")
    assert [scan.run for scan in scans] == sorted(runs) and problems == passed == []


def test_a_joined_run_stands_for_runs_that_are_there_uncleaned(tree, tmp_path):
    paint(tree, tmp_path / "mixed", "HCD1_V1_MR", "rfMRI_REST")
    paint(tree, tmp_path / "mixed", "HCD1_V1_MR", "rfMRI_REST1_AP", "_Atlas")
    (scan,), problems, passed = found(tree, tmp_path / "mixed")
    assert scan.key == ("HCD1", "V1", "rfMRI_REST") and problems == passed == []


def test_rest_and_tasks_in_one_are_taken_by_name_only(tree, tmp_path):
    paint(tree, tmp_path / "all", "100307", "tfMRI_rfMRI_CONCAT")
    scans, problems, passed = found(tree, tmp_path / "all")
    assert scans == problems == [] and "name what is in it as input.task" in in_words(passed)[0]
    assert len(found(tree, tmp_path / "all", task="CONCAT")[0]) == 1


def test_visits_are_sessions_of_one_person(tree, tmp_path):
    visits = ["HCA1_V1_MR", "HCA1_V2_MR", "HCD2_MR", "100610_7T", "100610_3T", "HCA3_V1_X1_MR"]
    for visit in (*visits, "FAM_A"):
        paint(tree, tmp_path / "visits", visit, "rfMRI_REST1_AP")
    scans, problems, _ = found(tree, tmp_path / "visits")
    assert problems == [] and [scan.key[:2] for scan in scans] == [
        ("100610", "3T"),
        ("100610", "7T"),
        ("FAM_A", ""),
        ("HCA1", "V1"),
        ("HCA1", "V2"),
        ("HCA3", "V1X1"),
        ("HCD2", ""),
    ]


def test_two_folders_of_one_visit_are_told(tree, tmp_path):
    for visit in ("HCA1_V1", "HCA1_V1_MR"):
        paint(tree, tmp_path / "twice", visit, "rfMRI_REST1_AP")
    scans, (problem,), _ = found(tree, tmp_path / "twice")
    assert scans == [] and "expected one file of a subject, session and run" in str(problem)


def dense(tree, file, vertices):
    """A series on another surface: the painted one's left cortex, on more vertices."""
    left = nib.cifti2.BrainModelAxis.from_surface(np.arange(vertices), vertices, "CortexLeft")
    values = np.ones((20, vertices), np.float32)
    nib.save(nib.Cifti2Image(values, (SeriesAxis(0, 1.0, 20), left)), file)


def test_the_version_on_the_labels_surface_is_taken(tree, tmp_path):
    run = "rfMRI_REST1_7T_PA"
    fits = paint(tree, tmp_path / "7T", "100610", run, "_Atlas_MSMAll_hp2000_clean")
    dense(tree, fits.with_name(f"{run}_Atlas_1.6mm_MSMAll_hp2000_clean.dtseries.nii"), 900)
    (scan,), problems, _ = found(tree, tmp_path / "7T")
    assert scan.files[0] == fits and problems == []
    assert np.isfinite(scan.read().series).any()


def test_a_run_on_another_surface_shows_by_its_header(tree, tmp_path):
    run = "rfMRI_REST1_7T_PA"
    file = paint(tree, tmp_path / "7T", "100610", run, "_Atlas_1.6mm_MSMAll_hp2000_clean")
    dense(tree, file, 900)
    (scan,), *_ = found(tree, tmp_path / "7T")
    with pytest.raises(ScanProblem, match=r"a hemisphere, as in .*dlabel.nii, found 900 in"):
        scan.check()


def test_versions_of_which_none_fits_are_both_named(tree, tmp_path):
    run = "rfMRI_REST1_7T_PA"
    one = paint(tree, tmp_path / "7T", "100610", run, "_Atlas_MSMAll_hp2000_clean")
    other = one.with_name(f"{run}_Atlas_1.6mm_MSMAll_hp2000_clean.dtseries.nii")
    dense(tree, one, 800)
    dense(tree, other, 900)
    scans, (problem,), _ = found(tree, tmp_path / "7T")
    assert scans == [] and f"found 800 in {one.name}, 900 in {other.name}; give lab" in str(problem)


def test_motion_that_was_not_fetched_is_no_motion_left_out(tree, folder):
    (scan,), *_ = found(tree, folder)
    scan.files[1].unlink()
    scan.files[1].symlink_to("../.git/annex/objects/nowhere")
    (scan,), *_ = found(tree, folder)
    with pytest.raises(ScanProblem, match="found a link to a file that is not there; fetch its"):
        scan.read()


def test_another_task(tree, folder):
    (scan,), problems, passed = found(tree, folder, task="WM")
    assert scan.run == "tfMRI_WM_LR" and problems == passed == []


@pytest.mark.parametrize(
    "content, text",
    [
        ("0.1\n0.2\n", "lines, one a frame, found 2; give the file of this run"),
        ("a\n", "a number a line, with a point, found text in line 1"),
    ],
)
def test_motion_of_another_run(tree, folder, content, text):
    (scan,), *_ = found(tree, folder)
    scan.files[1].write_text(content)
    with pytest.raises(ScanProblem, match=f"Movement_RelativeRMS.txt: expected .*{text}"):
        scan.read()


def test_no_motion_file(tree, folder):
    for file in folder.rglob("Movement_RelativeRMS.txt"):
        file.unlink()
    (scan,), *_ = found(tree, folder)
    assert scan.read().fd is None and len(scan.files) == 1


def test_series_of_named_parcels_need_no_label_image(tree, folder):
    atlas = load_atlas(tree.atlas_table)
    frames = 20
    series = np.random.default_rng(0).standard_normal((frames, len(atlas) + 1)).astype(np.float32)
    names = [*reversed(atlas.rois), "brain stem"]  # another order, and one region more
    parcels = ParcelsAxis(
        np.array(names), [np.zeros((0, 3), int)] * len(names), [{} for _ in names],
        affine=np.eye(4), volume_shape=(2, 2, 2),
    )  # fmt: skip
    image = nib.Cifti2Image(series, (SeriesAxis(0, 0.8, frames), parcels))
    run = next(folder.glob("100307/MNINonLinear/Results/rfMRI*"))
    nib.save(image, run / f"{run.name}_Atlas_hp0_clean_own.ptseries.nii")
    (run / "Movement_RelativeRMS.txt").unlink()
    (scan,), problems, _ = found(tree, folder, label_image=None)
    assert problems == [] and scan.check().tr == 0.8
    raw = scan.read()
    np.testing.assert_array_equal(raw.series, series[:, :-1].T[::-1])
