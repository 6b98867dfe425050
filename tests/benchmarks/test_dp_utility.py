"""Private trainings: whom they are judged by, and intervals over those people, paired."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

LEARNING = Path(__file__).parents[2] / "benchmarks" / "learning"


@pytest.fixture(autouse=True)
def as_where_a_script_is_run(bench, monkeypatch):
    monkeypatch.setattr(sys, "path", [str(LEARNING), *sys.path])


def test_scans_that_tell_nothing_are_left_out(bench):
    known = np.ones(6, bool)
    scans = [(128, known), (126, known), (128, known & (np.arange(6) < 1))]
    windows = SimpleNamespace(
        subjects=3,
        aligned=lambda i: [(np.zeros((6, scans[i][0])), scans[i][1])],
        stores=[SimpleNamespace(path=Path("lyon"))],
        people=[SimpleNamespace(store=0)] * 3,
    )
    found = bench("dp_utility").people_of(windows)
    assert len(found.halves) == 1 and found.sites == ["lyon"]


def test_gains_are_paired_over_people_and_averaged_over_seeds(bench):
    rng = np.random.default_rng(0)
    totals = rng.uniform(5, 15, 80)
    start = 0.8 * totals + rng.normal(0, 0.1, 80)
    noise = rng.normal(0, 1, 80)  # of one seed, and the other way round of the other
    results = [
        {
            "start": {"errors": start.tolist(), "totals": totals.tolist()},
            "trained": {
                "errors": (start - 0.05 * totals + sign * noise).tolist(),
                "totals": totals.tolist(),
            },
        }
        for sign in (1, -1)
    ]
    before, gain, low, high = bench("dp_table").interval(results)
    assert before == pytest.approx(1 - start.sum() / totals.sum())
    assert gain == pytest.approx(0.05) and low == pytest.approx(0.05) == high
    assert bench("dp_table").interval(results[:1])[2:] != (low, high)
