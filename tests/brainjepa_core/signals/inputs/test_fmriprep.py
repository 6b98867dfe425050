"""fMRIPrep derivatives against the truth they were painted from."""

from __future__ import annotations

import gzip
import pickle
import shutil

import nibabel as nib
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
    nameless = tree.label_image.with_name("atlas-Own_dseg.nii.gz")
    shutil.copy(tree.label_image, nameless)
    with pytest.raises(
        ValueError,
        match=r"images in space MNI152NLin6Asym \(input.space\), found only MNI152NLin2009cAsym; ",
    ):
        found(
            tree,
            space="MNI152NLin6Asym",
            label_image=nameless,
            label_table=tree.label_table,
        )


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


def uncompress(*files):
    """Write each .nii.gz as .nii; returns those."""
    plain = []
    for file in files:
        plain.append(file.with_name(file.name.removesuffix(".gz")))
        plain[-1].write_bytes(gzip.decompress(file.read_bytes()))
        file.unlink()
    return plain


def renamed(tree, **entities):
    """Give images and masks of all scans further entities, such as ``res="2"``."""
    added = "".join(f"_{name}-{value}" for name, value in entities.items())
    for scan in tree.scans.values():
        for file in (scan.bold, scan.sidecar, scan.mask):
            if file.exists():
                file.rename(file.with_name(file.name.replace("_desc-", f"{added}_desc-")))


def copied(tree, **entities):
    """The same, beside what was there."""
    for scan in tree.scans.values():
        for file in (scan.bold, scan.sidecar, scan.mask):
            shutil.copy(file, file.with_name(f"{file.name}.old"))
    renamed(tree, **entities)
    for scan in tree.scans.values():
        for file in (scan.bold, scan.sidecar, scan.mask):
            file.with_name(f"{file.name}.old").rename(file)


def test_uncompressed_images_and_masks_are_read_alike(tree):
    before = {scan.key: scan.read() for scan in found(tree)[0]}
    first, second, *_ = tree.scans.values()
    uncompress(first.bold, second.mask)
    for scan in found(tree)[0]:
        raw, old = scan.read(), before[scan.key]
        assert np.array_equal(raw.series, old.series) and raw.masked
        assert np.array_equal(raw.regressors, old.regressors) and raw.tr == old.tr


def test_an_uncompressed_label_image(tree):
    expected = found(tree)[0][0].read().series
    (plain,) = uncompress(tree.label_image)  # its table is beside it
    assert np.array_equal(found(tree, label_image=plain)[0][0].read().series, expected)


def test_of_an_image_and_its_uncompressed_copy_fmripreps_own_is_taken(tree):
    scan = next(iter(tree.scans.values()))
    for file in (scan.bold, scan.mask):
        file.with_name(file.name.removesuffix(".gz")).write_bytes(b"stale")
    scans, problems = found(tree)
    assert problems == [] and len(scans) == len(tree.scans)
    assert all(file.suffix != ".nii" for scan in scans for file in scan.files)


def test_the_site_chooses_of_two_resolutions(tree):
    copied(tree, res="2")
    scans, problems = found(tree)
    assert scans == [] and len(problems) == len(tree.scans)
    assert str(problems[0]).endswith("; choose one with input.res (2 or native)")
    for res, image in (("2", "_res-2_"), (2, "_res-2_"), ("native", "")):
        scans, problems = found(tree, res=res)
        assert problems == [] and len(scans) == len(tree.scans)
        for scan in scans:
            assert (image or "_space-MNI152NLin2009cAsym_desc") in scan.image.name
            assert scan.check().frames and image in scan.mask.name and image in scan.files[3].name


def test_a_resolution_that_nobody_has(tree):
    renamed(tree, res="2")
    with pytest.raises(
        ValueError,
        match=r"images in resolution 1 \(input.res\), found only 2; choose one of these, with the",
    ):
        found(tree, res="1")
    with pytest.raises(ValueError, match=r"in density 91k \(input.den\), found only native; "):
        found(tree, den="91k")


def test_the_site_chooses_of_two_cohorts(tree):
    copied(tree, cohort="3")
    (problem, *_) = found(tree)[1]
    assert problem.mend == "choose one with input.cohort (3 or native)"
    scans, problems = found(tree, cohort="3")
    assert problems == [] and all("_cohort-3_" in scan.mask.name for scan in scans)


def test_the_site_chooses_of_two_densities(tree):
    surfaces = [scan.cifti for scan in tree.scans.values() if scan.cifti.exists()]
    for file in surfaces:
        shutil.copy(file, file.with_name(file.name.replace("den-91k", "den-170k")))
    surface = dict(space="fsLR", label_image=tree.cifti_labels)
    scans, problems = found(tree, **surface)
    assert scans == [] and problems[0].mend == "choose one with input.den (170k or 91k)"
    assert [scan.image for scan in found(tree, **surface, den="91k")[0]] == surfaces


