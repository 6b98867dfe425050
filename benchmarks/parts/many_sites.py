"""Runs of the shipped scenario many_sites, from start to report, and what more sites cost."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from statistics import median
from typing import NamedTuple

import yaml

from brainjepa_simulations.scenario import SCENARIOS


class Many(NamedTuple):
    """A run of the scenario many_sites from start to report."""

    sites: int
    seconds: float
    cpu: float
    peak: float  # GB of the largest process
    rounds: list[float]  # seconds of each
    asked: list[int]
    disk: float  # MB of the sites' states


def many_run(engine: str, sites: int, folder: Path) -> Many:
    """Run many_sites with so many sites in a process of its own."""
    scenario = yaml.safe_load((SCENARIOS / "many_sites.yaml").read_text())
    scenario["cohort"]["sites"] = sites
    (folder / "many.yaml").write_text(yaml.safe_dump(scenario))
    out = folder / "run"
    command = [sys.executable, "-m", "brainjepa", "simulate", str(folder / "many.yaml")]
    began = time.perf_counter()
    with (folder / "output").open("wb") as output:
        child = subprocess.Popen(
            [*command, "--engine", engine, "--out", str(out)],
            cwd=Path(__file__).parents[2],
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        _, status, usage = os.wait4(child.pid, 0)  # of this child alone, and those it waited for
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise RuntimeError((folder / "output").read_text()[-2000:])
    rounds = [json.loads(line) for line in (out / "rounds.jsonl").open()]
    files = (path for path in (out / "site-state").rglob("*") if path.is_file())
    return Many(
        sites,
        time.perf_counter() - began,
        usage.ru_utime + usage.ru_stime,  # without what Ray's detached processes use
        usage.ru_maxrss / 1e6,
        [one["seconds"] for one in rounds],
        [len(one["sites"]) + len(one["rejected"]) for one in rounds],
        sum(path.stat().st_size for path in files) / 1e6,
    )


def print_many(engine: str, one: Many) -> None:
    rounds = ", ".join(f"{n} in {s:.1f} s" for n, s in zip(one.asked, one.rounds, strict=True))
    print(
        f"many     {engine:>9}: {one.sites} sites, {one.seconds:.0f} s in all, CPU {one.cpu:.0f} "
        f"s, load {os.getloadavg()[0]:.1f}; sites by round: {rounds}; peak {one.peak:.3f} GB; "
        f"states of the sites {one.disk:.0f} MB"
    )


def print_growth(engine: str, few: Many, many: Many) -> None:
    """Many sites against few: rounds ask as many of either, all else asks every site."""
    rounds = median(many.rounds) / median(few.rounds)
    print(
        f"many     {engine:>9}: {many.sites} sites against {few.sites}: a round (as many asked) "
        f"{rounds:.2f} of the time (bar: 1.3), CPU of the whole study per site "
        f"{many.cpu / many.sites / (few.cpu / few.sites):.2f} (bar: 1.3), peak memory "
        f"{100 * (many.peak / few.peak - 1):+.1f} % (bar: 5 %)"
    )
