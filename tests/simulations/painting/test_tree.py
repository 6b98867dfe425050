"""A painted site on disk: what the files hold is what the tree says is true."""

from __future__ import annotations

import csv
import hashlib
import json
import math
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from nilearn.interfaces.bids import parse_bids_filename
from nilearn.interfaces.fmriprep import load_confounds
from nilearn.signal import clean

from brainjepa_client.settings import SiteSettings
from brainjepa_core.atlas import Atlas, load_atlas
from brainjepa_core.settings import read_settings
from brainjepa_core.signals.storing.store import ScanStore
from brainjepa_simulations.cohort.cohort import CohortSettings, generate_site
from brainjepa_simulations.cohort.stores import write_cohort
from brainjepa_simulations.painting.cifti import Grayordinates
from brainjepa_simulations.painting.tree import (
    BASELINE,
    UNIT,
    PaintedTree,
    PaintSettings,
    write_tree,
)

COHORT = CohortSettings(
    sites=3, subjects_per_site=4, rois=12, networks=5, frames=60, second_sessions=0.5
)
SITE = generate_site(COHORT, 0)


def few(site, scans: int):
    """A site of the first few scans of other people."""
    return replace(site, scans=site.scans[:scans])


def digests(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != "site.yaml"
    }


def table(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.read_text().splitlines(), delimiter="\t"))


@pytest.fixture(scope="module")
def tree(tmp_path_factory) -> PaintedTree:
    return write_tree(tmp_path_factory.mktemp("tree") / "site-01", SITE)


def test_every_scan_of_the_site_is_there_as_fmriprep_names_it(tree):
    keys = [(scan.subject, scan.session, "task-rest") for scan in SITE.scans]
    assert list(tree.scans) == keys and len({session for _, session, _ in keys}) == 2
    images = sorted(tree.dataset.rglob("*_bold.nii.gz"))
    assert images == sorted(scan.bold for scan in tree.scans.values())
    for key, scan in tree.scans.items():
        entities = parse_bids_filename(scan.bold)
        assert entities["entities"] == {
            "sub": scan.subject[4:],
            "ses": scan.session,
            "task": "rest",
            "space": "MNI152NLin2009cAsym",
            "desc": "preproc",
        }
        assert scan.bold.parent == tree.dataset / scan.subject / f"ses-{scan.session}" / "func"
        assert scan.key == key and scan.mask.exists()
        assert json.loads(scan.sidecar.read_text())["RepetitionTime"] == SITE.tr == scan.tr
        assert len(table(scan.confounds)) == scan.truth.shape[1]
        assert "a_comp_cor_00" in json.loads(scan.confounds.with_suffix(".json").read_text())
    assert sum(path.is_file() for path in tree.dataset.rglob("func/*")) == 5 * len(keys)
    described = json.loads((tree.dataset / "dataset_description.json").read_text())
    assert described["DatasetType"] == "derivative"
    assert described["GeneratedBy"][0]["Name"] == "fMRIPrep"


def test_images_hold_the_truth_and_the_truth_is_the_synthetic_store_s(tree, tmp_path):
    store = ScanStore.open(write_cohort(COHORT, tmp_path)[0])
    labels = np.asarray(nib.load(tree.label_image).dataobj)
    names = {row["name"]: int(row["index"]) for row in table(tree.label_table)}
    for record in store.records:
        scan = tree.scans[(record.subject, record.session, "task-rest")]
        image = nib.load(scan.bold)
        values = image.get_fdata()
        found = np.stack([values[labels == names[roi]].mean(axis=0) for roi in SITE.rois])
        np.testing.assert_allclose(found, scan.truth, rtol=0, atol=1e-6)
        np.testing.assert_allclose((found - BASELINE) / UNIT, store.series(record), atol=2e-3)
        np.testing.assert_allclose((scan.clean - BASELINE) / UNIT, store.series(record), atol=1e-6)
        assert image.header.get_zooms()[3] == record.tr
        mask = nib.load(scan.mask)
        np.testing.assert_array_equal(mask.affine, image.affine)
        np.testing.assert_array_equal(image.affine, nib.load(tree.label_image).affine)
        assert np.asarray(mask.dataobj)[labels > 0].all()
        fd = [row["framewise_displacement"] for row in table(scan.confounds)]
        assert fd[0] == "n/a"
        assert np.mean([float(value) for value in fd[1:]]) == pytest.approx(record.qc["mean_fd"])
    assert tree.truth.keys() == tree.scans.keys()


