"""Parcellation: painted truth comes back, nilearn agrees, and what was not seen is said."""

from __future__ import annotations

import pickle
import tempfile
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nilearn.maskers import NiftiLabelsMasker
from shared_data import shared

from brainjepa_core.atlas import Atlas, load_atlas
from brainjepa_core.signals.images import parcellate as module
from brainjepa_core.signals.images.label_image import LabelImage
from brainjepa_core.signals.images.nifti_stream import read_header
from brainjepa_core.signals.images.parcellate import VoxelStatistics, parcellate
from brainjepa_core.signals.problems import ScanProblem

SHAPE, FRAMES = (8, 7, 6), 11
NAMES = ("a", "b", "c", "d")
AFFINE = nib.affines.from_matvec(np.diag([-2.0, 2.0, 3.0]), [9, -8, -6])


def painted_labels(seed: int = 0) -> np.ndarray:
    """Labels 0 to 3 at random: ROI d has no voxel."""
    return np.random.default_rng(seed).integers(0, 4, SHAPE).astype(np.int16)


def save(file: Path, data: np.ndarray, dtype: str | None = None, affine=AFFINE) -> Path:
    image = nib.Nifti1Image(data, affine, dtype=dtype or data.dtype)
    if data.ndim == 4:
        image.header.set_zooms((2, 2, 3, 1.5))
    nib.save(image, file)
    return file


def label_image(folder: Path, data: np.ndarray | None = None, affine=AFFINE) -> LabelImage:
    data = painted_labels() if data is None else data
    return LabelImage(save(folder / "atlas.nii.gz", data, affine=affine), Atlas.from_names(NAMES))


def oracle(
    data: np.ndarray, labels: np.ndarray, mask: np.ndarray, full: np.ndarray
) -> tuple[np.ndarray, np.ndarray, float]:
    """Series, coverage and tSNR, one ROI and one voxel after the other."""
    series, coverage = np.full((len(NAMES), data.shape[3]), np.nan), np.zeros(len(NAMES))
    ratios = []
    for row in range(len(NAMES)):
        seen = [
            x
            for x in data[(labels == row + 1) & mask]
            if np.isfinite(x).all() and np.abs(x).max() > 0
        ]
        if full[row]:
            coverage[row] = len(seen) / full[row]
        if seen and coverage[row] >= 0.5:
            series[row] = np.mean(seen, axis=0)
        ratios += [x.mean() / x.std() for x in seen if np.ptp(x) > 0]
    return series, coverage, float(np.median(ratios)) if ratios else np.nan


@given(
    seed=st.integers(0, 999),
    dtype=st.sampled_from(["i2", "u1", "f4", "f8"]),
    block=st.integers(1, 13),
    planes=st.integers(4, 6),
    unseen=st.sampled_from(["nothing", "zeros", "nan", "nan in one frame", "inf", "all of it"]),
    masked=st.booleans(),
    ending=st.sampled_from([".nii", ".nii.gz"]),
)
def test_agrees_with_a_naive_version(seed, dtype, block, planes, unseen, masked, ending):
    rng = np.random.default_rng(seed)
    labels = painted_labels(seed)
    data = rng.integers(1, 200, (*SHAPE, FRAMES)).astype(dtype)
    gone = rng.random(SHAPE) < 0.3
    if unseen in ("zeros", "all of it"):
        data[gone if unseen == "zeros" else np.ones(SHAPE, bool)] = 0
    elif unseen != "nothing":
        data = data.astype("f4")
        frames = slice(FRAMES) if unseen == "nan" else slice(seed % FRAMES, seed % FRAMES + 1)
        data[gone, frames] = -np.inf if unseen == "inf" else np.nan
    mask = rng.random(SHAPE) < 0.8
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        bold = save(folder / f"bold{ending}", data[:, :, :planes])
        mask_file = save(folder / "mask.nii.gz", mask[:, :, :planes].astype(np.uint8))
        result = parcellate(bold, label_image(folder, labels), mask_file if masked else None, block)
    within = np.zeros(SHAPE, bool)
    within[:, :, :planes] = True
    full = np.bincount(labels.ravel(), minlength=5)[1:]
    series, coverage, tsnr = oracle(
        data.astype(np.float64), labels, within & mask if masked else within, full
    )
    assert np.allclose(result.series, series, rtol=1e-12, atol=0, equal_nan=True)
    assert np.array_equal(result.coverage, coverage)
    assert result.tsnr == pytest.approx(tsnr, rel=1e-9, nan_ok=True)
    assert result.tr == 1.5 and result.series.shape == (4, FRAMES)
    assert np.isnan(result.series[3]).all() and result.coverage[3] == 0


