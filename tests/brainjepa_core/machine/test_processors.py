"""Cores that a process may use, as its machine and its container say."""

from __future__ import annotations

import builtins
import io
import os
import subprocess
import sys

import pytest
import torch
from child_process import environment

from brainjepa_core.machine import processors
from brainjepa_core.machine.processors import usable_cores, use_threads


def test_affinity_counts_in_a_process_that_has_it():
    only = min(os.sched_getaffinity(0))
    program = (
        f"import os; os.sched_setaffinity(0, [{only}])\n"
        "from brainjepa_core.machine.processors import usable_cores, use_threads\n"
        "print(usable_cores(), use_threads())"
    )
    told = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True,
        env=environment(),
    )  # fmt: skip
    assert told.stdout.split() == ["1", "1"]


@pytest.mark.parametrize(
    ("quota", "cores"), [("max 100000", 64), ("150000 100000", 2), ("400000 100000", 4)]
)
def test_the_quota_of_a_container_counts(monkeypatch, quota, cores):
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(64)))
    monkeypatch.setattr("os.cpu_count", lambda: 64)
    monkeypatch.delenv("LOKY_MAX_CPU_COUNT", raising=False)
    there, opened, name = os.path.exists, builtins.open, "/sys/fs/cgroup/cpu.max"
    monkeypatch.setattr("os.path.exists", lambda path: path == name or there(path))
    monkeypatch.setattr(
        builtins, "open", lambda p, *a, **k: io.StringIO(quota) if p == name else opened(p, *a, **k)
    )
    assert usable_cores() == cores


def test_threads_are_as_many_as_asked_for_or_torchs_own_within_the_quota(monkeypatch):
    before = torch.get_num_threads()
    monkeypatch.setattr(processors, "usable_cores", lambda: 2)
    try:
        torch.set_num_threads(5)
        assert use_threads() == torch.get_num_threads() == 2
        assert use_threads(3) == torch.get_num_threads() == 3
        torch.set_num_threads(1)  # as OMP_NUM_THREADS=1 has it
        assert use_threads() == torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)


def test_a_number_that_was_asked_for_does_not_stay_where_none_is(monkeypatch):
    before = torch.get_num_threads()
    monkeypatch.setattr(processors, "usable_cores", lambda: 4)
    try:
        torch.set_num_threads(5)
        assert [use_threads(1), use_threads(), use_threads(2), use_threads()] == [1, 4, 2, 4]
    finally:
        torch.set_num_threads(before)