def test_tables_hold_what_the_synthetic_store_knows_of_people(tree, tmp_path):
    store = ScanStore.open(write_cohort(COHORT, tmp_path)[0])
    people: dict[str, dict[str, str]] = {}
    for path in (tree.participants, tree.dataset / "phenotype" / "traits.tsv"):
        described = json.loads(path.with_suffix(".json").read_text())
        for row in table(path):
            person = people.setdefault(row.pop("participant_id"), {})
            assert row.keys() == described.keys()
            assert all(
                row[name] in facts["Levels"]
                for name, facts in described.items()
                if "Levels" in facts
            )
            person.update(row)
    for record in store.records:
        known = people[record.subject]
        assert known.keys() == record.phenotypes.keys()
        for name, value in record.phenotypes.items():
            assert (float(known[name]) if isinstance(value, float) else known[name]) == value
    described = json.loads(tree.participants.with_suffix(".json").read_text())
    assert described["age"]["Units"] == "year"


def test_the_atlas_beside_the_tree_says_where_rois_are(tree):
    atlas = load_atlas(tree.atlas_table)
    assert atlas == replace(tree.volume.atlas, name="atlas")
    assert atlas.rois == SITE.rois
    for side, (x, _, _) in zip(atlas.hemispheres, atlas.centroids, strict=True):
        assert side == ("L" if x < 0 else "R")


def test_the_site_s_settings_are_complete(tree):
    settings = read_settings(tree.site, SiteSettings)
    prepare = settings.preparation()
    assert prepare.input.folder == tree.dataset and prepare.input.label_image == tree.label_image
    assert load_atlas(prepare.atlas).rois == SITE.rois
    assert settings.name == "site-01" and settings.store == tree.folder / "store"


