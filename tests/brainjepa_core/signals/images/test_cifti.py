"""CIFTI: grayordinates are matched by what they are, whatever their order; names decide on rows."""

from __future__ import annotations

import os
import pickle
import tempfile
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nibabel.cifti2 import BrainModelAxis, LabelAxis, ParcelsAxis, ScalarAxis, SeriesAxis
from shared_data import shared

from brainjepa_core.atlas import Atlas, load_atlas
from brainjepa_core.signals.images import cifti
from brainjepa_core.signals.images.cifti import (
    CiftiLabels,
    parcellate_cifti,
    read_header,
    read_parcels,
)
from brainjepa_core.signals.problems import ScanProblem

NAMES = ("a", "b", "c", "d")
FRAMES = 9
AFFINE = np.diag([2.0, 2.0, 2.0, 1.0])


def brain(vertices: int = 32, volume: tuple[int, int, int] = (4, 3, 2), affine=AFFINE, step=2):
    """Every other vertex of two surfaces, and all voxels of a box in two structures."""
    surfaces = [
        BrainModelAxis.from_surface(np.arange(0, vertices, step), vertices, f"Cortex{side}")
        for side in ("Left", "Right")
    ]
    half = np.zeros(volume, bool)
    half[:2] = True
    volumes = [
        BrainModelAxis.from_mask(mask, f"thalamus_{side}", affine)
        for mask, side in ((half, "left"), (~half, "right"))
    ]
    return surfaces[0] + surfaces[1] + volumes[0] + volumes[1]


def save(file: Path, data: np.ndarray, *axes: object) -> Path:
    nib.Cifti2Image(data, axes).to_filename(file)
    return file


def label_file(folder: Path, keys: np.ndarray, axis: BrainModelAxis, names=NAMES) -> Path:
    table = {0: ("???", (1, 1, 1, 0))}
    table.update({i: (name, (1, 0, 0, 1)) for i, name in enumerate(names, start=1)})
    data = keys[None].astype(np.float32)
    return save(folder / "atlas.dlabel.nii", data, LabelAxis(["map"], [table]), axis)


def series_axis(frames: int = FRAMES, step: float = 0.72, unit: str = "SECOND") -> SeriesAxis:
    return SeriesAxis(0, step, frames, unit)


def oracle(data: np.ndarray, keys: list[int], full: list[int]) -> tuple[np.ndarray, np.ndarray]:
    series, coverage = np.full((len(full), len(data)), np.nan), np.zeros(len(full))
    for row, size in enumerate(full):
        seen = [
            x
            for x, key in zip(data.T, keys, strict=True)
            if key == row + 1 and np.isfinite(x).all() and x.any()
        ]
        if size:
            coverage[row] = len(seen) / size
        if coverage[row] >= 0.5:
            series[row] = np.mean(seen, axis=0)
    return series, coverage


@given(seed=st.integers(0, 999), kept=st.floats(0.5, 1), piece=st.sampled_from([1, 500, 1 << 24]))
def test_agrees_with_a_naive_version_in_any_order(seed, kept, piece):
    rng = np.random.default_rng(seed)
    axis = brain()
    keys = rng.integers(0, 4, len(axis))  # ROI d has no grayordinate
    # Some grayordinates of the labels, in an order of their own, and some that the labels lack
    more = brain(step=1)
    places = [i for i in rng.permutation(len(more)) if rng.random() < kept]
    scan_axis = more[np.array(sorted(places, key=lambda i: str(more.name[i])))]
    own = {tuple(map(str, axis[i])): key for i, key in enumerate(keys)}
    scan_keys = [int(own.get(tuple(map(str, scan_axis[i])), 0)) for i in range(len(scan_axis))]
    data = rng.normal(100, 5, (FRAMES, len(scan_axis))).astype(np.float32)
    data[:, rng.random(len(scan_axis)) < 0.1] = 0
    data[rng.integers(FRAMES), rng.random(len(scan_axis)) < 0.1] = np.nan
    with tempfile.TemporaryDirectory() as name, pytest.MonkeyPatch.context() as patch:
        patch.setattr(cifti, "PIECE_BYTES", piece)
        folder = Path(name)
        labels = CiftiLabels(label_file(folder, keys, axis), Atlas.from_names(NAMES))
        scan = save(folder / "bold.dtseries.nii", data, series_axis(), scan_axis)
        result = parcellate_cifti(scan, labels)
    full = [int((keys == label).sum()) for label in (1, 2, 3, 4)]
    series, coverage = oracle(data.astype(np.float64), scan_keys, full)
    assert np.allclose(result.series, series, rtol=1e-12, equal_nan=True)
    assert np.array_equal(result.coverage, coverage)
    assert result.tr == 0.72


