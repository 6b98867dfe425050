"""fMRIPrep derivatives against the truth they were painted from."""

from __future__ import annotations

import pickle
import shutil

import numpy as np
import pytest
from nilearn.maskers import NiftiLabelsMasker

from brainjepa_core.atlas import load_atlas
from brainjepa_core.signals.cleaning.clean import clean_series
from brainjepa_core.signals.inputs.fmriprep import find
from brainjepa_core.signals.preparation import CleaningSettings, InputSettings
from brainjepa_core.signals.problems import ScanProblem


def found(tree, cleaning=None, **changes):
    source = dict(kind="fmriprep", folder=tree.dataset, label_image=tree.label_image)
    settings = InputSettings(**{**source, **changes})
    return find(settings, load_atlas(tree.atlas_table), cleaning or CleaningSettings())


def test_painted_volumes_give_the_series_they_were_painted_from(tree):
    scans, problems = found(tree)
    assert problems == [] and [scan.key for scan in scans] == sorted(tree.scans)
    for scan in scans:
        painted = tree.scans[scan.key]
        raw = pickle.loads(pickle.dumps(scan)).read()
        np.testing.assert_allclose(raw.series, painted.truth, rtol=0, atol=1e-6)
        assert raw.tr == painted.tr and (raw.coverage == 1).all() and raw.tsnr > 10
        assert raw.fd[1:].mean() == pytest.approx(painted.mean_fd)
        assert raw.keep.all() and raw.censored == 0


def test_as_nilearns_masker_reads_them(tree):
    scan = found(tree)[0][0]
    masker = NiftiLabelsMasker(tree.label_image, standardize=None, resampling_target=None)
    expected = masker.fit_transform(str(scan.image)).T
    np.testing.assert_allclose(scan.read().series, expected, rtol=1e-6)


def test_cleaning_gives_back_what_was_there_before_the_motion(tree):
    for scan in found(tree)[0]:
        painted = tree.scans[scan.key]
        cleaned = clean_series(scan.read(), CleaningSettings())
        assert np.abs(painted.truth - painted.clean).max() > 10
        np.testing.assert_allclose(cleaned, painted.clean, rtol=0, atol=0.05)  # int16's rounding


def test_cifti(tree):
    scans, problems = found(tree, space="fsLR", label_image=tree.cifti_labels)
    assert problems == [] and len(scans) == 2  # one scan in two runs
    for scan in scans:
        raw = pickle.loads(pickle.dumps(scan)).read()
        painted = tree.scans[scan.key]
        np.testing.assert_allclose(raw.series, painted.cifti_truth, rtol=0, atol=1e-4)
        assert raw.tr == painted.tr and (raw.coverage == 1).all()
        assert raw.fd[1:].mean() == pytest.approx(painted.mean_fd)


def test_a_task_that_nobody_has(tree):
    assert found(tree, task="nback") == ([], [])
    assert len(found(tree, task="rest")[0]) == len(tree.scans)


def test_other_tables_and_masks_beside_a_scan_are_not_its_own(tree):
    scans = {scan.key: (scan.mask, scan.confounds) for scan in found(tree)[0]}
    for mask, table in scans.values():
        for desc in ("aroma", "zscored"):  # before and after in the alphabet
            shutil.copy(mask, table.with_name(table.name.replace("confounds", desc)))
        for resolution in ("1", "native"):
            other = mask.name.replace("_desc-brain", f"_res-{resolution}_desc-brain")
            shutil.copy(table, mask.with_name(other))
    assert {s.key: (s.mask, s.confounds) for s in found(tree)[0]} == scans


def test_another_space(tree):
    with pytest.raises(
        ValueError,
        match=r"images in space MNI152NLin6Asym \(input.space\), found only MNI152NLin2009cAsym; ",
    ):
        found(tree, space="MNI152NLin6Asym")


def test_a_label_image_of_another_space(tree):
    moved = tree.label_image.with_name("tpl-MNI152NLin6Asym_atlas-Own_dseg.nii.gz")
    shutil.copy(tree.label_image, moved)
    with pytest.raises(ScanProblem, match="label image in the scans' space MNI152NLin2009cAsym"):
        found(tree, label_image=moved, label_table=tree.label_table)


def test_no_table_is_needed_where_nothing_is_taken_out(tree):
    scan = next(iter(tree.scans.values()))
    scan.confounds.unlink()
    raw = found(tree, CleaningSettings(preset="none"))[0][0].read()
    assert raw.fd is None and raw.regressors is None and raw.keep.all()
    with pytest.raises(ScanProblem, match=r"bold.nii.gz: expected a confounds table beside it for"):
        found(tree)[0][0].check()


def test_the_sites_word_on_the_repetition_time(tree):
    scan = next(iter(tree.scans.values()))
    scan.sidecar.write_text('{"RepetitionTime": 2000}')
    assert found(tree, tr=2.2)[0][0].check().tr == 2.2
