"""HCP-style folders: which files are taken, what they hold."""

from __future__ import annotations

import pickle
import shutil

import nibabel as nib
import numpy as np
import pytest
from nibabel.cifti2 import ParcelsAxis, SeriesAxis

from brainjepa_core.atlas import load_atlas
from brainjepa_core.signals.inputs.hcp import find
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
    (scan,), (problem,) = found(tree, folder)
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


@pytest.mark.parametrize("spoilt", ["nan", "0,1", "1_0", ""])
def test_motion_without_a_number_is_a_problem(tree, folder, spoilt):
    (scan,), _ = found(tree, folder)
    lines = scan.files[1].read_text().splitlines()
    scan.files[1].write_text("\n".join([*lines[:3], spoilt, *lines[4:]]) + "\n")
    with pytest.raises(ScanProblem, match=r"Movement_RelativeRMS.txt: expected .* copy|give the"):
        scan.read()


def test_motion_that_was_not_fetched_is_no_motion_left_out(tree, folder):
    (scan,), _ = found(tree, folder)
    scan.files[1].unlink()
    scan.files[1].symlink_to("../.git/annex/objects/nowhere")
    (scan,), _ = found(tree, folder)
    with pytest.raises(ScanProblem, match="found a link to a file that is not there; fetch its"):
        scan.read()


def test_another_task(tree, folder):
    (scan,), problems = found(tree, folder, task="WM")
    assert scan.run == "tfMRI_WM_LR" and problems == []


@pytest.mark.parametrize(
    "content, text",
    [("0.1\n0.2\n", "lines, one a frame, found 2; give the file of this run"), ("a\n", "a number")],
)
def test_motion_of_another_run(tree, folder, content, text):
    (scan,), _ = found(tree, folder)
    scan.files[1].write_text(content)
    with pytest.raises(ScanProblem, match=f"Movement_RelativeRMS.txt: expected .*{text}"):
        scan.read()


def test_no_motion_file(tree, folder):
    for file in folder.rglob("Movement_RelativeRMS.txt"):
        file.unlink()
    (scan,), _ = found(tree, folder)
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
    (scan,), problems = found(tree, folder, label_image=None)
    assert problems == [] and scan.check().tr == 0.8
    raw = scan.read()
    np.testing.assert_array_equal(raw.series, series[:, :-1].T[::-1])
