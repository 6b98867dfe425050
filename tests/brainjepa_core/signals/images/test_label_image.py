"""Labels: names decide, places must agree, grids are matched as nilearn matches them."""

from __future__ import annotations

import os
import pickle
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from nilearn.image import resample_to_img
from shared_data import shared

from brainjepa_core.atlas import Atlas, load_atlas, names_in_7network_order
from brainjepa_core.signals.images.label_image import LabelImage, _read_names
from brainjepa_core.signals.images.nifti_stream import NiftiHeader
from brainjepa_core.signals.problems import ScanProblem

NAMES = ("a", "b", "c")
SCAN = Path("bold.nii.gz")
AFFINE = nib.affines.from_matvec(np.diag([2.0, 2.0, 2.0]), [-10, -8, -6])


def painted(shape: tuple[int, ...] = (10, 9, 8), labels: int = 3, seed: int = 0) -> np.ndarray:
    """Random labels with an empty border."""
    data = np.zeros(shape, np.int16)
    inner = data[1:-1, 1:-1, 1:-1]
    inner[...] = np.random.default_rng(seed).integers(0, labels + 1, inner.shape)
    return data


def save(folder: Path, data: np.ndarray, name: str = "atlas.nii.gz", affine=AFFINE) -> Path:
    nib.save(nib.Nifti1Image(data, affine), folder / name)
    return folder / name


def header(shape: tuple[int, int, int] = (10, 9, 8), affine: np.ndarray = AFFINE) -> NiftiHeader:
    return NiftiHeader(shape, 2, 2.0, affine, np.dtype("i2"), 352, 1.0, 0.0)


def grid_image(labels: LabelImage, head: NiftiHeader) -> np.ndarray:
    """Rows + 1 on the scan's grid, as an image."""
    grid = labels.on_grid(SCAN, head)
    flat = np.zeros(np.prod(head.shape), np.int64)
    flat[grid.voxels] = grid.rows + 1
    assert (np.diff(grid.rows) >= 0).all() and len(np.unique(grid.voxels)) == len(grid.voxels)
    return flat.reshape(head.shape, order="F")


def test_labels_on_their_own_grid_stay_as_they_are(tmp_path):
    data = painted()
    labels = LabelImage(save(tmp_path, data), Atlas.from_names(NAMES))
    assert np.array_equal(grid_image(labels, header()), data)
    jittered = AFFINE + 1e-4 * np.eye(4, k=3)
    assert np.array_equal(grid_image(labels, header(affine=jittered)), data)
    full = labels.on_grid(SCAN, header()).full
    assert full.tolist() == [int((data == label).sum()) for label in (1, 2, 3)]


@given(
    seed=st.integers(0, 99),
    zooms=st.tuples(*[st.floats(1.3, 3.7)] * 3),
    flip=st.tuples(*[st.sampled_from([-1, 1])] * 3),
    shift=st.tuples(*[st.floats(-3, 3)] * 3),
    tilt=st.sampled_from([0.0, 0.1]),
)
def test_other_grids_get_what_nilearn_resamples(tmp_path_factory, seed, zooms, flip, shift, tilt):
    data = painted(seed=seed)
    labels = LabelImage(save(tmp_path_factory.mktemp("atlas"), data), Atlas.from_names(NAMES))
    turn = np.array([[np.cos(tilt), -np.sin(tilt), 0], [np.sin(tilt), np.cos(tilt), 0], [0, 0, 1]])
    matrix = turn @ np.diag(np.array(zooms) * flip)
    shape = (9, 8, 7)
    middle = matrix @ ((np.array(shape) - 1) / 2)
    affine = nib.affines.from_matvec(matrix, -middle + np.array(shift))
    head = header(shape, affine)
    at = nib.affines.apply_affine(np.linalg.inv(AFFINE) @ affine, list(np.ndindex(shape)))
    assume((np.abs(at % 1 - 0.5) > 1e-6).all())  # half-way between voxels, rounding errors decide
    try:
        ours = grid_image(labels, head)
    except ScanProblem:  # most of the atlas is outside
        return
    assert np.array_equal(ours, nearest_of_nilearn(labels, head))