def test_equal_axes_and_matched_ones_give_the_same(tmp_path):
    rng = np.random.default_rng(0)
    axis, keys = brain(), rng.integers(1, 4, len(brain()))
    labels = CiftiLabels(label_file(tmp_path, keys, axis), Atlas.from_names(NAMES))
    data = rng.normal(100, 5, (FRAMES, len(axis))).astype(np.float32)
    same = parcellate_cifti(save(tmp_path / "a.dtseries.nii", data, series_axis(), axis), labels)
    back = np.r_[np.arange(16)[::-1], np.arange(16, len(axis))]
    turned = save(tmp_path / "b.dtseries.nii", data[:, back], series_axis(), axis[back])
    other = parcellate_cifti(turned, labels)
    assert np.allclose(same.series, other.series, rtol=1e-14, equal_nan=True)
    assert same.coverage.tolist() == other.coverage.tolist() == [1, 1, 1, 0]
    double = data.astype(np.float64)
    assert same.tsnr == pytest.approx(np.median(double.mean(0) / double.std(0)), rel=1e-12)


def test_only_cortex_leaves_the_rest_missing(tmp_path):
    axis = brain()
    keys = np.where(axis.surface_mask, 1, 2)
    labels = CiftiLabels(label_file(tmp_path, keys, axis), Atlas.from_names(NAMES))
    cortex = axis[axis.surface_mask]
    data = np.random.default_rng(0).normal(9, 1, (FRAMES, len(cortex))).astype(np.float32)
    scan = save(tmp_path / "x.dtseries.nii", data, series_axis(), cortex)
    result = parcellate_cifti(scan, labels)
    assert result.coverage.tolist() == [1, 0, 0, 0] and np.isnan(result.series[1:]).all()
    assert np.allclose(result.series[0], data.mean(1, dtype=np.float64))


def test_other_surfaces_and_grids_are_refused(tmp_path):
    axis = brain()
    keys = np.ones(len(axis))
    labels = CiftiLabels(label_file(tmp_path, keys, axis), Atlas.from_names(NAMES))
    for other, match in (
        (brain(vertices=64), "expected 32 vertices in CIFTI_STRUCTURE_CORTEX_LEFT, as in atlas.dl"),
        (brain(volume=(5, 3, 2)), r"voxels on the grid \[4, 3, 2\] of atlas.* the grid \[5, 3, 2"),
        (brain(affine=AFFINE * 1.01), "subcortical voxels on the grid .* that shape elsewhere"),
    ):
        data = np.ones((FRAMES, len(other)), np.float32)
        scan = save(tmp_path / "x.dtseries.nii", data, series_axis(), other)
        with pytest.raises(ScanProblem, match=f"x.dtseries.nii: .*{match}"):
            parcellate_cifti(scan, labels)


def test_labels_are_read_again_once_they_have_changed(tmp_path):
    axis = brain()
    scan = save(tmp_path / "x.dtseries.nii", np.ones((3, len(axis)), "f4"), series_axis(3), axis)
    image = label_file(tmp_path, np.ones(len(axis)), axis)
    labels = pickle.loads(pickle.dumps(CiftiLabels(image, Atlas.from_names(NAMES))))
    assert parcellate_cifti(scan, labels).coverage.tolist() == [1, 0, 0, 0]
    label_file(tmp_path, np.full(len(axis), 3), axis, ["x", "y", "b", "z"])
    os.utime(image, ns=(1, 1))
    assert parcellate_cifti(scan, labels).coverage.tolist() == [0, 1, 0, 0]


