"""Nothing is passed over in silence: each reason a count and one example."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from brainjepa_core.atlas import Atlas, load_atlas
from brainjepa_core.signals.inputs.find import find_scans
from brainjepa_core.signals.preparation import InputSettings, PreparationSettings

FUNC = "sub-01/func/sub-01_task-rest"
IN = "space-MNI152NLin2009cAsym"


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def told(folder: Path, kind: str = "fmriprep", atlas: Atlas | None = None, **settings) -> list[str]:
    source = InputSettings(kind=kind, folder=folder, **settings)
    return find_scans(PreparationSettings(input=source), atlas or Atlas.from_names("ab")).told()


def told_of(tree, **settings) -> list[str]:
    labels = tree.label_image.with_name("tpl-MNI152NLin2009cAsym_dseg.nii.gz")
    if not labels.exists():
        shutil.copy(tree.label_image, labels)
    own = dict(label_image=labels, label_table=tree.label_table)
    return told(tree.dataset, atlas=load_atlas(tree.atlas_table), **{**own, **settings})


def test_a_painted_site_has_surfaces_that_are_not_taken(tree):
    (surfaces,) = told_of(tree)
    assert surfaces.startswith("2 passed over, such as sub-")
    assert surfaces.endswith("_bold.dtseries.nii: CIFTI, which input.space fsLR takes")
    sentences = told_of(tree, space="fsLR", label_image=tree.cifti_labels)
    volumes = sum(2 for _ in tree.scans)  # images and masks
    assert any(
        s.startswith(f"{volumes} passed over") and s.endswith("input.space fsLR does not take")
        for s in sentences
    )


@pytest.mark.parametrize(
    "name, reason",
    [
        (f"{FUNC}_space-T1w_desc-preproc_bold.nii.gz", "space T1w, not MNI152NLin2009cAsym (input"),
        (f"{FUNC}_desc-preproc_bold.nii.gz", "space native, not MNI152NLin2009cAsym (input.space)"),
        (f"{FUNC}_{IN}_desc-smoothAROMAnonaggr_bold.nii.gz", "desc-smoothAROMAnonaggr, not desc-"),
        (f"{FUNC}_{IN}_bold.nii.gz", "no desc, not desc-preproc"),
        (f"{FUNC}_space-fsaverage5_hemi-L_bold.func.gii", ".func.gii is not read"),
        (f"{FUNC}_{IN}_desc-preproc_bold.nii.bz2", ".nii.bz2 is not read"),
        (f"{FUNC}_{IN}_desc-preproc_bold.mgz", ".mgz is not read"),
        (f"{FUNC}_bold_{IN}_preproc.nii.gz", "named as by fMRIPrep before 1.2"),
        (f"{FUNC}_run-7_{IN}_desc-brain_mask.nii.gz", "masks of no image taken"),
        (f"{FUNC}_run-7_desc-confounds_timeseries.tsv", "tables of no image taken, or not called"),
        (f"{FUNC}_{IN}_boldref.nii.gz", "neither a series nor its mask or confounds"),
        (f"sub-01/sub-01_{IN}_desc-preproc_bold.nii.gz", "not sub-*/[ses-*/]func/sub-* in input.f"),
        (f"s/{FUNC}_{IN}_desc-preproc_bold.nii.gz", "not sub-*/[ses-*/]func/sub-* in input.folder"),
        (f"sub-01/func/S01_{IN}_desc-preproc_bold.nii", "not sub-*/[ses-*/]func/sub-* in input.fo"),
    ],
)
def test_what_looks_like_a_scan_and_is_not_taken(tree, name, reason):
    (tree.dataset / "sub-01").mkdir()
    before = told_of(tree)
    touch(tree.dataset, name)
    (new,) = [sentence for sentence in told_of(tree) if sentence not in before]
    assert new.startswith(f"1 passed over, such as {Path(name).name}: {reason}")


@pytest.mark.parametrize(
    "name",
    [
        f"sub-01/anat/sub-01_{IN}_desc-preproc_T1w.nii.gz",
        "sub-01/figures/sub-01_task-rest_bold.nii.gz",
        f"sourcedata/raw/{FUNC}_bold.nii.gz",
        "desc-aseg_dseg.tsv",
        "sub-01/sub-01_scans.tsv",
        f"{FUNC}_events.tsv",
        f"{FUNC}_{IN}_desc-preproc_bold.json",
        ".git/annex/sub-01_task-rest_bold.nii.gz",
    ],
)
def test_other_data_is_not_looked_at(tree, name):
    (tree.dataset / "sub-01").mkdir()
    before = told_of(tree)
    touch(tree.dataset, name)
    assert told_of(tree) == before


def test_another_task_echo_resolution_and_copies(tree):
    scan = next(iter(tree.scans.values()))
    for old, new in (("task-rest", "task-nback"), ("_space", "_echo-2_space"), (".gz", "")):
        shutil.copy(scan.bold, scan.bold.with_name(scan.bold.name.replace(old, new)))
    sentences = told_of(tree, task="rest")
    for reason in (
        "task nback, not rest (input.task)",
        "single echoes of several",
        ".nii beside .nii.gz",
    ):
        assert [s.startswith("1 passed over") for s in sentences if s.endswith(reason)] == [True]
    name = scan.bold.name.replace("_desc", "_res-2_desc")
    shutil.copy(scan.bold, scan.bold.with_name(name))
    assert any(
        s.endswith(f"{name}: resolution 2, not native (input.res)")
        for s in told_of(tree, task="rest", res="native")
    )


def test_copies_that_a_problem_names_are_not_told_again(tree):
    scan = next(iter(tree.scans.values()))
    before = told_of(tree)
    shutil.copy(scan.bold, scan.bold.with_name(scan.bold.name.replace("_desc", "_res-2_desc")))
    assert not [s for s in told_of(tree) if "_res-2_" in s]
    mask, table = sorted({*told_of(tree)} - {*before}, key=lambda sentence: "tables" in sentence)
    assert "masks of no image taken" in mask and "tables of no image taken" in table


def test_people_of_whom_nothing_is_taken(tree):
    for name in ("sub-98", "sub-99"):
        (tree.dataset / name / "anat").mkdir(parents=True)
    assert told_of(tree)[0] == (
        "2 of 6 people's folders hold no scan that was taken, such as sub-98 (a DataLad dataset "
        "that was not installed is an empty folder)"
    )


def test_volumes_without_a_mask_are_told(tree):
    scan = next(iter(tree.scans.values()))
    scan.mask.unlink()
    told_of_mask = told_of(tree, mask="optional")[0]
    assert told_of_mask == (
        f"1 of {len(tree.scans)} scans have no brain mask (input.mask: optional), such as "
        f"{scan.bold.name}: their regions average voxels that others' do not"
    )


def test_where_nothing_is_found_what_was_passed_over_is_told(tmp_path, tree):
    touch(tmp_path / "raw", f"{FUNC}_bold.nii.gz")
    with pytest.raises(
        ValueError,
        match=r"found none \(1 passed over, such as sub-01_task-rest_bold.nii.gz: no desc, not ",
    ):
        told(tmp_path / "raw", label_image=tree.label_image, atlas=load_atlas(tree.atlas_table))


def test_hcp(tmp_path):
    results = "100307/MNINonLinear/Results"
    run = f"{results}/rfMRI_REST1_LR/rfMRI_REST1_LR"
    touch(
        tmp_path,
        f"{run}_Atlas_MSMAll_hp2000_clean.ptseries.nii",
        f"{run}_Atlas_hp2000_clean.ptseries.nii",
        f"{run}_Atlas_MSMAll_hp2000_clean.dtseries.nii",
        f"{run}_hp2000_clean.nii.gz",
        f"{results}/tfMRI_WM_LR/tfMRI_WM_LR_Atlas_MSMAll.ptseries.nii",
        "100307/T1w/T1w_acpc_dc.nii.gz",
        "100408/rfMRI_REST1_LR_Atlas_MSMAll_hp2000_clean.ptseries.nii",
    )
    (tmp_path / "100610").symlink_to("/nowhere")
    (tmp_path / ".git").mkdir()
    people, *files = told(tmp_path, "hcp")
    assert people.startswith("2 of 3 people's folders hold no scan that was taken, such as 100408")
    assert sorted(s.split(": ")[1] for s in files) == [
        "not in MNINonLinear/Results/<run>",
        "other files of a run; .ptseries.nii is read",
        "other versions of a run, or runs joined from others",
        "runs without 'rfMRI' in their name (input.task)",
    ]


def test_ukb(tmp_path):
    touch(
        tmp_path,
        "1000001_2_0/fMRI/fMRI.Schaefer17n400p.csv",
        "1000001_2_0/fMRI/fMRI.Schaefer17n400p.csv.gz",
        "1000001_2_0/fMRI/fMRI.Glasser.csv.gz",
        "1000001_20227_2_0.zip",
        "1000001_2_0/T1/notes.csv",
        "1000002_2_0/T1/T1.nii.gz",
    )
    assert told(tmp_path, "ukb") == [
        "1 of 2 people's folders hold no scan that was taken, such as 1000002_2_0 (a DataLad "
        "dataset that was not installed is an empty folder)",
        "2 passed over, such as 1000001_20227_2_0.zip: other tables and archives",
        "1 passed over, such as fMRI.Schaefer17n400p.csv.gz: copies of tables that are there",
    ]


def test_series(tmp_path):
    names = tmp_path / "names.txt"
    names.write_text("a\nb\n")
    touch(
        tmp_path,
        "sub-01_task-rest_timeseries.tsv",
        "sub-01_task-nback_timeseries.tsv",
        "sub-01_task-rest_stat-coverage_bold.tsv",
        "sub-02_task-rest_bold.nii.gz",
        "participants.tsv",
        "phenotype/traits.tsv",
    )
    assert told(tmp_path, "series", names=names, task="rest") == [
        "1 passed over, such as sub-01_task-rest_stat-coverage_bold.tsv: tables that are no series "
        "by their names",
        "1 passed over, such as sub-02_task-rest_bold.nii.gz: .nii.gz is not read",
        "1 passed over, such as sub-01_task-nback_timeseries.tsv: tasks other than rest "
        "(input.task)",
    ]