def test_a_tree_may_be_moved(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    tree = write_tree("painted/site", few(SITE, 1))
    assert not next(iter(tree.scans.values())).bold.is_absolute()
    Path("painted").rename("moved")
    settings = read_settings("moved/site/site.yaml", SiteSettings)
    assert settings.preparation().input.folder == Path("moved/site/fmriprep")


def test_the_same_seed_gives_the_same_bytes_whoever_else_is_there(tmp_path):
    settings = PaintSettings(cifti=1)
    whole = digests(write_tree(tmp_path / "a", few(SITE, 3), settings).folder)
    again = digests(write_tree(tmp_path / "b", few(SITE, 3), settings).folder)
    assert whole == again and len(whole) > 20
    last = replace(SITE, scans=SITE.scans[2:3])
    alone = digests(write_tree(tmp_path / "c", last, settings).folder)
    shared = [name for name in alone if "/func/" in name and name in whole]
    assert len(shared) == 5 and all(alone[name] == whole[name] for name in shared)
    other = digests(write_tree(tmp_path / "d", few(SITE, 3), PaintSettings(seed=1)).folder)
    assert all(other[name] != whole[name] for name in shared if name.endswith("bold.nii.gz"))


def test_a_scan_without_session_in_several_runs(tmp_path):
    scan = replace(SITE.scans[0], session="")
    tree = write_tree(tmp_path / "x", replace(SITE, scans=(scan,)), PaintSettings(runs=3))
    assert [key[1:] for key in tree.scans] == [("", f"task-rest_run-{i}") for i in (1, 2, 3)]
    parts = [one.clean for one in tree.scans.values()]
    np.testing.assert_allclose(
        np.hstack(parts), BASELINE + UNIT * scan.series.astype(float), rtol=1e-12
    )
    first = next(iter(tree.scans.values()))
    name = f"{scan.subject}_task-rest_run-1_space-MNI152NLin2009cAsym_desc-preproc_bold.nii.gz"
    assert first.bold == tree.dataset / scan.subject / "func" / name and first.bold.exists()


@pytest.mark.filterwarnings("ignore:From release 0.14")
def test_cleaning_the_images_gives_back_the_clean_series(tmp_path):
    settings = PaintSettings(contamination="simple_motion", storage="float32", strength=0.5)
    tree = write_tree(tmp_path / "x", few(SITE, 2), settings)
    for scan in tree.scans.values():
        regressors, _ = load_confounds(
            str(scan.bold), strategy=("motion", "high_pass"), motion="basic"
        )
        found = tree.volume.means(nib.load(scan.bold).get_fdata())
        cleaned = clean(found.T, standardize=None, confounds=regressors.to_numpy()).T
        known = scan.clean - scan.clean.mean(1, keepdims=True)
        np.testing.assert_allclose(cleaned, known, rtol=0, atol=1e-3)  # of about 10
        assert np.abs(scan.truth - scan.clean).max() > 5


def test_missing_rois_are_outside_the_field_of_view(tmp_path):
    site = generate_site(COHORT, 2)
    tree = write_tree(tmp_path / "x", few(site, 1))
    (scan,) = tree.scans.values()
    missing = np.isnan(scan.truth).all(axis=1)
    assert missing.sum() == COHORT.missing_rois
    seen = np.asarray(nib.load(scan.mask).dataobj) > 0
    np.testing.assert_array_equal(tree.volume.coverage(seen), ~missing)
    values = nib.load(scan.bold).get_fdata()
    np.testing.assert_array_equal(tree.volume.means(values)[missing], 0)


def test_cifti_holds_its_own_truth(tmp_path):
    tree = write_tree(tmp_path / "x", few(SITE, 3), PaintSettings(cifti=2))
    labels = nib.load(tree.cifti_labels)
    names = {number: name for number, (name, _) in labels.header.get_axis(0).label[0].items()}
    row = np.asarray(labels.dataobj)[0]
    model = labels.header.get_axis(1)
    structures = [name for name, _, _ in model.iter_structures()]
    assert [name.removeprefix("CIFTI_STRUCTURE_") for name in structures] == [
        "CORTEX_LEFT",
        "CORTEX_RIGHT",
        "THALAMUS_LEFT",
        "THALAMUS_RIGHT",
    ]
    with_surfaces = [scan for scan in tree.scans.values() if scan.cifti.exists()]
    assert len(with_surfaces) == 2
    for scan in with_surfaces:
        image = nib.load(scan.cifti)
        frames, grayordinates = (image.header.get_axis(i) for i in (0, 1))
        assert grayordinates == model
        assert (frames.step, frames.unit, frames.size) == (SITE.tr, "SECOND", scan.clean.shape[1])
        values = np.asarray(image.dataobj, np.float64)
        by_name = {n: values[:, row == number].mean(axis=1) for number, n in names.items()}
        found = np.stack([by_name[roi] for roi in SITE.rois])
        np.testing.assert_allclose(found, scan.cifti_truth, rtol=0, atol=1e-9)
        np.testing.assert_allclose(found, scan.clean, rtol=0, atol=1e-3)
    assert [scan.cifti_truth is None for scan in tree.scans.values()] == [False, False, True]


@pytest.mark.parametrize("names", [load_atlas().rois, [f"cc200_{i}" for i in range(9)]])
def test_grayordinates_hold_every_roi(names):
    grayordinates = Grayordinates.of(Atlas.from_names(names))
    counts = np.bincount(grayordinates.labels, minlength=len(names) + 1)[1:]
    assert set(counts) <= {4, 5} and len(grayordinates.axis) == grayordinates.labels.size
    series = np.random.default_rng(0).standard_normal((len(names), 3))
    series[1] = np.nan
    image, truth = grayordinates.paint(series, 1.0, np.random.default_rng(0))
    np.testing.assert_allclose(truth, series, atol=1e-5)
    assert not image.get_fdata()[:, grayordinates.labels == 2].any()


def test_the_default_atlas_can_be_painted(tmp_path):
    cohort = CohortSettings(sites=1, subjects_per_site=1, rois=450, networks=8, frames=20)
    site = few(generate_site(cohort, 0), 1)
    tree = write_tree(tmp_path / "x", site, atlas=load_atlas())
    atlas = load_atlas(tree.atlas_table)
    assert (atlas.rois, atlas.networks) == (load_atlas().rois, load_atlas().networks)
    (scan,) = tree.scans.values()
    values = nib.load(scan.bold).get_fdata()
    np.testing.assert_allclose(tree.volume.means(values), scan.truth, rtol=0, atol=1e-6)
    assert math.prod(values.shape[:3]) < 10_000


def test_folders_that_exist_and_wrong_wishes_are_refused(tmp_path, tree):
    with pytest.raises(FileExistsError, match="expected a new folder name, found that 'site-01'"):
        write_tree(tree.folder, SITE)
    with pytest.raises(
        ValueError, match=r"as many ROIs as the site's 12, found .* of 450; generate"
    ):
        write_tree(tmp_path / "x", SITE, atlas=load_atlas())
    with pytest.raises(ValueError, match="runs of at least 8 frames, found 60 frames for 9 runs"):
        write_tree(tmp_path / "x", few(SITE, 1), PaintSettings(runs=9))
    with pytest.raises(ValueError, match="expected more frames than confounds, found 30 frames"):
        wish = PaintSettings(contamination="motion36", runs=2)
        write_tree(tmp_path / "x", few(SITE, 1), wish)
    assert not list(tmp_path.iterdir())