def test_what_is_no_dlabel_of_the_atlas_is_refused(tmp_path):
    axis = brain()
    image = label_file(tmp_path, np.ones(len(axis)), axis, ["x", "y"])
    with pytest.raises(
        ScanProblem, match=r"atlas.dlabel.nii: expected names of atlas 'named list'"
    ):
        CiftiLabels(image, Atlas.from_names(NAMES)).check()
    save(image, np.ones((1, len(axis)), "f4"), ScalarAxis(["map"]), axis)
    with pytest.raises(ScanProblem, match=r"a dlabel .* one map, found 1 rows of maps by gray"):
        CiftiLabels(image, Atlas.from_names(NAMES)).check()
    nib.save(nib.Nifti1Image(np.ones((2, 2, 2), "u1"), AFFINE), tmp_path / "atlas.nii.gz")
    for name, match in (
        ("none.dlabel.nii", "expected a file, found none of that name"),
        ("atlas.nii.gz", "expected a CIFTI file, found an image of another kind"),
    ):
        with pytest.raises(ScanProblem, match=f"{name}: {match}"):
            CiftiLabels(tmp_path / name, Atlas.from_names(NAMES)).check()
    image.write_bytes(image.read_bytes()[:2000])
    with pytest.raises(ScanProblem, match="expected a CIFTI file, found damage, or another format"):
        CiftiLabels(image, Atlas.from_names(NAMES)).check()


@pytest.mark.parametrize(
    ("step", "unit", "tr"), [(0.8, "SECOND", 0.8), (0.8, "HERTZ", np.nan), (0.0, "SECOND", np.nan)]
)
def test_header_without_parsing_the_brain(tmp_path, step, unit, tr):
    axis = brain()
    data = np.ones((FRAMES, len(axis)), np.float32)
    scan = save(tmp_path / "x.dtseries.nii", data, series_axis(step=step, unit=unit), axis)
    header = read_header(scan)
    assert header.frames == FRAMES and header.tr == pytest.approx(tr, nan_ok=True)


@pytest.mark.parametrize(("step", "exponent", "tr"), [(720, -3, 0.72), (0.2, 1, 2.0)])
def test_the_step_is_in_powers_of_ten_of_a_second(tmp_path, step, exponent, tr):
    axis = brain()
    data = np.ones((FRAMES, len(axis)), np.float32)
    image = nib.Cifti2Image(data, (series_axis(step=step), axis))
    image.header.matrix.get_index_map(0).series_exponent = exponent
    image.to_filename(tmp_path / "bold.dtseries.nii")
    assert read_header(tmp_path / "bold.dtseries.nii").tr == pytest.approx(tr, rel=1e-12)


def test_series_that_cannot_be_used_are_refused(tmp_path):
    axis = brain()
    scan = tmp_path / "x.dtseries.nii"
    save(scan, np.ones((1, len(axis)), "f4"), series_axis(1), axis)
    with pytest.raises(ScanProblem, match=r"x.dtseries.nii: expected at least 2 frames, found 1;"):
        read_header(scan)
    save(scan, np.ones((2, len(axis)), "f4"), ScalarAxis(["m", "n"]), axis)
    with pytest.raises(ScanProblem, match=r"expected a CIFTI series .* without a series"):
        read_header(scan)
    save(scan, np.ones((FRAMES, len(axis)), "f4"), series_axis(), axis)
    whole = scan.read_bytes()
    scan.write_bytes(whole[:-4])
    values = FRAMES * len(axis)
    with pytest.raises(ScanProblem, match=rf"expected {values} values.* found {values - 1} and"):
        read_header(scan)
    for content in (b"", b"no image at all", bytes(1000), whole[:600]):
        scan.write_bytes(content)
        with pytest.raises(ScanProblem, match=r"expected a CIFTI series|values, as its header"):
            read_header(scan)
    with pytest.raises(ScanProblem, match="expected a file, found none of that name"):
        read_header(tmp_path / "none.dtseries.nii")
    parcels = ParcelsAxis.from_brain_models([("a", axis)])
    save(scan, np.ones((FRAMES, 1), "f4"), series_axis(), parcels)
    labels = CiftiLabels(label_file(tmp_path, np.ones(len(axis)), axis), Atlas.from_names(NAMES))
    with pytest.raises(ScanProblem, match="found 1 rows for 1 parcels where gray"):
        parcellate_cifti(scan, labels)


