"""``brainjepa site prepare`` killed at any moment, then run again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from child_process import environment
from painted_sites import change, files_of, painted

from brainjepa_core.signals.storing.store import ScanStore

ROOT = Path(__file__).parents[2]
PATIENCE = 120.0


def start(tree, **how) -> subprocess.Popen[str]:
    threads = {name: "1" for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")}
    return subprocess.Popen(
        [sys.executable, "-m", "brainjepa", "site", "prepare", str(tree.site)],
        cwd=ROOT,
        env=environment(**threads),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        **how,
    )


def finish(tree) -> str:
    process = start(tree)
    output, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, output
    return output


def reports(tree) -> dict[str, int]:
    """Time of change of each finished scan's report."""
    folder = tree.folder / "store-quality" / "reports"
    return {path.name: path.stat().st_mtime_ns for path in folder.glob("*.json")}


def kill_after(tree, finished: int) -> None:
    """Kill the command, and nothing else, once so many scans are finished."""
    process = start(tree)
    until = time.monotonic() + PATIENCE
    while len(reports(tree)) < finished:
        assert process.poll() is None, process.stdout.read()
        assert time.monotonic() < until
        time.sleep(0.001)
    process.kill()
    process.communicate(timeout=PATIENCE)
    assert process.returncode == -signal.SIGKILL, "it ended before it was killed"


def whole(tmp_path, name: str, processes: int, **settings):
    tree = painted(tmp_path / name, **settings)
    change(tree, processes=processes)
    return tree


def store_files(tree) -> dict[str, bytes]:
    """Of the store; the settings beside it name the folder, which differs between two trees."""
    files = files_of(tree.folder / "store")
    return {name: content for name, content in files.items() if name != "preparation.json"}


@pytest.mark.slow
def test_killed_and_run_again_gives_the_same_store(tmp_path):
    expected = whole(tmp_path, "whole", 1)
    finish(expected)
    tree = whole(tmp_path, "killed", 1)
    kill_after(tree, 2)
    done = reports(tree)
    assert 2 <= len(done) < len(tree.scans)
    output = finish(tree)
    assert f"{len(tree.scans)} scans found, {len(done)} of them finished before" in output
    again = reports(tree)
    assert {name: again[name] for name in done} == done  # not touched: not done again
    assert store_files(tree) == store_files(expected)
    assert not list(tree.folder.rglob("*.npy.*"))


@pytest.mark.slow
@pytest.mark.parametrize("processes", [1, 2])
def test_killed_again_and_again(tmp_path, processes):
    expected = whole(tmp_path, "whole", 1, runs=3)
    finish(expected)
    tree = whole(tmp_path, "killed", processes, runs=3)
    for finished in (0, 1, 4, 7, 11):
        kill_after(tree, finished)
        if (tree.folder / "store" / "store.json").exists():
            store = ScanStore.open(tree.folder / "store")
            assert store.verify() == [] and len(store.records) >= len(reports(tree))
    finish(tree)
    assert store_files(tree) == store_files(expected)


@pytest.mark.slow
@pytest.mark.parametrize("signals", [1, 2])
def test_ctrl_c_ends_all_processes_at_once_and_leaves_nothing_behind(tmp_path, signals):
    """As a terminal sends it: to the command and to all that it has started."""
    tree = whole(tmp_path, "stopped", 2, runs=2)
    process = start(tree, start_new_session=True)
    until = time.monotonic() + PATIENCE
    while not reports(tree):
        assert process.poll() is None and time.monotonic() < until
        time.sleep(0.001)
    for _ in range(signals):
        os.killpg(process.pid, signal.SIGINT)
    output, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130, output
    assert output.splitlines()[-1] == "stopped; run the same command again to go on"
    assert not any(word in output for word in ("Traceback", "leaked", "Warning")), output
    assert not list(tree.folder.rglob("*.tmp"))
    assert 1 <= len(reports(tree)) < len(tree.scans)
    finish(tree)
    store = ScanStore.open(tree.folder / "store")
    assert store.verify() == [] and len(store.records) == len(tree.scans)
