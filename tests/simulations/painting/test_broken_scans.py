"""Each fault does what it says, to what it says, and to nothing else."""

from __future__ import annotations

import csv
import gzip
import hashlib
import json
import zlib
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from nilearn.interfaces.fmriprep import load_confounds

from brainjepa_core.atlas import load_atlas, names_in_7network_order
from brainjepa_simulations.cohort.cohort import CohortSettings, generate_site
from brainjepa_simulations.painting.broken_scans import FAULTS, TREE_FAULTS
from brainjepa_simulations.painting.tree import PaintedScan, PaintedTree, write_tree

COHORT = CohortSettings(sites=1, subjects_per_site=2, rois=48, networks=6, frames=40)
SITE = generate_site(COHORT, 0)


def digests(folder: Path) -> dict[Path, str]:
    return {
        path: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.fixture
def tree(tmp_path) -> PaintedTree:
    return write_tree(tmp_path / "site", replace(SITE, scans=SITE.scans[:2]))


@pytest.fixture
def scan(tree) -> PaintedScan:
    return list(tree.scans.values())[1]


def values(scan: PaintedScan) -> np.ndarray:
    return nib.load(scan.bold).get_fdata()


def seen(scan: PaintedScan) -> np.ndarray:
    return np.asarray(nib.load(scan.mask).dataobj) > 0


def header(path: Path) -> nib.Nifti1Header:
    return nib.load(path).header


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_befalls_one_scan_and_names_its_file(tree, scan, name):
    before = digests(tree.folder)
    file = FAULTS[name](tree, scan)
    after = digests(tree.folder)
    assert before != after and FAULTS[name].__doc__
    assert file.exists() != (name in ("no_mask", "no_confounds", "no_confounds_metadata"))
    changed = {path for path, _ in before.items() ^ after.items()}
    tables = {path for path in changed if path.parent.name in ("fmriprep", "phenotype")}
    assert file in changed and (not tables or name == "non_ascii_subject")
    for path in changed - tables:
        assert tree.dataset / scan.subject in path.parents or "Jürgen" in path.name
    if name != "non_ascii_subject":
        assert file.name.startswith(scan.stem.name)


def test_zero_field_of_view(tree, scan):
    before = values(scan)
    assert FAULTS["zero_field_of_view"](tree, scan) == scan.bold
    after, mask = values(scan), seen(scan)
    coverage = tree.volume.coverage(mask)
    assert (coverage == 0).sum() == 3
    assert ((coverage > 0) & (coverage < 0.5)).sum() == 3
    assert ((coverage >= 0.5) & (coverage < 1)).sum() >= 6
    assert (coverage == 1).sum() > 30
    assert not after[~mask].any()
    np.testing.assert_allclose(after[mask], before[mask], rtol=1e-6)
    whole = coverage == 1
    np.testing.assert_allclose(tree.volume.means(after)[whole], scan.truth[whole], rtol=1e-6)


def test_cut_field_of_view(tree, scan):
    before = values(scan)
    FAULTS["cut_field_of_view"](tree, scan)
    image, mask = nib.load(scan.bold), nib.load(scan.mask)
    slices = image.shape[2]
    assert slices < before.shape[2] and image.shape[:3] == mask.shape
    np.testing.assert_array_equal(image.affine, tree.volume.affine)
    np.testing.assert_allclose(image.get_fdata(), before[:, :, :slices], rtol=1e-6)
    lost = np.zeros(before.shape[:3], bool)
    lost[:, :, slices:] = True
    assert 0 < tree.volume.coverage(lost).sum() < 24


def test_nan_voxels(tree, scan):
    before = values(scan)
    FAULTS["nan_voxels"](tree, scan)
    after = values(scan)
    gone = np.isnan(after)
    np.testing.assert_allclose(after[~gone], before[~gone], rtol=1e-6)
    shares = tree.volume.means(gone)
    frames = before.shape[3]
    first, second = len(tree.volume.voxels[0]), len(tree.volume.voxels[1])
    np.testing.assert_allclose(shares[0], 1 / first)
    assert shares[1].sum() == 1 and gone.sum() == frames + second and not shares[2:].any()


def test_shifted_affine(tree, scan):
    before = values(scan)
    FAULTS["shifted_affine"](tree, scan)
    image = nib.load(scan.bold)
    np.testing.assert_allclose(image.affine - tree.volume.affine, [[0, 0, 0, 6], *np.zeros((3, 4))])
    np.testing.assert_array_equal(nib.load(scan.mask).affine, tree.volume.affine)
    np.testing.assert_allclose(image.get_fdata(), before, rtol=1e-6)
    assert image.header.get_zooms()[3] == scan.tr


def test_images_of_other_shapes(tree, scan):
    before = values(scan)
    FAULTS["one_frame"](tree, scan)
    assert values(scan).shape == (*before.shape[:3], 1)
    FAULTS["three_dimensional"](tree, scan)
    np.testing.assert_allclose(values(scan), before[..., 0], rtol=1e-6)


def test_damaged_files(tree, scan):
    whole = scan.bold.read_bytes()
    FAULTS["torn_gzip"](tree, scan)
    assert whole.startswith(scan.bold.read_bytes()) and header(scan.bold).get_zooms()[3] == scan.tr
    with pytest.raises(EOFError):
        values(scan)
    scan.bold.write_bytes(whole)
    FAULTS["flipped_bytes"](tree, scan)
    assert scan.bold.stat().st_size == len(whole)
    with pytest.raises((zlib.error, gzip.BadGzipFile, EOFError)):
        gzip.decompress(scan.bold.read_bytes())
    FAULTS["empty_file"](tree, scan)
    assert scan.bold.read_bytes() == b""
    FAULTS["no_mask"](tree, scan)
    assert not scan.mask.exists()


@pytest.mark.parametrize(
    ("name", "tr", "in_header"),
    [
        ("tr_in_milliseconds", 2000.0, 2.0),
        ("tr_contradicts_header", 0.8, 2.0),
        ("tr_nowhere", None, 0.0),
    ],
)
def test_wrong_repetition_times(tree, scan, name, tr, in_header):
    before = values(scan)
    assert FAULTS[name](tree, scan) == (scan.bold if tr is None else scan.sidecar)
    assert json.loads(scan.sidecar.read_text()).get("RepetitionTime") == (tr and pytest.approx(tr))
    assert header(scan.bold).get_zooms()[3] == in_header
    np.testing.assert_allclose(values(scan), before, rtol=1e-6)


def test_faults_of_confounds(tree, scan):
    frames = scan.truth.shape[1]
    FAULTS["short_confounds"](tree, scan)
    assert len(scan.confounds.read_text().splitlines()) == 1 + frames - 3
    load_confounds(str(scan.bold), strategy=("motion",), motion="basic")
    FAULTS["no_confounds_metadata"](tree, scan)
    with pytest.raises(ValueError, match="Could not find associated json file"):
        load_confounds(str(scan.bold), strategy=("high_pass", "compcor"))
    columns = scan.confounds.read_text().splitlines()[0].split("\t")
    FAULTS["missing_confound"](tree, scan)
    left = scan.confounds.read_text().splitlines()[0].split("\t")
    assert set(columns) - set(left) == {"rot_y"} and len(left) == len(columns) - 1
    with pytest.raises(ValueError, match=r"parameters are missing.*rot_y"):
        load_confounds(str(scan.bold), strategy=("motion",), motion="basic")
    FAULTS["no_confounds"](tree, scan)
    with pytest.raises(ValueError, match="Could not find associated confound file"):
        load_confounds(str(scan.bold), strategy=("motion",), motion="basic")


def test_duplicated(tree, scan):
    copy = FAULTS["duplicated"](tree, scan)
    assert copy.name == scan.bold.name.replace("2009cAsym_", "2009cAsym_res-2_")
    assert copy.read_bytes() == scan.bold.read_bytes()
    assert len(list(scan.bold.parent.glob(f"{scan.stem.name}_*_bold.nii.gz"))) == 2
    load_confounds(str(copy), strategy=("motion",), motion="basic")


def test_non_ascii_subject(tree, scan):
    bold = FAULTS["non_ascii_subject"](tree, scan)
    assert bold.name.startswith("sub-Jürgen_") and bold.is_file()
    assert not (tree.dataset / scan.subject).exists() and not scan.bold.exists()
    np.testing.assert_allclose(tree.volume.means(nib.load(bold).get_fdata()), scan.truth, atol=1e-6)
    for table in (tree.participants, tree.dataset / "phenotype" / "traits.tsv"):
        text = table.read_text(encoding="utf-8")
        assert "\nsub-Jürgen\t" in text and scan.subject not in text
    load_confounds(str(bold), strategy=("motion",), motion="basic")


def test_latin1_participants(tree):
    before = tree.participants.read_text().splitlines()
    assert TREE_FAULTS["latin1_participants"](tree) == tree.participants
    with pytest.raises(UnicodeDecodeError):
        tree.participants.read_text(encoding="utf-8")
    after = tree.participants.read_text(encoding="latin-1").splitlines()
    assert after[0] == f"{before[0]}\tcity"
    assert after[1:] == [f"{row}\tZürich" for row in before[1:]]


def test_labels_without_names(tree):
    assert TREE_FAULTS["labels_without_names"](tree) == tree.label_table
    assert not tree.label_table.exists() and tree.label_image.exists()


def test_labels_in_7network_order(tmp_path, tree):
    with pytest.raises(ValueError, match="expected a tree of the default atlas, found 'synth"):
        TREE_FAULTS["labels_in_7network_order"](tree)
    cohort = CohortSettings(sites=1, subjects_per_site=1, rois=450, networks=8, frames=16)
    site = generate_site(cohort, 0)
    tree = write_tree(tmp_path / "450", replace(site, scans=site.scans[:1]), atlas=load_atlas())
    (scan,) = tree.scans.values()
    TREE_FAULTS["labels_in_7network_order"](tree)
    labels = np.asarray(nib.load(tree.label_image).dataobj)
    image = values(scan)
    found = np.stack([image[labels == number].mean(axis=0) for number in range(1, 451)])
    with tree.label_table.open() as file:
        claimed = [row["name"] for row in csv.DictReader(file, delimiter="\t")]
    assert tuple(claimed) == load_atlas().rois
    wrong = np.abs(found - scan.truth).max(axis=1) > 1
    assert wrong.sum() > 390
    rows = load_atlas().rows_of(names_in_7network_order())
    np.testing.assert_allclose(found[rows], scan.truth, atol=1e-6)