@given(place=st.floats(0, 1, exclude_max=True), value=st.integers(0, 255), cut=st.booleans())
def test_damage_gives_a_problem_or_a_result(place, value, cut):
    axis = brain()
    data = np.random.default_rng(0).normal(9, 1, (FRAMES, len(axis))).astype(np.float32)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        labels = CiftiLabels(label_file(folder, np.ones(len(axis)), axis), Atlas.from_names(NAMES))
        scan = save(folder / "x.dtseries.nii", data, series_axis(), axis)
        content = bytearray(scan.read_bytes())
        content[int(place * len(content))] = value
        scan.write_bytes(content[: int(place * len(content))] if cut else content)
        try:
            result = parcellate_cifti(scan, labels)
        except ScanProblem:
            return
        assert result.series.shape[0] == 4


@pytest.mark.parametrize("code", [3, 0])  # unknown; none, whose values have no bytes
def test_a_data_type_that_is_none(tmp_path, code):
    axis = brain()
    scan = save(tmp_path / "x.dtseries.nii", np.ones((4, len(axis)), "f4"), series_axis(4), axis)
    content = bytearray(scan.read_bytes())
    content[12:14] = code.to_bytes(2, "little")
    scan.write_bytes(content)
    with pytest.raises(ScanProblem, match="expected a CIFTI series"):
        read_header(scan)


def test_parcels_are_read_by_their_names(tmp_path):
    axis = brain()
    names = ["c", "elsewhere", "a", "b"]
    parcels = ParcelsAxis.from_brain_models(
        [(n, axis[4 * i : 4 * i + 4]) for i, n in enumerate(names)]
    )
    data = np.random.default_rng(0).normal(100, 5, (FRAMES, 4)).astype(np.float32)
    data[:, 3] = 0
    scan = save(tmp_path / "x.ptseries.nii", data, series_axis(), parcels)
    result = read_parcels(scan, Atlas.from_names(NAMES))
    assert np.array_equal(result.series[[0, 2]], data[:, [2, 0]].T)
    assert np.array_equal(result.coverage, [np.nan, 0, np.nan, 0], equal_nan=True)
    assert np.isnan(result.series[[1, 3]]).all()
    assert result.tr == 0.72 and np.isnan(result.tsnr)
    with pytest.raises(ScanProblem, match=r"x.ptseries.nii: expected names of atlas 'named list'"):
        read_parcels(scan, Atlas.from_names(["x"]))
    save(scan, np.ones((FRAMES, len(axis)), "f4"), series_axis(), axis)
    with pytest.raises(ScanProblem, match="for 56 grayordinates where parcels"):
        read_parcels(scan, Atlas.from_names(NAMES))


@pytest.mark.parametrize("networks", ["17", "7"])
def test_real_labels_give_the_450_rois_in_atlas_order(tmp_path, networks):
    folder = shared("data", "atlases")
    stem = f"Schaefer2018_400Parcels_{networks}Networks_order_Tian_Subcortex_S3"
    image = nib.load(folder / f"{stem}.dlabel.nii")
    keys, axis = np.asarray(image.dataobj)[0].astype(int), image.header.get_axis(1)
    reference = nib.load(folder / f"{stem.replace('_7N', '_17N')}.dlabel.nii")
    names = {key: name for key, (name, _) in reference.header.get_axis(0).label[0].items()}
    rows = {name: i for i, name in enumerate(load_atlas().rois)}
    own = np.asarray(reference.dataobj)[0].astype(int)
    painted = np.array([0.0, *(rows[names[key]] + 1 for key in range(1, 451))])[own]
    data = np.stack([painted, painted * 2]).astype(np.float32)
    assert len(keys) == 91282
    scan = save(tmp_path / "x.dtseries.nii", data, series_axis(2), axis)
    result = parcellate_cifti(scan, CiftiLabels(folder / f"{stem}.dlabel.nii", load_atlas()))
    assert np.allclose(result.series[:, 0], np.arange(1, 451), rtol=1e-12)
    assert np.array_equal(result.coverage, np.ones(450))