def nearest_of_nilearn(labels: LabelImage, head: NiftiHeader) -> np.ndarray:
    target = nib.Nifti1Image(np.zeros(head.shape, np.int16), head.affine)
    resampled = resample_to_img(
        nib.load(labels.image),
        target,
        interpolation="nearest",
        force_resample=True,
        copy_header=True,
    )
    return np.asarray(resampled.dataobj)


def test_half_a_voxel_rounds_as_in_nilearn(tmp_path):
    # TemplateFlow's grids of 1 and 2 mm: every voxel of one is half-way between two of the other
    fine = nib.affines.from_matvec(np.eye(3), [-96, -132, -78])
    coarse = nib.affines.from_matvec(2 * np.eye(3), [-96.5, -132.5, -78.5])
    image = save(tmp_path, painted((21, 19, 17)), affine=fine)
    labels = LabelImage(image, Atlas.from_names(NAMES))
    head = header((11, 10, 9), coarse)
    assert np.array_equal(grid_image(labels, head), nearest_of_nilearn(labels, head))


def test_what_lies_outside_the_field_of_view_is_counted_in_full(tmp_path):
    data = painted()
    labels = LabelImage(save(tmp_path, data), Atlas.from_names(NAMES))
    cut = header((10, 9, 6), AFFINE)
    assert np.array_equal(grid_image(labels, cut), data[..., :6])
    assert np.array_equal(labels.on_grid(SCAN, cut).full, np.bincount(data.ravel())[1:])
    finer = header((20, 18, 16), nib.affines.from_matvec(np.eye(3), [-10.25, -8.25, -6.25]))
    volume = labels.on_grid(SCAN, finer).full
    assert np.array_equal(volume, 8 * np.bincount(data.ravel())[1:])
    assert len(labels.on_grid(SCAN, replace(finer, shape=(20, 18, 12))).rows) < volume.sum()


def test_a_shifted_affine_is_the_scans_problem(tmp_path):
    labels = LabelImage(save(tmp_path, painted()), Atlas.from_names(NAMES))
    shifted = AFFINE + 12 * np.eye(4, k=3)
    with pytest.raises(
        ScanProblem,
        match=r"bold.nii.gz: expected a field of view over the atlas \(atlas.nii.gz\), found "
        r"\d+% of the labelled volume within it; its affine looks shifted",
    ):
        labels.on_grid(SCAN, header(affine=shifted))
    with pytest.raises(ScanProblem, match="found 0% of the labelled volume"):
        labels.on_grid(SCAN, header(affine=AFFINE + 500 * np.eye(4, k=3)))


def test_names_of_a_table_lead_to_rows(tmp_path):
    image = save(tmp_path, painted())
    given_one = tmp_path / "names.tsv"
    given_one.write_text("index\tname\tcolor\n3\ta\tx\n1\tc\tx\n2\telsewhere\tx\n7\tb\tx\n")
    atlas = Atlas.from_names(NAMES)
    expected = np.array([0, 3, 0, 1])[painted()]
    assert np.array_equal(grid_image(LabelImage(image, atlas, given_one), header()), expected)
    beside = tmp_path / "atlas.tsv"
    beside.write_text("\ufeffindex\tlabel\n1\tb\n2\tc\n3\ta\n")
    expected = np.array([0, 2, 3, 1])[painted()]
    assert np.array_equal(grid_image(LabelImage(image, atlas), header()), expected)
    workbench = tmp_path / "names.txt"
    workbench.write_text("c\n1 205 213 230 255\na\n2 1 2 3 255\n\nb\n3 1 2 3 255\n")
    expected = np.array([0, 3, 1, 2])[painted()]
    assert np.array_equal(grid_image(LabelImage(image, atlas, workbench), header()), expected)
    assert (
        LabelImage(image, atlas, given_one).on_grid(SCAN, header()).full[1] == 0
    )  # b has no voxel


