"""Folders of scans on the command line: every kind is read, and what is not read is told."""

from __future__ import annotations

import h5py
import numpy as np
from click import unstyle
from scipy.io import savemat
from typer.testing import CliRunner

from brainjepa import command
from brainjepa_core.signals.storing.store import ScanStore

FRAMES, ROIS = 40, [f"R{i}" for i in range(9)]


def run(code: int, *arguments: object) -> str:
    result = CliRunner().invoke(command(), list(map(str, arguments)))
    assert result.exit_code == code, result.output
    return " ".join(unstyle(result.output).split())


def test_a_folder_of_every_kind_is_imported_and_what_is_not_read_is_told(tmp_path):
    rng, folder = np.random.default_rng(0), tmp_path / "folder"
    folder.mkdir()
    series = {name: rng.standard_normal((FRAMES, len(ROIS))) for name in "abcdef"}
    (tmp_path / "names.txt").write_text("\n".join(ROIS))
    np.save(folder / "a.npy", series["a"])
    np.savez(folder / "b.npz", ts=series["b"])
    savemat(folder / "c.mat", {"ts": series["c"], "tr": 2.0})
    with h5py.File(folder / "d.mat", "w") as handle:  # version 7.3
        handle["ts"] = series["d"].T
    np.savetxt(folder / "e.tsv.gz", series["e"], delimiter="\t")
    np.savetxt(folder / "f.1D", series["f"])
    (folder / "g.xlsx").write_text("x")
    common = ["--names", tmp_path / "names.txt", "--tr", 2, "--out", tmp_path / "store"]
    shown = run(0, "import-folder", folder, *common)
    assert "folder: 1 passed over, such as g.xlsx: .xlsx is not read" in shown
    store = ScanStore.open(tmp_path / "store")
    for record in store.records:
        expected = series[record.subject].T.astype(np.float32)
        np.testing.assert_array_equal(store.series(record), expected)
    assert [record.subject for record in store.records] == list("abcdef")


def test_frames_and_regions_of_one_number_are_told_apart_by_a_word(tmp_path):
    square = np.random.default_rng(0).standard_normal((len(ROIS), len(ROIS)))
    (tmp_path / "names.txt").write_text("\n".join(ROIS))
    (tmp_path / "folder").mkdir()
    np.save(tmp_path / "folder" / "a.npy", square)
    command = ["import-folder", tmp_path / "folder", "--names", tmp_path / "names.txt", "--tr", 2]
    refused = run(1, *command, "--out", tmp_path / "refused")
    assert "a.npy: expected another number of frames than of ROIs" in refused
    assert (
        "found 9 of both; say which axis is time: rows or columns (input.time, --time)" in refused
    )
    run(0, *command, "--out", tmp_path / "store", "--time", "columns")
    store = ScanStore.open(tmp_path / "store")
    np.testing.assert_array_equal(store.series(store.records[0]), square.astype(np.float32))