@pytest.mark.parametrize("masked", [False, True])
def test_each_labelled_voxel_has_its_tsnr_where_it_counts(tmp_path, masked):
    rng = np.random.default_rng(0)
    labels, data = painted_labels(), rng.uniform(50, 200, (*SHAPE, FRAMES)).astype("f4")
    data[0], data[1, ..., 3], data[2] = 0, np.nan, 70  # unseen, damaged, and without any change
    mask = rng.random(SHAPE) < 0.8
    bold = save(tmp_path / "bold.nii.gz", data)
    mask_file = save(tmp_path / "mask.nii.gz", mask.astype(np.uint8)) if masked else None
    atlas = label_image(tmp_path, labels)
    result = parcellate(bold, atlas, mask_file)
    found = np.full(SHAPE, -1.0)
    places = np.unravel_index(atlas.on_grid(bold, read_header(bold)).voxels, SHAPE, order="F")
    found[places] = result.voxel_tsnr
    for place in np.ndindex(SHAPE):
        x = data[place].astype(np.float64)
        if labels[place] == 0:
            expected = -1.0
        elif np.isfinite(x).all() and np.ptp(x) > 0 and (mask[place] or not masked):
            expected = x.mean() / x.std()
        else:
            expected = np.nan
        assert found[place] == pytest.approx(expected, nan_ok=True)
    assert result.tsnr == pytest.approx(np.nanmedian(result.voxel_tsnr))


@pytest.mark.parametrize("dtype", ["i2", "f4"])
def test_painted_truth_comes_back(tmp_path, dtype):
    truth = np.random.default_rng(0).uniform(5000, 9000, (3, FRAMES))
    data = np.concatenate([np.zeros((1, FRAMES)), truth])[painted_labels()]
    result = parcellate(save(tmp_path / "bold.nii.gz", data, dtype), label_image(tmp_path))
    # int16 with nibabel's slope and intercept rounds to a step of 0.14; then 0 is not 0 either
    stored = nib.load(tmp_path / "bold.nii.gz").get_fdata()
    expected = [stored[painted_labels() == label].mean(0) for label in (1, 2, 3)]
    assert np.allclose(result.series[:3], expected, rtol=1e-12)
    assert np.allclose(result.series[:3], truth, atol=0.08 if dtype == "i2" else 5e-4)
    assert result.coverage.tolist() == [1, 1, 1, 0]
    exact = np.round(truth)
    data = np.concatenate([np.zeros((1, FRAMES)), exact])[painted_labels()].astype(np.int16)
    result = parcellate(save(tmp_path / "exact.nii.gz", data), label_image(tmp_path))
    assert np.allclose(result.series[:3], exact, rtol=1e-15)


def test_what_is_no_number_in_a_mask_is_not_inside(tmp_path):
    rng = np.random.default_rng(0)
    bold = save(tmp_path / "bold.nii.gz", rng.standard_normal((*SHAPE, FRAMES)).astype(np.float32))
    inside = rng.random(SHAPE) < 0.8
    plain = save(tmp_path / "mask.nii.gz", inside.astype(np.uint8))
    with_nan = save(tmp_path / "nan.nii.gz", np.where(inside, 1, np.nan).astype(np.float32))
    results = [parcellate(bold, label_image(tmp_path), mask) for mask in (plain, with_nan)]
    assert np.array_equal(results[0].series, results[1].series, equal_nan=True)
    assert np.array_equal(results[0].coverage, results[1].coverage)
    nowhere = save(tmp_path / "nowhere.nii.gz", np.full(SHAPE, np.nan, np.float32))
    with pytest.raises(
        ScanProblem, match=r"nowhere.nii.gz: .* found NaN everywhere; write the mas"
    ):
        parcellate(bold, label_image(tmp_path), nowhere)


