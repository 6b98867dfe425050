"""The benchmark of shared steps runs through, and compares with ideal and with its floor."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from child_process import environment

PROGRAM = Path(__file__).parents[2] / "benchmarks" / "bench_processes.py"


@pytest.mark.slow
def test_it_prints_ideal_floor_and_both_sums():
    sizes = ["--size", "tiny", "--rois", "6", "--micro-batches", "4", "--people", "2"]
    words = [sys.executable, PROGRAM, *sizes]
    done = subprocess.run(words, env=environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    first, one, floor, summed, ordered = done.stdout.splitlines()
    assert "a step of 4 micro-batches of 2" in first and one.startswith("all micro-batches")
    assert "(floor)" in floor and "of ideal" in floor
    assert summed.startswith("reduce: sum") and ordered.startswith("reduce: ordered")
    assert "bar 10 %" in summed and "bar 10 %" in ordered and "of the floor" in ordered
