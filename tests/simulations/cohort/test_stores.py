"""A synthetic cohort on disk is the cohort in memory, however often it is written."""

from __future__ import annotations

import numpy as np
import pytest
from whole_cohorts import Cohort, generate_cohort

from brainjepa_core.signals.storing.scan_table import TABLE
from brainjepa_core.signals.storing.store import ScanStore
from brainjepa_simulations.cohort.cohort import CohortSettings
from brainjepa_simulations.cohort.stores import write_cohort

SETTINGS = CohortSettings(
    sites=3, subjects_per_site=(4, 2, 3), rois=12, networks=4, latents=3, frames=40,
    second_sessions=0.5,
)  # fmt: skip


@pytest.fixture(scope="module")
def cohort() -> Cohort:
    return generate_cohort(SETTINGS)


def fingerprints(paths) -> list[str]:
    return [ScanStore.open(path).fingerprint for path in paths]


def test_what_is_written_is_the_cohort(tmp_path, cohort):
    paths = write_cohort(SETTINGS, tmp_path)
    assert paths == [tmp_path / site.name for site in cohort.sites]
    for path, site in zip(paths, cohort.sites, strict=True):
        store = ScanStore.open(path)
        assert store.atlas.rois == site.rois and len(set(store.atlas.networks)) == 4
        assert store.verify() == []
        assert len(store.records) == len(site.scans)
        people = {person.name: person for person in site.subjects}
        for record, scan in zip(store.records, site.scans, strict=True):
            assert record.key == (scan.subject, scan.session, "")
            assert store.series(record).tobytes() == scan.series.tobytes()
            gone = np.isnan(scan.series).all(1)
            assert record.missing == tuple(np.array(site.rois)[gone])
            assert (record.tr, record.frames) == (site.tr, scan.series.shape[1])
            assert record.qc == {"mean_fd": scan.mean_fd}
            person = people[scan.subject]
            assert record.phenotypes == {
                "age": person.age,
                "sex": person.sex,
                "diagnosis": person.diagnosis,
                "ancestry": person.ancestry,
                **{f"latent_{i}": person.latents[i - 1] for i in (1, 2, 3)},
            }
    lacking = [bool(ScanStore.open(path).records[0].missing) for path in paths]
    assert lacking == [False, False, True]
    assert any(record.session == "02" for record in ScanStore.open(paths[0]).records)


def test_writing_twice_changes_nothing(tmp_path):
    paths = write_cohort(SETTINGS, str(tmp_path))
    files = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    assert write_cohort(SETTINGS, tmp_path) == paths
    assert {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()} == files


def test_half_a_folder_is_completed(tmp_path):
    whole = fingerprints(write_cohort(SETTINGS, tmp_path / "whole"))
    paths = write_cohort(SETTINGS, tmp_path / "half")
    table = paths[1] / TABLE
    lines = table.read_bytes().splitlines(keepends=True)
    table.write_bytes(lines[0] + lines[1][:20])  # killed within the second scan's line
    for file in sorted(paths[2].rglob("*"), reverse=True):  # and before the third site
        file.rmdir() if file.is_dir() else file.unlink()
    assert fingerprints(paths[:2]) != whole[:2]
    assert fingerprints(write_cohort(SETTINGS, tmp_path / "half")) == whole
    assert ScanStore.open(paths[1]).verify() == []


def test_a_folder_of_fewer_people_grows(tmp_path):
    fewer = SETTINGS.model_copy(update={"sites": 2, "subjects_per_site": (1, 2)})
    write_cohort(fewer, tmp_path / "grown")
    grown = fingerprints(write_cohort(SETTINGS, tmp_path / "grown"))
    assert grown == fingerprints(write_cohort(SETTINGS, tmp_path / "new"))


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"seed": 1}, "expected scans of this cohort only, found 2 of another"),
        ({"frames": 50}, "found another array or TR under the same subject"),
        ({"rois": 13}, r"expected a store of atlas 'synthetic networks' \(13 ROIs\), found one of"),
        (
            {"subjects_per_site": (2, 2, 3)},
            r"expected scans of this cohort only, found [2-4] of another one in the store of "
            "site 1; write to another folder",
        ),
        ({"second_sessions": 0.0}, "expected scans of this cohort only, found [1-4] of another"),
    ],
)
def test_a_folder_of_another_cohort_is_refused(tmp_path, change, text):
    before = fingerprints(write_cohort(SETTINGS, tmp_path))
    with pytest.raises(ValueError, match=text):
        write_cohort(SETTINGS.model_copy(update=change), tmp_path)
    assert fingerprints(sorted(tmp_path.iterdir())) == before