@pytest.mark.slow
def test_agrees_with_nilearn(tmp_path):
    rng = np.random.default_rng(0)
    data = (1000 + 50 * rng.standard_normal((*SHAPE, FRAMES))).astype(np.float32)
    labels = label_image(tmp_path)
    bold = save(tmp_path / "bold.nii.gz", data)
    mask = save(tmp_path / "mask.nii.gz", (rng.random(SHAPE) < 0.8).astype(np.uint8))
    for inside in (None, mask):
        masker = NiftiLabelsMasker(labels.image, mask_img=inside, standardize=None)
        theirs = masker.fit_transform(str(bold)).T
        assert np.allclose(parcellate(bold, labels, inside).series[:3], theirs, rtol=1e-6)


@pytest.mark.slow
def test_agrees_with_nilearn_on_the_450_rois(tmp_path):
    name = (
        "BrainJEPA450_TianS3_Schaefer400_17Networks_space-MNI152NLin2009cAsym_res-2mm_dseg.nii.gz"
    )
    image = shared("data", "atlases", name)
    shape, affine = (49, 58, 49), nib.affines.from_matvec(4 * np.eye(3), [-96.1, -131.9, -78.3])
    data = np.random.default_rng(0).integers(8000, 9000, (*shape, 6)).astype(np.int16)
    bold = save(tmp_path / "bold.nii.gz", data, affine=affine)
    ours = parcellate(bold, LabelImage(image, load_atlas()))
    masker = NiftiLabelsMasker(image, resampling_target="data", standardize=None)
    assert np.allclose(ours.series, masker.fit_transform(str(bold)).T, rtol=1e-12)
    assert np.array_equal(ours.coverage, np.ones(450))
    cut = save(
        tmp_path / "cut.nii.gz",
        data[:, :, 14:],
        affine=affine @ [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 14], [0, 0, 0, 1]],
    )
    part = parcellate(cut, LabelImage(image, load_atlas()))
    lost = part.coverage < 0.5
    assert 5 < lost.sum() < 100 and np.isnan(part.series[lost]).all()
    whole = part.coverage == 1
    assert np.array_equal(part.series[whole], ours.series[whole]) and whole.sum() > 300
    assert (~whole & ~lost).any() and np.isfinite(part.series[~lost]).all()


def test_a_scan_filled_with_zeros_by_integers_with_an_intercept(tmp_path):
    rng = np.random.default_rng(0)
    data = rng.uniform(7000.3, 9000, (*SHAPE, FRAMES))
    data[..., :2, :] = 0
    data[0, 0, 5, 0] = -123.4
    bold = save(tmp_path / "bold.nii.gz", data, "i2")
    stored = nib.load(bold).get_fdata()
    assert 0 < np.abs(stored[..., :2, :]).max() < 0.1  # the step is 0.14: 0 itself is not there
    labels = painted_labels()
    labels[..., :2] *= np.random.default_rng(1).random((8, 7, 2)) < 0.5
    result = parcellate(bold, label_image(tmp_path, labels))
    full = np.bincount(labels.ravel(), minlength=5)[1:]
    seen = np.bincount(labels[..., 2:].ravel(), minlength=5)[1:]
    assert np.array_equal(result.coverage[:3], (seen / np.maximum(full, 1))[:3])
    expected = [stored[..., 2:, :][labels[..., 2:] == label].mean(0) for label in (1, 2, 3)]
    assert np.allclose(result.series[:3], expected, rtol=1e-12)


