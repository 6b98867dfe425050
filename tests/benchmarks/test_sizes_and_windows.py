"""The benches of large stores and of windows, on small ones: all of their rows are there."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from brainjepa_core.atlas import Atlas
from brainjepa_core.signals.storing.scan_arrays import ARRAYS

ATLAS = Atlas.from_names([f"r{i}" for i in range(12)])


def bench(name: str) -> ModuleType:
    path = Path(__file__).parents[2] / "benchmarks" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def stores() -> ModuleType:
    return bench("bench_store")


def test_a_store_of_links_is_a_store(stores, tmp_path):
    store = stores.make_store(tmp_path / "store", 100, ATLAS)
    assert len(store.records) == 100 == len({record.subject for record in store.records})
    assert store.verify() == []
    files = list((tmp_path / "store" / ARRAYS).iterdir())
    assert len(files) == 100 and len({path.stat().st_ino for path in files}) == 16
    assert np.isfinite(store.series(store.records[99])).all()


def test_rows_of_a_store_are_all_there(stores, tmp_path):
    stores.make_store(tmp_path / "store", 100, ATLAS)
    rows = stores.measured(tmp_path, 90, 1)
    timed = ("open", "describe", "windows", "folds", "task_table", "gradients_1_process")
    assert {f"{name}_s" for name in timed} <= rows.keys()
    assert rows["scans"] == 100 and rows["gradients_people"] == 90
    assert rows["gradients_same_bits"] and rows["peak_memory_gb"] > 0


def test_rows_of_windows_are_all_there(tmp_path):
    rows = bench("bench_windows").measured(tmp_path, people=2, batch=2, repeats=2)
    assert len(rows) == 14 and all(value > 0 for value in rows.values())
