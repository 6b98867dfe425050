"""File names of real datasets: every image and table is read, or named with its reason.

Contents are painted here: of fMRIPrep's datasets of bids-examples and of XCP-D's lists of expected
outputs, only the names are real.
"""

from __future__ import annotations

import json
import re
import tarfile
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from shared_data import shared

from brainjepa_core.atlas import Atlas, load_atlas
from brainjepa_core.signals.inputs.find import Found, find_scans
from brainjepa_core.signals.preparation import (
    CleaningSettings,
    InputSettings,
    PreparationSettings,
)

FRAMES, GRID, AFFINE = 12, (4, 4, 4), np.diag([4.0, 4.0, 4.0, 1.0])
DATA = re.compile(r"\.(nii(\.gz)?|gii|tsv|csv|h5|hdf5)$")
ASIDE = {"anat", "figures", "log", "logs", "sourcedata"}
# Of each list: scans that have regions of the atlas, and how many of its series each needs.
LISTS = {
    "ds001419_cifti": (2, 1),
    "ds001419_cifti_with_skip": (2, 1),
    "fmriprep_without_freesurfer": (0, 0),
    "nibabies": (1, 2),
    "pnc_cifti": (1, 1),
    "pnc_cifti_t2wonly": (0, 0),
    "ukbiobank": (1, 2),
}
ATLAS = load_atlas()
FOURS = [name.removeprefix("17Networks_") for name in ATLAS.rois[50:]]
NAMES = {"4S456Parcels": FOURS, "Tian": [name.replace("-", "_") for name in ATLAS.rois[:50]]}


def unaccounted(root: Path, found: Found) -> list[str]:
    """Images and tables of people that are in no scan, no problem and no reason."""
    accounted = {file for scan in found.scans for file in scan.files}
    accounted |= {problem.file for problem in found.problems}
    accounted |= {file for file, _ in found.passed_over}
    texts = "\n".join(map(str, found.problems))
    return [
        str(file.relative_to(root))
        for file in sorted(root.rglob("sub-*"))
        if DATA.search(file.name)
        and not ASIDE & {*file.relative_to(root).parts}
        and file not in accounted
        and file.name not in texts
    ]


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(shape)


def paint_fmriprep(root: Path) -> None:
    """Whole files in place of the empty or cut ones."""
    for file in root.rglob("sub-*/**/func/*"):
        shape = (*GRID, FRAMES) if "_bold.nii" in file.name else GRID
        if file.name.endswith((".nii", ".nii.gz")):
            image = nib.Nifti1Image((100 + noise(*shape)).astype("f4"), AFFINE)
            if len(shape) == 4:
                sidecar = file.with_name(file.name.split(".")[0] + ".json")
                told = json.loads(sidecar.read_text() or "{}") if sidecar.exists() else {}
                image.header.set_zooms((4, 4, 4, told.get("RepetitionTime", 2.0)))
            image.header.set_xyzt_units("mm", "sec")
            nib.save(image, file)
        elif file.name.endswith("desc-confounds_timeseries.tsv"):
            names = [f"{kind}_{axis}" for kind in ("trans", "rot") for axis in "xyz"]
            table = pd.DataFrame(noise(FRAMES, 7), columns=[*names, "cosine00"])
            table.to_csv(file, sep="\t", index=False)
        elif file.name.endswith("confounds_timeseries.json") and not file.read_text():
            file.write_text("{}")


@pytest.fixture(scope="module")
def trees(tmp_path_factory) -> Path:
    archive = shared("fixtures", "bids_examples_fmriprep_trees.tar.gz")
    root = tmp_path_factory.mktemp("trees")
    with tarfile.open(archive) as stored:
        stored.extractall(root, filter="data")
    labels = np.ones(GRID, np.int16)
    labels[:2] = 2
    nib.save(nib.Nifti1Image(labels, AFFINE), root / "atlas.nii.gz")
    for dataset in ("ds000001-fmriprep", "synthetic/derivatives/fmriprep"):
        paint_fmriprep(root / dataset)
    return root


@pytest.mark.parametrize(
    "dataset, settings, preset, count, reasons",
    [
        ("ds000001-fmriprep", {}, "simple_motion", 12, 3),
        ("ds000001-fmriprep", {"res": "2"}, "none", 12, 3),
        ("synthetic/derivatives/fmriprep", {}, "none", 30, 2),
        ("synthetic/derivatives/fmriprep", {"task": "rest"}, "none", 10, 3),
        ("synthetic/derivatives/fmriprep", {"space": "T1w"}, "none", 30, 2),
    ],
)
def test_fmripreps_datasets_of_bids_examples(trees, dataset, settings, preset, count, reasons):
    source = InputSettings(
        kind="fmriprep", folder=trees / dataset, label_image=trees / "atlas.nii.gz", **settings
    )
    cleaning = CleaningSettings(preset=preset)
    found = find_scans(PreparationSettings(input=source, cleaning=cleaning), Atlas.from_names("ab"))
    assert found.problems == () and len(found.scans) == count
    assert unaccounted(trees / dataset, found) == []
    assert len({why for _, why in found.passed_over}) == reasons
    for scan in found.scans:
        raw = scan.read()
        assert raw.masked and raw.series.shape == (2, FRAMES) and np.isfinite(raw.series).all()


def paint_xcpd(root: Path, names: list[str]) -> None:
    """The files of a list: whole tables, and empty files where images are."""
    for name in names:
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
        told = re.search(r"_(?:atlas|seg)-([A-Za-z0-9]+)", name)
        rois = NAMES.get(told[1] if told else "", ["Other_1", "Other_2"])
        if name.endswith("_timeseries.tsv"):
            table = pd.DataFrame(noise(FRAMES, len(rois)), columns=rois)
        elif name.endswith(("stat-coverage_bold.tsv", "_coverage.tsv")):
            table = pd.DataFrame({"Node": rois, "coverage": 1.0})
        elif name.endswith(("_motion.tsv", "_outliers.tsv")):
            table = pd.DataFrame({"framewise_displacement": np.zeros(FRAMES)})
        else:
            if name.endswith(".json"):
                file.write_text('{"RepetitionTime": 2.0}' if name.endswith("_bold.json") else "{}")
            continue
        table.to_csv(file, sep="\t", index=False)


def painted_list(folder: Path, dataset: str) -> PreparationSettings:
    listed = shared("fixtures", "xcpd_expected_outputs", f"test_{dataset}_outputs.txt")
    paint_xcpd(folder, [n for n in listed.read_text().split() if re.search(r"\.\w+$", n)])
    return PreparationSettings(input=InputSettings(kind="xcpd", folder=folder))


@pytest.mark.parametrize("dataset", LISTS)
def test_xcpds_lists_of_outputs(tmp_path, dataset):
    found = find_scans(painted_list(tmp_path, dataset), ATLAS)
    scans, series = LISTS[dataset]
    assert [len(scan.series) for scan in found.scans] == [series] * scans
    assert bool(found.problems) == (scans == 0)  # of runs without a series of ours
    assert unaccounted(tmp_path, found) == []
    for scan in found.scans:
        assert scan.read().series.shape == (len(ATLAS), FRAMES)


def test_xcpds_list_of_a_run_without_atlases(tmp_path):
    with pytest.raises(ValueError, match=r"found none .*8 passed over, .*bold as .nii.gz; series"):
        find_scans(painted_list(tmp_path, "ds001419_nifti"), ATLAS)