def test_a_second_pass_is_only_for_voxels_that_fail_in_some_frames(tmp_path, monkeypatch):
    passes = []
    stream = module.stream_voxels
    monkeypatch.setattr(module, "stream_voxels", lambda *rest: passes.append(rest) or stream(*rest))
    data = np.random.default_rng(0).uniform(1, 9, (*SHAPE, FRAMES)).astype("f4")
    data[..., 0, :], data[..., 1, :] = 0, np.nan
    parcellate(save(tmp_path / "filled.nii", data), label_image(tmp_path))
    assert len(passes) == 1
    data[3, 3, 3, 5] = np.nan
    parcellate(save(tmp_path / "holes.nii", data), label_image(tmp_path))
    assert len(passes) == 3


@given(
    offset=st.sampled_from([0.0, 1e3, -1e8]),
    cuts=st.lists(st.integers(1, 29), max_size=4, unique=True),
    seed=st.integers(0, 99),
)
def test_spread_is_sound_around_large_means(offset, cuts, seed):
    rng = np.random.default_rng(seed)
    x = offset + rng.standard_normal((30, 5))
    statistics = VoxelStatistics(5)
    for part in np.split(x, sorted(cuts)):
        statistics.add(part.copy())
    counting = statistics.counting(0.0)
    expected = np.median(x.mean(0) / x.std(0))
    assert counting.all() and not statistics.spoilt(counting)
    assert np.median(statistics.tsnr(counting)) == pytest.approx(expected, rel=1e-7, abs=1e-12)


def test_a_mask_must_be_on_the_scans_grid(tmp_path):
    bold = save(tmp_path / "bold.nii.gz", np.ones((*SHAPE, FRAMES), "f4"))
    labels = label_image(tmp_path)
    for mask, found in (
        (save(tmp_path / "shape.nii.gz", np.ones((8, 7, 5), "u1")), r"shape \[8, 7, 5\];"),
        (
            save(tmp_path / "place.nii.gz", np.ones(SHAPE, "u1"), affine=AFFINE + np.eye(4, k=3)),
            r"shape \[8, 7, 6\], elsewhere; the affine of one of the two was changed",
        ),
        (save(tmp_path / "series.nii.gz", np.ones((*SHAPE, 2), "u1")), r"shape \[8, 7, 6, 2\];"),
    ):
        with pytest.raises(
            ScanProblem,
            match=rf"{mask.name}: expected a mask on the scan's grid \[8, 7, 6\], found {found}",
        ):
            parcellate(bold, labels, mask)
    with pytest.raises(ScanProblem, match=r"none.nii.gz: expected a file, found none"):
        parcellate(bold, labels, tmp_path / "none.nii.gz")
    short = save(tmp_path / "mask.nii", np.ones(SHAPE, "u1"))
    short.write_bytes(short.read_bytes()[:-30])
    with pytest.raises(
        ScanProblem, match=r"mask.nii: expected an image that can be read, found da"
    ):
        parcellate(bold, labels, short)


@pytest.mark.parametrize("value, found", [(0.0, "0 everywhere"), (np.nan, "NaN everywhere")])
def test_a_mask_of_nothing_is_a_problem(tmp_path, value, found):
    bold = save(tmp_path / "bold.nii.gz", np.ones((*SHAPE, FRAMES), "f4"))
    mask = save(tmp_path / "mask.nii.gz", np.full(SHAPE, value, "f4"))
    with pytest.raises(ScanProblem, match=f"mask.nii.gz: expected numbers, .* found {found}; wri"):
        parcellate(bold, label_image(tmp_path), mask)


def test_problems_reach_the_caller_from_another_process(tmp_path):
    labels = label_image(tmp_path)
    bold = save(tmp_path / "bold.nii.gz", np.ones((*SHAPE, FRAMES), "f4"))
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        there = pool.submit(parcellate, bold, labels).result()
        assert np.array_equal(there.series, parcellate(bold, labels).series, equal_nan=True)
        bold.write_bytes(b"")
        with pytest.raises(ScanProblem, match=r"bold.nii.gz: expected a NIfTI image") as caught:
            pool.submit(parcellate, bold, labels).result()
    assert pickle.loads(pickle.dumps(caught.value)).file == bold
