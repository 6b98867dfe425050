"""A cluster on PATH, whose jobs are over when a test ends."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from stand_in_slurm import Cluster

sys.path.append(str(Path(__file__).parents[1] / "deploying"))  # running_sites


@pytest.fixture
def cluster(tmp_path, monkeypatch) -> Iterator[Cluster]:
    made = Cluster(tmp_path / "cluster")
    made.install(tmp_path / "bin")
    path = os.pathsep.join(folder for folder in sys.path if folder)
    monkeypatch.setenv("PYTHONPATH", path)  # jobs import what the test imports
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    yield made
    for job in made.jobs():
        made.tell(f"{job['number']}.cancelled")
    until = time.monotonic() + 60
    while any(job["state"] in ("PENDING", "RUNNING") for job in made.jobs()):
        assert time.monotonic() < until, made.jobs()
        time.sleep(0.05)
