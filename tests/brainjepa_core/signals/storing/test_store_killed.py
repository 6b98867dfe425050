"""Scan stores outlive imports that are killed, and readers that come while one is under way."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from child_process import environment

from brainjepa_core.atlas import Atlas
from brainjepa_core.signals.storing.scan_table import TABLE
from brainjepa_core.signals.storing.store import ScanStore

ROOT = Path(__file__).parents[4]

IMPORT = """
import sys
import numpy as np
from brainjepa_core.atlas import Atlas
from brainjepa_core.signals.storing.store import ScanStore
store = ScanStore.create(sys.argv[1], Atlas.from_names([f"r{i}" for i in range(40)]))
print("ready", flush=True)
for i in range(int(sys.argv[2])):
    series = np.random.default_rng(i).standard_normal((40, 60))
    series[i % 40] = np.nan
    store.append(series, subject=f"s{i % 50}", run=str(i // 50), tr=2.0, phenotypes={"n": "x" * 50})
    print(i, flush=True)
"""

# What adding a scan calls, in order: the process dies instead of the call, or within the line.
MOMENTS = ["numpy.save", "os.fsync", "os.replace", "fcntl.flock", "half a line"]

DIE = """
import fcntl, os, signal, sys
import numpy
import brainjepa_core.signals.storing.store as store

def die(*arguments, **options):
    os.kill(os.getpid(), signal.SIGKILL)

moment = sys.argv[2]
scans = store.ScanStore.open(sys.argv[1])
if moment == "half a line":
    def half(path, line):
        with open(path, "ab", buffering=0) as file:
            file.write(line.encode()[: len(line) // 2])
        die()
    store.append_line = half
else:
    module, name = moment.split(".")
    setattr({"numpy": numpy, "os": os, "fcntl": fcntl}[module], name, die)
scans.append(numpy.arange(60.0).reshape(3, 20), subject="new", tr=2.0)
"""


@pytest.mark.parametrize("moment", MOMENTS)
def test_an_append_killed_at_any_moment_leaves_the_store_as_it_was(tmp_path, moment):
    store = ScanStore.create(tmp_path, Atlas.from_names(["a", "b", "c"]))
    for i in range(3):
        store.append(np.random.default_rng(i).standard_normal((3, 20)), subject=f"s{i}", tr=2.0)
    before = store.fingerprint
    command = [sys.executable, "-c", DIE, str(tmp_path), moment]
    variables = environment()
    died = subprocess.run(command, cwd=ROOT, env=variables, timeout=120, check=False)
    assert died.returncode == -signal.SIGKILL
    store = ScanStore.open(tmp_path)
    assert store.verify() == [] and store.fingerprint == before
    series = np.arange(60.0).reshape(3, 20)
    assert store.append(series, subject="new", tr=2.0)
    again = ScanStore.open(tmp_path)
    assert again.verify() == [] and again.records == store.records and len(again.records) == 4
    assert np.array_equal(again.series(again.records[-1]), series)


def start_import(path: Path, scans: int) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", IMPORT, str(path), str(scans)],
        cwd=ROOT,
        env=environment(),
        stdout=subprocess.PIPE,
        text=True,
    )


def finish(process: subprocess.Popen[str]) -> list[str]:
    output = process.communicate(timeout=120)[0].splitlines()
    assert process.returncode in (0, -signal.SIGKILL)
    return output


def kill_repeatedly(tmp_path: Path, kills: int, scans: int) -> None:
    rng = random.Random(0)
    interrupted = tmp_path / "interrupted"
    for kill in range(kills):
        process = start_import(interrupted, scans)
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
        reported = 0
        for _ in range(rng.randint(0, scans * (kill + 1) // (2 * kills))):
            reported += process.stdout.readline().strip().isdigit()
        process.kill()  # while it adds the next one
        finished = reported + len([line for line in finish(process) if line.isdigit()])
        store = ScanStore.open(interrupted)
        assert store.verify() == []
        assert len(store.records) >= finished
    for path in (interrupted, tmp_path / "whole"):
        finish(start_import(path, scans))
    store, whole = ScanStore.open(interrupted), ScanStore.open(tmp_path / "whole")
    assert len(whole.records) == scans and whole.verify() == store.verify() == []
    assert store.records == whole.records
    assert store.fingerprint == whole.fingerprint
    assert (interrupted / TABLE).read_bytes() == (tmp_path / "whole" / TABLE).read_bytes()


def test_killed_imports_can_be_repeated(tmp_path):
    kill_repeatedly(tmp_path, kills=4, scans=150)


@pytest.mark.slow
def test_imports_killed_at_many_moments_can_be_repeated(tmp_path):
    kill_repeatedly(tmp_path, kills=60, scans=1000)


def test_a_store_can_be_opened_while_an_import_adds_to_it(tmp_path):
    process = start_import(tmp_path, 200)
    assert process.stdout is not None and process.stdout.readline() == "ready\n"
    seen = [0]
    while process.poll() is None and seen[-1] < 200:
        store = ScanStore.open(tmp_path)
        seen.append(len(store.records))
        if store.records:
            assert store.series(store.records[-1]).shape == (40, 60)
    finish(process)
    assert seen == sorted(seen)
    assert len(ScanStore.open(tmp_path).records) == 200