def test_a_space_with_the_modifiers_of_fmripreps_call(tree):
    for space in ("MNI152NLin2009cAsym:res-2", "MNI152NLin2009cAsym_res-2"):
        with pytest.raises(ValueError, match=f"found '{space}'; say what is beside it as res, den"):
            found(tree, space=space)


def test_a_volume_without_its_mask_is_a_problem_or_allowed(tree):
    scan = next(iter(tree.scans.values()))
    scan.mask.rename(scan.mask.with_name(scan.mask.name.replace("_desc-", "_res-1_desc-")))
    with pytest.raises(
        ScanProblem,
        match=r"preproc_bold.nii.gz: expected its brain mask beside it, of the same space and "
        r"resolution, found none \(...*brain_mask.nii.gz\); .*input.mask: optional",
    ):
        found(tree)[0][0].check()
    allowed = found(tree, mask="optional")[0]
    assert [scan.read().masked for scan in allowed] == [False] + [True] * (len(allowed) - 1)
    assert [scan.read_whole for scan in allowed] == [True] + [False] * (len(allowed) - 1)
    surface = found(tree, space="fsLR", label_image=tree.cifti_labels)[0][0]
    assert surface.read().masked is None


def test_masks_as_drafts_of_bids_named_them(tree):
    for scan in tree.scans.values():
        scan.mask.rename(scan.mask.with_name(scan.mask.name.replace("desc-brain", "label-brain")))
    assert all(scan.read().masked for scan in found(tree)[0])


def test_surfaces_and_volumes_do_not_go_together(tree):
    with pytest.raises(
        ScanProblem,
        match=r"dseg.nii.gz: expected CIFTI labels \(.dlabel.nii\) for scans of surfaces .*, found "
        r"no CIFTI; give the atlas as .dlabel.nii, or say in input.space in which volumes it is",
    ):
        found(tree, space="fsLR")
    unnamed = tree.cifti_labels.with_name("labels.nii")  # what a file is stands in its header
    shutil.copy(tree.cifti_labels, unnamed)
    for labels in (tree.cifti_labels, unnamed):
        with pytest.raises(
            ScanProblem,
            match=r"a volume of labels \(.nii.gz\) for scans in MNI152NLin2009cAsym .*, found "
            "CIFTI labels of surfaces; say input.space: fsLR, or give the atlas as a volume",
        ):
            found(tree, label_image=labels)
    assert len(found(tree, space="fsLR", label_image=unnamed)[0]) == 2


def test_single_echoes_are_not_scans_of_their_own(tree):
    scan = next(iter(tree.scans.values()))
    for echo in (1, 2):
        for file in (scan.bold, scan.mask):
            shutil.copy(file, file.with_name(file.name.replace("_space", f"_echo-{echo}_space")))
    assert [s.key for s in found(tree)[0]] == sorted(tree.scans) and found(tree)[1] == []
    scan.bold.unlink()
    scans, (problem,) = found(tree)
    assert [s.key for s in scans] == sorted(tree.scans)[1:]
    assert "_echo-1_" in str(problem)
    assert "expected the combination of its echoes, found 2 single ones; run fM" in str(problem)


def test_the_repetition_time_may_stand_above_the_scans(tree):
    for scan in tree.scans.values():
        scan.sidecar.unlink()
        image = nib.load(scan.bold)
        image.header.set_zooms((*image.header.get_zooms()[:3], 0))
        nib.save(nib.Nifti1Image(image.get_fdata(), image.affine, image.header), scan.bold)
    above = tree.dataset / "task-rest_bold.json"
    above.write_text('{"RepetitionTime": 1.5}')
    scans = found(tree)[0]
    assert {scan.check().tr for scan in scans} == {1.5}
    assert all(above in scan.files for scan in scans)  # a correction there reaches the store


def test_a_persons_folder_that_is_a_link_to_nowhere(tree):
    (tree.dataset / "sub-99").symlink_to("../nowhere/sub-99")
    (tree.dataset / "sub-99.html").symlink_to("../nowhere/sub-99.html")
    scans, (problem,) = found(tree)
    assert len(scans) == len(tree.scans)
    assert str(problem).startswith("sub-99: expected a file, or none, found a link to a file that")


@pytest.mark.parametrize("which", ["bold", "mask", "confounds", "sidecar"])
@pytest.mark.parametrize("left", ["link", "text"])
def test_content_that_was_not_fetched_is_a_problem_that_names_the_file(tree, which, left):
    scan = next(iter(tree.scans.values()))
    file = getattr(scan, which)
    file.unlink()
    if left == "link":
        file.symlink_to("../../../.git/annex/objects/xx/MD5E-s9--0/MD5E-s9--0")
    else:
        file.write_text("/annex/objects/MD5E-s9--0\n")
    with pytest.raises(ScanProblem, match=r"fetch its content \(datalad get\)") as caught:
        found(tree)[0][0].check()
    assert caught.value.file == file
