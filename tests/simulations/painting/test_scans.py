"""Painted images carry the series they were given: nibabel, nilearn and naive means agree."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st
from nilearn.maskers import NiftiLabelsMasker
from scipy.ndimage import label

from brainjepa_core.atlas import Atlas, load_atlas
from brainjepa_simulations.cohort.traits import Population
from brainjepa_simulations.painting.scans import LabelVolume, Painting, nifti_bytes, paint

DEMO = Population.of_size(48, 6, 4).rois


def volume_of(rois=DEMO) -> LabelVolume:
    return LabelVolume.of(Atlas.from_names(rois))


def series_of(rois: int, frames: int, seed: int = 0):
    return 1000 + 10 * np.random.default_rng(seed).standard_normal((rois, frames))


def read(painting: Painting, folder) -> nib.Nifti1Image:
    (folder / "bold.nii.gz").write_bytes(nifti_bytes(painting.image(2.5)))
    return nib.load(folder / "bold.nii.gz")


def naive_means(values, labels, numbers):
    """Frame by frame, ROI by ROI, voxel by voxel."""
    means = np.zeros((len(numbers), values.shape[3]))
    for row, number in enumerate(numbers):
        voxels = [tuple(at) for at in np.argwhere(labels == number)]
        for frame in range(values.shape[3]):
            total = sum(float(values[(*at, frame)]) for at in voxels)
            means[row, frame] = total / len(voxels)
    return means


@pytest.mark.parametrize("names", [DEMO, load_atlas().rois, [f"cc200_{i}" for i in range(9)]])
def test_rois_are_compact_blobs_on_their_side(names):
    volume = volume_of(names)
    assert sorted(set(np.unique(volume.labels)) - {0}) == list(range(1, len(names) + 1))
    for number, (roi, centre, side) in enumerate(
        zip(
            volume.atlas.rois, volume.atlas.centroids, Atlas.from_names(names).hemispheres, strict=1
        ),
        start=1,
    ):
        blob = volume.labels == number
        assert 4 <= blob.sum() <= 8 and label(blob)[1] == 1
        places = nib.affines.apply_affine(volume.affine, np.argwhere(blob))
        np.testing.assert_allclose(centre, places.mean(0), atol=1e-3, err_msg=roi)
        assert side == "n/a" or (places[:, 0].max() < 0) == (side == "L")
        assert np.ptp(places, axis=0).max() <= 4.0
    assert volume.brain[volume.labels > 0].all() and volume.brain.sum() > (volume.labels > 0).sum()
    edge = np.ones_like(volume.brain)
    edge[1:-1, 1:-1, 1:-1] = False
    assert not volume.brain[edge].any()


def test_grids_are_small():
    assert volume_of().labels.size <= 20 * 24 * 20
    assert volume_of(load_atlas().rois).labels.size <= 20 * 24 * 20


@pytest.mark.parametrize("storage", ["int16", pytest.param("float32", marks=pytest.mark.slow)])
def test_the_means_of_the_file_are_the_truth(tmp_path, storage):
    volume = volume_of()
    wanted = series_of(48, 12)
    painting = paint(wanted, volume, np.random.default_rng(1), storage=storage)
    image = read(painting, tmp_path)
    assert image.get_data_dtype() == storage and image.shape == (*volume.labels.shape, 12)
    assert image.header.get_zooms() == (4.0, 4.0, 4.0, 2.5)
    assert image.header.get_xyzt_units() == ("mm", "sec")
    assert (image.header["sform_code"], image.header["qform_code"]) == (4, 4)
    values = image.get_fdata()
    found = naive_means(values, volume.labels, volume.numbers)
    np.testing.assert_allclose(found, painting.truth, rtol=0, atol=1e-9)
    np.testing.assert_allclose(
        found, wanted, rtol=0, atol=painting.slope / 2 if storage == "int16" else 1e-4
    )
    # Voxels differ from one another, in time and in their level.
    voxels = values.reshape(-1, 12)[volume.voxels[0]]
    assert np.std(voxels - voxels.mean(0), axis=1).min() > 1
    assert not values[~volume.brain].any() and values[volume.brain].std() > 1


@pytest.mark.slow
@pytest.mark.parametrize("storage", ["int16", "float32"])
def test_nilearn_finds_the_truth(tmp_path, storage):
    volume = volume_of()
    painting = paint(series_of(48, 10), volume, np.random.default_rng(2), storage=storage)
    mask = volume.mask_image(painting.brain)
    masker = NiftiLabelsMasker(volume.image(), mask_img=mask, reports=False)
    found = masker.fit_transform(read(painting, tmp_path))
    tolerance = 1e-6 if storage == "int16" else 1e-3  # nilearn adds up float32 in float32
    np.testing.assert_allclose(found.T, painting.truth, rtol=0, atol=tolerance)


@given(
    seed=st.integers(0, 2**32 - 1),
    rois=st.integers(2, 12),
    frames=st.integers(1, 9),
    level=st.sampled_from([0.0, -3.0, 1e4, 1e-3]),
    storage=st.sampled_from(["int16", "float32"]),
)
@examples(max_examples=20)
def test_any_series_come_back(seed, rois, frames, level, storage):
    rng = np.random.default_rng(seed)
    volume = volume_of([f"Net01_{'LR'[i % 2]}H_{i}" for i in range(rois)])
    wanted = level + rng.standard_normal((rois, frames))
    wanted[rng.random(rois) < 0.2] = np.nan
    painting = paint(wanted, volume, rng, storage=storage)
    image = nib.Nifti1Image.from_bytes(painting.image(1.0).to_bytes())
    found = naive_means(image.get_fdata(), volume.labels, volume.numbers)
    missing = np.isnan(wanted[:, 0])
    np.testing.assert_array_equal(found[missing], 0)
    np.testing.assert_array_equal(np.isnan(painting.truth), np.isnan(wanted))
    np.testing.assert_allclose(found[~missing], painting.truth[~missing], rtol=0, atol=1e-9)
    # int16 rounds by half a step of the range of values, which 0 belongs to
    span = np.ptp(image.get_fdata())
    allowed = span / 60_000 if storage == "int16" else span * 2**-22
    np.testing.assert_allclose(found[~missing], wanted[~missing], rtol=0, atol=allowed + 1e-9)
    np.testing.assert_array_equal(volume.coverage(painting.brain), ~missing)


def test_the_same_seed_gives_the_same_bytes():
    volume, wanted = volume_of(), series_of(48, 6)
    one, again, other = (
        nifti_bytes(paint(wanted, volume, np.random.default_rng(seed)).image(2.0))
        for seed in (0, 0, 1)
    )
    assert one == again != other


def test_other_numbers_name_the_same_voxels():
    volume = volume_of()
    numbers = tuple(range(1000, 1000 - 48 * 3, -3))
    other = volume.relabelled(numbers)
    assert other.numbers == numbers and other.atlas == volume.atlas
    for before, after in zip(volume.numbers, numbers, strict=True):
        np.testing.assert_array_equal(volume.labels == before, other.labels == after)
    wanted = series_of(48, 5)
    np.testing.assert_array_equal(
        paint(wanted, volume, np.random.default_rng(0)).truth,
        paint(wanted, other, np.random.default_rng(0)).truth,
    )


@pytest.mark.parametrize(
    ("wanted", "text"),
    [
        (series_of(47, 5), r"expected series \[48 ROIs, frames\], found shape \[47, 5\]; give one"),
        (series_of(48, 5)[..., None], r"found shape \[48, 5, 1\]"),
        (np.where(np.eye(48, 50), np.nan, 1.0), "found some NaN or infinity; interpolate"),
        (np.full((48, 5), np.inf), "found some NaN or infinity; interpolate"),
    ],
)
def test_what_cannot_be_painted_is_refused(wanted, text):
    with pytest.raises(ValueError, match=text):
        paint(wanted, volume_of(), np.random.default_rng(0))
