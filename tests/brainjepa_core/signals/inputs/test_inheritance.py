"""Sidecars beside an image and above it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from brainjepa_core.signals.inputs.bids import walk_functional
from brainjepa_core.signals.inputs.inheritance import Sidecars, nearest_with
from brainjepa_core.signals.problems import ScanProblem

IMAGE = "sub-01_ses-a_task-rest_run-1_space-X_desc-preproc_bold.nii.gz"


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    functional = tmp_path / "ds" / "sub-01" / "ses-a" / "func"
    functional.mkdir(parents=True)
    (functional / IMAGE).touch()
    return tmp_path / "ds"


def write(file: Path, **content: object) -> Path:
    file.write_text(json.dumps(content))
    return file


def sidecars_of(dataset: Path) -> tuple[Path, ...]:
    (image,) = [file for file in walk_functional(dataset)[0] if file["ext"] == ".nii.gz"]
    return Sidecars(dataset).of(image)


def test_every_level_speaks_and_the_nearest_first(dataset):
    functional = dataset / "sub-01" / "ses-a" / "func"
    speaking = [
        write(functional / IMAGE.replace(".nii.gz", ".json")),
        write(functional / "sub-01_ses-a_task-rest_bold.json"),
        write(functional / "task-rest_bold.json"),
        write(functional.parent / "sub-01_ses-a_bold.json"),
        write(dataset / "sub-01" / "sub-01_task-rest_bold.json"),
        write(dataset / "task-rest_space-X_bold.json"),
        write(dataset / "bold.json"),
    ]
    for other in ("task-nback_bold.json", "task-rest_T1w.json", "space-Y_bold.json", "xbold.json"):
        write(dataset / other)
    write(dataset.parent / "bold.json")  # above the dataset
    assert sidecars_of(dataset) == tuple(speaking)


def test_the_nearest_that_tells_the_fact(dataset):
    write(dataset / "sub-01" / "ses-a" / "func" / "sub-01_ses-a_task-rest_bold.json", TaskName="r")
    above = write(dataset / "task-rest_bold.json", RepetitionTime=0.8)
    write(dataset / "bold.json", RepetitionTime=3)
    found = sidecars_of(dataset)
    assert nearest_with("RepetitionTime", found, Path("none")) == above
    assert nearest_with("EchoTime", found, Path("none")) == Path("none")


@pytest.mark.parametrize("level", ["", "sub-01", "sub-01/ses-a", "sub-01/ses-a/func"])
def test_a_link_to_nowhere_is_a_problem_at_every_level(dataset, level):
    name = "task-rest_bold.json" if level in ("", "sub-01/ses-a/func") else "sub-01_bold.json"
    (dataset / level / name).symlink_to(".git/annex/objects/xx/MD5E-s20--0.json")
    with pytest.raises(ScanProblem, match=f"{name}: .* found a link to a .*datalad get"):
        nearest_with("RepetitionTime", sidecars_of(dataset), Path("none"))
