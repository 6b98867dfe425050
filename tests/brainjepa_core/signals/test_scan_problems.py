"""Files whose content was not fetched are not the same as none, wherever they lie."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from brainjepa_core.atlas import Atlas
from brainjepa_core.problems import plainly
from brainjepa_core.signals.images.cifti import CiftiLabels, read_header
from brainjepa_core.signals.images.label_image import LabelImage
from brainjepa_core.signals.images.nifti_stream import load_nifti
from brainjepa_core.signals.inputs.bids import read_sidecar
from brainjepa_core.signals.inputs.series import read_names
from brainjepa_core.signals.preparation import InputSettings
from brainjepa_core.signals.problems import ScanProblem, is_folder, is_there
from brainjepa_core.signals.tables.phenotypes import read_phenotypes
from brainjepa_core.signals.tables.text_tables import read_table

ANNEXED = "../.git/annex/objects/Kz/0x/MD5E-s100--d41d8cd98f00b204e9800998ecf8427e"
ATLAS = Atlas.from_names(("a", "b"))


def link(tmp_path: Path, name: str) -> Path:
    (tmp_path / name).symlink_to(ANNEXED)
    return tmp_path / name


@pytest.mark.parametrize(
    "name, read",
    [
        ("bold.nii.gz", load_nifti),
        ("bold.dtseries.nii", read_header),
        ("atlas.dlabel.nii", lambda file: CiftiLabels(file, ATLAS).check()),
        ("atlas.nii.gz", lambda file: LabelImage(file, ATLAS).check()),
        ("bold.json", read_sidecar),
        ("names.txt", read_names),
        ("series.tsv", read_table),
        ("participants.tsv", lambda file: read_phenotypes((file,))),
        ("participants.tsv", lambda file: read_phenotypes(file.parent)),
        ("label.nii.gz", lambda f: InputSettings(kind="hcp", folder=f.parent, label_image=f)),
    ],
)
def test_a_link_to_nowhere_is_named_by_every_reader(tmp_path, name, read):
    with pytest.raises(ValueError, match=r"a link to a file that is not there") as caught:
        read(link(tmp_path, name))
    assert name in str(caught.value) and "datalad get" in str(caught.value)


def test_names_of_labels_beside_an_image(tmp_path):
    image = tmp_path / "atlas.nii.gz"
    nib.save(nib.Nifti1Image(np.arange(3, dtype=np.int16).reshape(3, 1, 1), np.eye(4)), image)
    LabelImage(image, ATLAS).check()
    link(tmp_path, "atlas.tsv")
    with pytest.raises(ScanProblem, match=r"atlas.tsv: .* a link to .* \(datalad get\)"):
        LabelImage(image, ATLAS).check()


@pytest.mark.parametrize(
    "pointer",
    [
        "/annex/objects/MD5E-s100--d41d8cd98f00b204e9800998ecf8427e.tsv\n",
        "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n",
    ],
)
def test_a_text_that_stands_for_the_content(tmp_path, pointer):
    for name in ("participants.tsv", "bold.nii.gz"):
        (tmp_path / name).write_text(pointer)
    for read in (lambda: read_phenotypes(tmp_path), lambda: load_nifti(tmp_path / "bold.nii.gz")):
        with pytest.raises(ScanProblem, match="found a text that stands for content not fetched"):
            read()


def test_what_is_there_and_what_is_not(tmp_path):
    (tmp_path / "short.tsv").write_text("participant_id\n")
    assert is_there(tmp_path / "short.tsv") and is_there(tmp_path)
    assert not is_there(tmp_path / "none")
    assert plainly(FileNotFoundError(2, "gone", str(tmp_path / "none"))) == "no such file"


def test_folders_that_are_links_to_nowhere(tmp_path):
    problems: list[ScanProblem] = []
    (tmp_path / "sub-01").symlink_to("/nowhere/sub-01")
    (tmp_path / "README").symlink_to(ANNEXED)  # a file of the annex
    (tmp_path / "func").mkdir()
    names = ("sub-01", "README", "func", "none", "a.b")
    assert [is_folder(tmp_path / name, problems) for name in names] == [False] * 2 + [True] + [
        False
    ] * 2
    assert [problem.file.name for problem in problems] == ["sub-01"]


def test_a_folder_of_phenotypes_that_is_a_link_to_nowhere(tmp_path):
    (tmp_path / "participants.tsv").write_text("participant_id\tage\nsub-01\t30\n")
    assert read_phenotypes(tmp_path).people
    (tmp_path / "phenotype").symlink_to("/nowhere/phenotype")
    with pytest.raises(ScanProblem, match=r"phenotype: .* a link to a file that is not there"):
        read_phenotypes(tmp_path)