def test_a_file_that_has_changed_is_read_again(tmp_path):
    image = save(tmp_path, painted())
    labels = pickle.loads(pickle.dumps(LabelImage(image, Atlas.from_names(NAMES))))
    assert np.array_equal(grid_image(labels, header()), painted())
    assert labels.on_grid(SCAN, header()) is labels.on_grid(SCAN, header())
    save(tmp_path, painted(seed=1))
    os.utime(image, ns=(1, 1))
    assert np.array_equal(grid_image(labels, header()), painted(seed=1))


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("index\tregion\n1\ta\n", "KeyError"),
        ("index\tname\nx\ta\n", "ValueError"),
        ("index\tname\n1\ta\n1\tb\n", "ValueError"),
        ("index\tname\tname\n1\ta\tb\n", "ValueError"),
        ("", "IndexError"),
    ],
)
def test_broken_tables_are_refused(tmp_path, text, found):
    for name in ("names.tsv", "names.txt"):
        (tmp_path / name).write_text(text or "a\nb\n")
        labels = LabelImage(save(tmp_path, painted()), Atlas.from_names(NAMES), tmp_path / name)
        with pytest.raises(
            ScanProblem, match=f"{name}: expected a TSV with columns index and name"
        ):
            labels.check()


@given(st.text(max_size=60), st.sampled_from([".tsv", ".txt"]))
def test_any_text_is_a_table_or_a_problem(tmp_path_factory, text, ending):
    file = tmp_path_factory.mktemp("names") / f"names{ending}"
    file.write_bytes(text.encode("utf-8", "surrogatepass"))
    try:
        names = _read_names(file)
    except ScanProblem:
        return
    assert all(isinstance(k, int) and isinstance(v, str) for k, v in names.items())


def test_images_that_are_no_labels_are_refused(tmp_path):
    atlas = Atlas.from_names(NAMES)

    def check(data: np.ndarray, match: str, space: str | None = None) -> None:
        with pytest.raises(ScanProblem, match=match):
            LabelImage(save(tmp_path, data), atlas).check(space)

    check(painted() * np.float32(0.5), "atlas.nii.gz: expected integer labels, found values betw")
    check(np.where(painted(), painted(), np.float32("nan")), "expected integer labels")
    check(np.zeros((4, 4, 4, 2), "i2"), r"expected a 3D image of integer labels, found shape \[4,")
    check(painted(labels=5), "labels 1 to 3 in the order of atlas 'named list', there being no t")
    check(painted() * 0, "labels of atlas 'named list', found 0 labels, none of them")
    (tmp_path / "atlas.tsv").write_text("index\tname\n1\tx\n2\ty\n")
    check(painted(), "atlas.tsv: expected names of atlas 'named list' such as a, b, c, found 2 oth")
    (tmp_path / "atlas.tsv").write_text("index\tname\n1\ta\n2\ta\n")
    check(painted(), "atlas.tsv: expected each ROI once, found a repeated; remove the copies")
    with pytest.raises(ScanProblem, match="expected a file, found none of that name"):
        LabelImage(tmp_path / "none.nii.gz", atlas).check()
    short = save(tmp_path, painted(), "short.nii")
    short.write_bytes(short.read_bytes()[:-30])
    with pytest.raises(
        ScanProblem, match=r"short.nii: expected an image that can be read, found d"
    ):
        LabelImage(short, atlas).check()
    (tmp_path / "none.nii.gz").write_text("no image")
    with pytest.raises(ScanProblem, match=r"none.nii.gz: expected a NIfTI image, found damage, or"):
        LabelImage(tmp_path / "none.nii.gz", atlas).check()


