"""The benches of large stores and of windows, on small ones: all of their rows are there."""

from __future__ import annotations

import numpy as np

from brainjepa_core.atlas import Atlas
from brainjepa_core.signals.storing.scan_arrays import ARRAYS

ATLAS = Atlas.from_names([f"r{i}" for i in range(12)])


def test_a_store_of_links_is_a_store(bench, tmp_path):
    store = bench("parts.made_stores").many_people(tmp_path / "store", ATLAS, 100)
    assert len(store.records) == 100 == len({record.subject for record in store.records})
    assert store.verify() == []
    files = list((tmp_path / "store" / ARRAYS).iterdir())
    assert len(files) == 100 and len({path.stat().st_ino for path in files}) == 16
    assert np.isfinite(store.series(store.records[99])).all()


def test_rows_of_a_store_are_all_there(bench, tmp_path):
    bench("parts.made_stores").many_people(tmp_path / "store", ATLAS, 100)
    rows = bench("bench_store").measured(tmp_path, 90, 1)
    timed = ("open", "describe", "windows", "folds", "task_table", "gradients_1_process")
    assert {f"{name}_s" for name in timed} <= rows.keys()
    assert rows["scans"] == 100 and rows["gradients_people"] == 90
    assert rows["gradients_same_bits"] and rows["peak_memory_gb"] > 0


def test_rows_of_windows_are_all_there(bench, tmp_path):
    rows = bench("bench_windows").measured(tmp_path, people=2, batch=2, repeats=2)
    assert len(rows) == 14 and all(value > 0 for value in rows.values())
