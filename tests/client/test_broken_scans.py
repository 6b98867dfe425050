"""What goes wrong in real folders: who is told what, and that all else goes on."""

from __future__ import annotations

import re

import numpy as np
import pytest
from painted_sites import change, files_of, site_of, store_of

from brainjepa_client.preparing import scan as prepare_scan_module
from brainjepa_client.preparing.prepare import Preparation
from brainjepa_client.preparing.scan_reports import Reports
from brainjepa_client.preparing.validate import validate
from brainjepa_core.atlas import load_atlas
from brainjepa_core.signals.inputs.fmriprep import find
from brainjepa_core.signals.problems import ScanProblem
from brainjepa_simulations.cohort.cohort import CohortSettings, generate_site
from brainjepa_simulations.painting.broken_scans import FAULTS, TREE_FAULTS
from brainjepa_simulations.painting.tree import PaintSettings, write_tree

COHORT = CohortSettings(
    sites=1, subjects_per_site=2, rois=12, networks=5, frames=60, second_sessions=0
)
# Of each fault: what the problem says, and whether headers alone show it.
PROBLEMS = {
    "shifted_affine": (r"a mask on the scan's grid \[.*\], found .* elsewhere; .*affine", True),
    "three_dimensional": (r"a 4D image with at least 2 frames, found shape \[14, 8, 8\]; gi", True),
    "one_frame": (r"with at least 2 frames, found shape \[14, 8, 8, 1\]; give the preproc", True),
    "empty_file": ("a NIfTI image, found an empty file; copy it again, or preprocess", True),
    "torn_gzip": ("the 60 frames its header announces, found .*; the file was cut short", False),
    "flipped_bytes": ("a sound gzip file, found damage .*; copy it again", False),
    "tr_in_milliseconds": ("between 0.1 and 20 seconds, found 2000; write it in seconds", True),
    "tr_contradicts_header": ("2 s, as in the image's header, found 0.8 s; correct the one", True),
    "tr_nowhere": ("the header's repetition time between .*, found none; write it in sec", True),
    "no_confounds": ("a confounds table beside it for .*, found none .*; copy it there", True),
    "no_confounds_metadata": (
        r"its JSON beside it for preset 'motion24_acompcor', found none; copy",
        True,
    ),
    "missing_confound": (
        r"the columns of preset .*, found 1 missing \(rot_y\); run fMRIPrep",
        True,
    ),
    "short_confounds": ("60 rows, one a frame of the image, found 57; give the table", False),
    "duplicated": ("one file of a subject, session and run, found also .*res-2.*; choose o", True),
    "no_mask": ("its brain mask beside it, of the same space .*, found none .*; copy it", True),
}
HARMLESS = ("non_ascii_subject",)
PARTLY_SEEN = ("zero_field_of_view", "cut_field_of_view", "nan_voxels")


@pytest.fixture
def tree(tmp_path, monkeypatch):
    """Two people with a scan each; pictures are drawn elsewhere in the tests."""
    monkeypatch.setattr(prepare_scan_module, "draw_scan", lambda *_, **__: None)
    tree = write_tree(tmp_path / "site", generate_site(COHORT, 0), PaintSettings())
    change(
        tree, processes=1, cleaning={"preset": "motion24_acompcor"}, exclude={"missing_rois": None}
    )
    return tree


def prepare(tree):
    """Reports by subject; of what could not be taken up, by the file's name."""
    site = site_of(tree)
    for _ in Preparation.of(site).run():
        pass
    return {report.subject: report for report in Reports(site.quality).all()}


def nothing_half_written(tree) -> bool:
    whole = all(np.load(path).shape[0] == 12 for path in tree.folder.rglob("scans/*.npy"))
    return whole and not [name for name in files_of(tree.folder) if name.endswith(".tmp")]


def test_every_fault_is_judged():
    assert {*PROBLEMS, *HARMLESS, *PARTLY_SEEN} == set(FAULTS)


@pytest.mark.parametrize("fault", PROBLEMS)
def test_a_problem_names_file_expectation_finding_and_mend(tree, fault):
    scan, other = tree.scans.values()
    to_mend = FAULTS[fault](tree, scan)
    text, by_header = PROBLEMS[fault]
    problems = validate(site_of(tree)).problems
    assert len(problems) == by_header
    reports = prepare(tree)
    failed = [report for report in reports.values() if report.status == "failed"]
    assert len(failed) == 1 and len(failed[0].reasons) == 1
    for told in [*map(str, problems), failed[0].reasons[0]]:
        name, _, rest = told.partition(": expected ")
        assert name in (to_mend.name, scan.bold.name, scan.mask.name, scan.confounds.name)
        assert re.search(text, rest), told
    assert reports[other.subject].status == "included"
    assert [record.key for record in store_of(tree).records] == [other.key]
    assert nothing_half_written(tree)


@pytest.mark.parametrize("fault", HARMLESS)
def test_what_does_no_harm(tree, fault):
    FAULTS[fault](tree, next(iter(tree.scans.values())))
    assert validate(site_of(tree)).problems == ()
    assert {report.status for report in prepare(tree).values()} == {"included"}
    assert len(store_of(tree).records) == 2
    assert all(record.phenotypes for record in store_of(tree).records)


@pytest.mark.parametrize("fault", PARTLY_SEEN)
def test_regions_that_are_not_seen_are_missing_and_the_others_right(tree, fault):
    scan, _ = tree.scans.values()
    change(tree, cleaning={"preset": "none"})
    FAULTS[fault](tree, scan)
    settings = site_of(tree).preparation()
    found, _ = find(settings.input, load_atlas(settings.atlas), settings.cleaning)
    raw = next(one for one in found if one.key == scan.key).read()
    seen = np.isfinite(raw.series).all(1)
    assert (raw.coverage < 1).any() and (seen == (raw.coverage >= 0.5)).all()
    whole = raw.coverage == 1
    np.testing.assert_allclose(raw.series[whole], scan.truth[whole], rtol=0, atol=1e-6)
    report = prepare(tree)[scan.subject]
    assert report.status == "included"
    assert report.quality["missing_rois"] == (~seen).sum()
    assert report.quality["coverage_min"] == pytest.approx(raw.coverage.min())
    (record,) = (r for r in store_of(tree).records if r.key == scan.key)
    assert len(record.missing) == (~seen).sum()


def test_participants_in_another_encoding(tree):
    TREE_FAULTS["latin1_participants"](tree)
    with pytest.raises(ValueError, match=r"table in UTF-8, found bytes that are .*as UTF-8"):
        Preparation.of(site_of(tree))
    assert not (tree.folder / "store").exists()


def test_an_atlas_in_7network_order_handed_in_as_17(tmp_path):
    site = generate_site(
        COHORT.model_copy(update={"rois": 450, "networks": 17, "subjects_per_site": 1}), 0
    )
    tree = write_tree(tmp_path / "site", site, atlas=load_atlas())
    change(tree, processes=1)
    assert validate(site_of(tree)).problems == ()
    image = TREE_FAULTS["labels_in_7network_order"](tree)
    text = rf"{image.name}: expected .*, found .* of 450 .*7-network order.*; "
    with pytest.raises(ScanProblem, match=text):
        validate(site_of(tree))
    with pytest.raises(ScanProblem, match=text):
        Preparation.of(site_of(tree))
    assert not (tree.folder / "store").exists()