def test_the_space_of_its_name_must_be_the_scans(tmp_path):
    for entity in ("space", "tpl"):
        image = save(tmp_path, painted(), f"{entity}-MNI152NLin6Asym_res-2_dseg.nii.gz")
        labels = LabelImage(image, Atlas.from_names(NAMES))
        labels.check("MNI152NLin6Asym")
        labels.check()
        with pytest.raises(
            ScanProblem,
            match="in the scans' space MNI152NLin2009cAsym, found one in MNI152NLin6Asym by its",
        ):
            labels.check("MNI152NLin2009cAsym")
    LabelImage(save(tmp_path, painted()), Atlas.from_names(NAMES)).check("MNI152NLin6Asym")


def balls(affine: np.ndarray, names: tuple[str, ...], shape=(46, 56, 46)) -> np.ndarray:
    """An image with label i + 1 where the default atlas has the ROI names[i]."""
    atlas = load_atlas()
    data = np.zeros(shape, np.int16)
    to_voxel = np.linalg.inv(affine)
    for label, name in enumerate(names, start=1):
        centre = np.array(atlas.centroids)[atlas.rois.index(name)]
        voxel = np.rint(nib.affines.apply_affine(to_voxel, centre)).astype(int)
        data[tuple(voxel)] = label
    return data


def test_labels_in_7network_order_under_17network_names_are_refused(tmp_path):
    affine = nib.affines.from_matvec(np.diag([4.0] * 3), [-92, -130, -78])
    image = save(tmp_path, balls(affine, names_in_7network_order()), affine=affine)
    with pytest.raises(
        ScanProblem,
        match=r"atlas.nii.gz: expected each label where atlas 'tian3_schaefer400_17networks' has "
        r"the ROI of that name, found 3\d\d of 4\d\d ROIs over 15 mm away, such as "
        r"17Networks_\w+ by 1\d\d mm; looks like 7-network order; give the label_table",
    ):
        LabelImage(image, load_atlas()).check()
    table = tmp_path / "seven.tsv"
    lines = [f"{i}\t{name}" for i, name in enumerate(names_in_7network_order(), start=1)]
    table.write_text("\n".join(["index\tname", *lines]))
    LabelImage(image, load_atlas(), table).check()


def test_labels_left_for_right_are_refused_without_a_guess(tmp_path):
    affine = nib.affines.from_matvec(np.diag([4.0] * 3), [-92, -130, -78])
    right = save(tmp_path, balls(affine, load_atlas().rois), affine=affine)
    LabelImage(right, load_atlas()).check()
    mirrored = affine * np.array([[-1], [1], [1], [1]])
    image = save(tmp_path, balls(affine, load_atlas().rois), "mirrored.nii.gz", affine=mirrored)
    with pytest.raises(ScanProblem, match=r"over 15 mm away, such as \S+ by \d+ mm; give the"):
        LabelImage(image, load_atlas()).check()


@pytest.mark.parametrize("space", ["MNI152NLin2009cAsym", "MNI152NLin6Asym"])
def test_real_images_in_right_order_pass_and_in_wrong_order_do_not(space):
    stem = f"BrainJEPA450_TianS3_Schaefer400_17Networks_space-{space}_res-2mm_dseg.nii.gz"
    ordered, table = shared("data", "atlases", stem), "BrainJEPA450_labels.tsv"
    LabelImage(ordered, load_atlas(), ordered.with_name(table)).check(space)
    LabelImage(ordered, load_atlas()).check(space)
    (tian,) = ordered.parent.glob(f"Schaefer2018*_7Networks*{space}*.nii.gz")
    with pytest.raises(ScanProblem, match=r"38\d of 450 ROIs over 15 mm.*like 7-network order"):
        LabelImage(tian, load_atlas(), ordered.with_name(table)).check(space)
    names = next(ordered.parent.glob("Schaefer2018*_7Networks*_label.txt"))
    labels = LabelImage(tian, load_atlas(), names)
    labels.check(space)
    scan = nib.load(ordered)
    head = header(scan.shape, scan.affine)
    assert np.array_equal(grid_image(labels, head), np.asarray(scan.dataobj))
