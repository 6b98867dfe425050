"""UK Biobank's tables: rows of two files become the atlas' ROIs by label."""

from __future__ import annotations

import gzip
import pickle
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from brainjepa_core.atlas import load_atlas
from brainjepa_core.signals.inputs import ukb
from brainjepa_core.signals.preparation import InputSettings
from brainjepa_core.signals.problems import ScanProblem

ATLAS = load_atlas()
CORTEX, SUBCORTEX = ukb.TABLES
NAMES = {CORTEX: ATLAS.rois[50:], SUBCORTEX: ATLAS.rois[:50]}


def write(folder: Path, frames: int = 7, gz: bool = True, header: bool = True) -> pd.DataFrame:
    """A visit as the study's own script writes it; returns all rows by label."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(frames)
    tables = []
    for name, rois in NAMES.items():
        values = rng.standard_normal((len(rois), frames)) + 1e4
        table = pd.DataFrame(values, columns=[f"timepoint_{i}" for i in range(frames)])
        table.insert(0, "label_name", rng.permutation(rois))
        file = folder / f"{name}.csv{'.gz' if gz else ''}"
        table.to_csv(file, index=False, header=header)
        tables.append(table)
    return pd.concat(tables).set_index("label_name")


def found(folder: Path, tr: float | None = None):
    return ukb.find(InputSettings(kind="ukb", folder=folder, tr=tr), ATLAS)


@pytest.mark.parametrize("gz", [True, False])
@pytest.mark.parametrize("header", [True, False])
def test_two_tables_are_one_scan(tmp_path, gz, header):
    rows = write(tmp_path / "1234567_2_0" / "fMRI", gz=gz, header=header)
    (scan,), problems = found(tmp_path)
    assert problems == [] and scan.key == ("1234567", "2", "") and len(scan.files) == 2
    assert (scan.check().frames, scan.check().tr) == (7, 0.735)
    raw = pickle.loads(pickle.dumps(scan)).read()
    assert np.array_equal(raw.series, rows.loc[list(ATLAS.rois)].to_numpy())
    assert np.isnan(raw.coverage).all() and np.isnan(raw.censored)
    assert found(tmp_path, tr=2.0)[0][0].read().tr == 2.0


@pytest.mark.parametrize(
    ("folder", "key"),
    [
        ("1234567_31016_2_0", ("1234567", "2", "")),
        ("1234567_31016_3_0/fMRI", ("1234567", "3", "")),
        ("1234567", ("1234567", "", "")),
        ("1234567/2_0", ("1234567", "2", "")),
        ("1234567/31016_2_0/fMRI", ("1234567", "2", "")),
        ("sub-Zoë/fMRI", ("sub-Zoë", "", "")),
    ],
)
def test_folders_name_person_and_visit(tmp_path, folder, key):
    write(tmp_path / folder)
    assert [scan.key for scan in found(tmp_path)[0]] == [key]


def test_a_visit_twice_and_visits_of_one_person(tmp_path):
    for folder in ("1000001_2_0", "1000001_31016_2_0", "1000001_3_0", "1000002_2_0"):
        write(tmp_path / folder)
    (tmp_path / "1000002_2_0" / "fMRI.Glasser.csv.gz").write_bytes(b"")
    scans, (problem,) = found(tmp_path)
    assert [scan.key[:2] for scan in scans] == [("1000001", "3"), ("1000002", "2")]
    assert "one file of a subject, session and run" in str(problem)


def test_what_keeps_a_visit_out(tmp_path):
    half = tmp_path / "1"
    write(half)
    (half / f"{SUBCORTEX}.csv.gz").unlink()
    short = tmp_path / "2"
    write(short, frames=9)
    kept = (short / f"{CORTEX}.csv.gz").read_bytes()
    write(short)
    (short / f"{CORTEX}.csv.gz").write_bytes(kept)
    numbers = tmp_path / "3"
    numbered = write(numbers)
    for name in (CORTEX, SUBCORTEX):
        numbered.iloc[:50].to_csv(numbers / f"{name}.csv.gz", index=False)
    invented = tmp_path / "4"
    rows = write(invented)
    for name, place in ((CORTEX, slice(0, 400)), (SUBCORTEX, slice(400, 450))):
        table = rows.iloc[place].set_axis([f"ROI_{i}" for i in range(450)[place]])
        table.to_csv(invented / f"{name}.csv.gz", index_label="label_name")
    cut = tmp_path / "5"
    write(cut)
    whole = (cut / f"{CORTEX}.csv.gz").read_bytes()
    (cut / f"{CORTEX}.csv.gz").write_bytes(whole[: len(whole) // 2])
    errors = []
    for scan in found(tmp_path)[0]:
        with pytest.raises(ScanProblem) as caught:
            scan.read()
        errors.append(str(caught.value))
    assert f"expected {SUBCORTEX}.csv.gz beside it, found this table alone; copy the o" in errors[0]
    assert "expected 9 frames, as in the other table, found 7; copy both" in errors[1]
    assert "expected an ROI name in front of each row, found numbers only" in errors[2]
    assert "expected ROI names of atlas" in errors[3] and "found ROI_0, ROI_1" in errors[3]
    assert "expected numbers, one row a frame, found a file that ends too early" in errors[4]


def test_one_table_will_do_for_an_atlas_of_cortex(tmp_path):
    write(tmp_path / "1")
    (tmp_path / "1" / f"{SUBCORTEX}.csv.gz").unlink()
    cortex = ATLAS.take(ATLAS.rois[50:])
    (scan,), _ = ukb.find(InputSettings(kind="ukb", folder=tmp_path), cortex)
    assert scan.read().series.shape == (400, 7)


@given(st.binary(max_size=60) | st.text("0123.,ab\n", max_size=60).map(str.encode), st.booleans())
def test_garbage_raises_nothing_but_problems(tmp_path_factory, content, packed):
    folder = tmp_path_factory.mktemp("garbage")
    for name in NAMES:
        file = folder / f"{name}.csv.gz"
        file.write_bytes(gzip.compress(content) if packed else content)
    (scan,), _ = found(folder)
    for step in (scan.check, scan.read):
        try:
            step()
        except ScanProblem as problem:
            assert ": expected " in str(problem)
