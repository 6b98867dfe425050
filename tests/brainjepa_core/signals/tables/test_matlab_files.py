"""Files of MATLAB: old ones and HDF5, axes as MATLAB shows them, texts, repetition times."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
from scipy.io import savemat

from brainjepa_core.atlas import Atlas
from brainjepa_core.signals.inputs.archive import scans_of
from brainjepa_core.signals.problems import ScanProblem
from brainjepa_core.signals.tables.matlab import files as matlab_files
from brainjepa_core.signals.tables.series_files import read_series, scans_in, series_shape

NAMES = ["a", "b", "c"]
SERIES = np.random.default_rng(0).standard_normal((5, 3))


def save73(file: Path, variables: dict) -> Path:
    """As MATLAB's ``save -v7.3`` does it: axes reversed, a class a variable, cells by reference."""
    with h5py.File(file, "w", userblock_size=512) as handle:
        for name, value in variables.items():
            if isinstance(value, list):
                cells = np.empty((1, len(value)), h5py.ref_dtype)
                for i, text in enumerate(value):
                    cell = handle.create_dataset(f"#refs#/{name}{i}", data=_codes(text))
                    cell.attrs["MATLAB_class"] = np.bytes_("char")
                    cells[0, i] = cell.ref
                made, kind = handle.create_dataset(name, data=cells), "cell"
            elif isinstance(value, str):
                made, kind = handle.create_dataset(name, data=_codes(value)), "char"
            else:
                made = handle.create_dataset(name, data=np.atleast_2d(np.asarray(value, float)).T)
                kind = "double"
            made.attrs["MATLAB_class"] = np.bytes_(kind)
    return file


def _codes(text: str) -> np.ndarray:
    return np.array([[ord(letter)] for letter in text], np.uint16)


def save_old(file: Path, variables: dict) -> Path:
    cells = {
        name: np.array(value, object) if isinstance(value, list) else value
        for name, value in variables.items()
    }
    savemat(file, cells)
    return file


@pytest.mark.parametrize("save", [save_old, save73])
def test_a_scan_is_the_matrix_among_what_else_is_there(tmp_path, save):
    content = {"ts": SERIES, "TR": 2.0, "subject": "p1", "onsets": np.arange(9.0), "labels": NAMES}
    file = save(tmp_path / "x.mat", content)
    (part,) = scans_in(file)
    assert (part.name, part.array, part.shape, part.tr) == ("", "ts", (5, 3), 2.0)
    assert series_shape(file, NAMES) == (5, 3)
    np.testing.assert_array_equal(read_series(file, NAMES), SERIES)


@pytest.mark.parametrize("save", [save_old, save73])
@pytest.mark.parametrize("ending", [".mat", ".h5"])
def test_axes_are_those_that_matlab_shows(tmp_path, save, ending):
    if (save, ending) == (save_old, ".h5"):
        pytest.skip("an old file is no HDF5")
    file = save(tmp_path / f"x{ending}", {"ts": SERIES[:3]})
    with pytest.raises(ScanProblem, match="word of which axis is time, found 3 of both"):
        read_series(file, NAMES)
    np.testing.assert_array_equal(read_series(file, NAMES, time="rows"), SERIES[:3])


@pytest.mark.parametrize("save", [save_old, save73])
@pytest.mark.parametrize("people", [["p1", "p2"], np.array([50001.0, 50002.0])])
def test_all_scans_in_one_array(tmp_path, save, people):
    content = {"ts": np.stack([SERIES, SERIES + 1]), "participant_id": people, "tr": [2.0, 0.8]}
    content = {**content, "tr": np.array(content["tr"]), "roi": ["c", "a", "x"]}
    if save is save73:
        with h5py.File(save73(tmp_path / "x.mat", {**content, "ts": SERIES}), "a") as handle:
            del handle["ts"]
            made = handle.create_dataset("ts", data=np.stack([SERIES, SERIES + 1]).T)
            made.attrs["MATLAB_class"] = np.bytes_("double")
    else:
        save_old(tmp_path / "x.mat", content)
    first, second = scans_in(tmp_path / "x.mat")
    ids = people if isinstance(people, list) else ["50001", "50002"]
    assert [first.name, second.name] == ids and (first.tr, second.tr) == (2.0, 0.8)
    found = read_series(tmp_path / "x.mat", NAMES, second)
    np.testing.assert_array_equal(found[:, [2, 0]], (SERIES + 1)[:, :2])
    assert np.isnan(found[:, 1]).all()


@pytest.mark.parametrize("save", [save_old, save73])
def test_a_site_archive(tmp_path, save):
    long = np.concatenate([SERIES, SERIES + 1])
    content = {"ts": long, "lengths": np.array([5.0, 5.0]), "tr": 2.0}
    file = save(tmp_path / "x.mat", {**content, "participant_id": ["p1", "p2"], "roi": NAMES})
    scans = scans_of(file, Atlas.from_names(NAMES), None)
    assert [scan.subject for scan in scans] == ["p1", "p2"]
    np.testing.assert_array_equal(scans[1].read().series, SERIES.T + 1)


@pytest.mark.parametrize("save", [save_old, save73])
def test_a_file_without_a_matrix_says_what_it_holds(tmp_path, save):
    file = save(tmp_path / "x.mat", {"data": ["roi one", "roi two"], "tr": 2.0})
    with pytest.raises(ScanProblem, match=r"x.mat: expected an array .frames, ROIs. a scan, found"):
        scans_in(file)


@pytest.mark.parametrize("kind", [".npz", ".h5", ".mat"])
@pytest.mark.parametrize("name", ["tr", "TR", "RepetitionTime"])
def test_a_repetition_time_beside_a_scan(tmp_path, kind, name):
    file, tr = tmp_path / f"x{kind}", np.float32(1.667)
    if kind == ".npz":
        np.savez(file, ts=SERIES, **{name: tr})
    elif kind == ".mat":
        savemat(file, {"ts": SERIES, name: tr})
    else:
        with h5py.File(file, "w") as handle:
            handle["ts"], handle[name] = SERIES, tr
    assert [part.tr for part in scans_in(file)] == [1.667]  # not 1.66700005


@pytest.mark.parametrize("holder", ["ts", "/"])
def test_a_repetition_time_as_an_attribute(tmp_path, holder):
    with h5py.File(tmp_path / "x.h5", "w") as handle:
        handle["ts"] = SERIES
        handle[holder].attrs["TR"] = 2000
    assert [part.tr for part in scans_in(tmp_path / "x.h5")] == [2000.0]


def test_an_old_file_is_looked_through_once(tmp_path, monkeypatch):
    looked = []
    monkeypatch.setattr(matlab_files, "require_known_types", looked.append)
    file = save_old(tmp_path / "x.mat", {f"p{n}": SERIES + n for n in range(3)})
    for part in scans_in(file):
        read_series(file, NAMES, part)
    assert looked == [file]
    save_old(file, {"p0": SERIES})
    read_series(file, NAMES)
    assert looked == [file, file]
