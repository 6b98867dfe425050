"""Slices of a scan with the atlas on them: the right voxels, turned the right way."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest

from brainjepa_core.atlas import Atlas
from brainjepa_core.signals.images.alignment import FRAMES, alignment
from brainjepa_core.signals.images.label_image import LabelImage
from brainjepa_core.signals.images.nifti_stream import read_header
from brainjepa_core.signals.problems import ScanProblem

SHAPE = (10, 12, 8)
ATLAS = Atlas.from_names(["a", "b"])
AFFINES = {
    "left is first": np.diag([2.0, 2.0, 3.0, 1.0]),
    "right is first": np.diag([-2.0, 2.0, 3.0, 1.0]),
    "back and upside down": np.diag([2.0, -2.0, -3.0, 1.0]),
}


@pytest.mark.parametrize("affine", AFFINES.values(), ids=AFFINES)
def test_slices_are_those_of_the_world_whatever_the_order_of_the_file(tmp_path, affine):
    """A voxel's signal says how high it is in the world, its label whether on the right."""
    ijk = np.moveaxis(np.indices(SHAPE), 0, -1)
    world = nib.affines.apply_affine(affine, ijk)
    labels = np.zeros(SHAPE, np.int16)
    inside = (slice(2, 8), slice(2, 10), slice(1, 7))
    right = world[..., 0] > np.median(world[..., 0])
    labels[inside] = 1 + right[inside]
    signal = np.stack([world[..., 2]] * (FRAMES + 5), -1).astype(np.float32)
    signal[..., FRAMES:] = 999  # later frames are not read
    nib.save(nib.Nifti1Image(labels, affine), tmp_path / "atlas.nii.gz")
    nib.save(nib.Nifti1Image(signal, affine), tmp_path / "bold.nii.gz")
    atlas = LabelImage(tmp_path / "atlas.nii.gz", ATLAS)
    voxels = atlas.on_grid(tmp_path / "bold.nii.gz", read_header(tmp_path / "bold.nii.gz")).voxels
    tsnr = world[..., 2].ravel(order="F")[voxels]
    found = alignment(tmp_path / "bold.nii.gz", atlas, tsnr)
    side, front, above = found[0], found[2], found[-1]
    assert len(found) == 7
    assert side.image.shape == (8, 12) and front.image.shape == (8, 10)
    assert above.image.shape == (12, 10)
    for one in (side, front):  # up is up
        assert (np.diff(one.image, axis=0) < 0).all() and one.aspect == pytest.approx(1.5)
        assert np.array_equal(one.tsnr, np.where(one.rois > 0, one.image, np.nan), equal_nan=True)
    for one in (front, above):  # the right is on the right
        assert one.rois[:, :5].max() == 1 and one.rois[:, 5:].max() == 2
    assert above.aspect == 1.0 and (above.rois[0] == 0).all()


def test_a_scan_that_cannot_be_read_is_a_problem_of_it(tmp_path):
    noise = np.random.default_rng(0).normal(size=(*SHAPE, FRAMES + 5)).astype(np.float32)
    affine, bold = AFFINES["left is first"], tmp_path / "bold.nii.gz"
    nib.save(nib.Nifti1Image(np.ones(SHAPE, np.int16), affine), tmp_path / "atlas.nii.gz")
    nib.save(nib.Nifti1Image(noise, affine), bold)
    bold.write_bytes(bold.read_bytes()[: bold.stat().st_size // 2])
    with pytest.raises(ScanProblem, match="expected an image that can be read"):
        alignment(bold, LabelImage(tmp_path / "atlas.nii.gz", Atlas.from_names(["a"])), np.ones(1))
