"""The page of whom weights tell of: means over sites, with an interval."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

sys.path.append(str(Path(__file__).parents[2] / "benchmarks" / "learning"))

import membership


def test_the_interval_is_students():
    values = [0.5, 0.6, 0.8]
    low, high = stats.t.interval(0.95, 2, np.mean(values), stats.sem(values))
    assert membership.told(values) == f"0.63 ({low:.2f} to {high:.2f})"


def test_two_rows_a_number_of_people_and_a_column_a_kind_of_weights():
    kinds = [("a site's weights", "none"), ("a site's weights", "dp")]
    results = [
        {"seed": 0, "people": people, "sites": 2, "weights": what, "protection": how,
         "by_loss": 0.9 - people / 1000 + away, "by_gradient": 0.6 + away}
        for people in (100, 10) for what, how in kinds for away in (0.0, 0.02)
    ]  # fmt: skip
    head, _, ten, _, hundred, gradient = membership.table(results)
    assert head == "| people a site | by | a site's weights, none | a site's weights, dp |"
    assert ten.startswith("| 10 | loss | 0.90 (") and hundred.startswith("| 100 | loss | 0.81 (")
    assert gradient.startswith("| 100 | gradient | 0.61 (")


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_sites_are_told_of_one_by_one():
    found = membership.results_of(seed=1, people=8, sites=2)
    assert [(one["weights"], one["protection"]) for one in found] == [
        (what, how)
        for how, what in (
            ("none", "a site's weights"), ("dp", "a site's weights"),
            ("secure sum", "mean of 2 sites"), ("dp", "mean of 2 sites"),
        )
        for _ in range(2)
    ]  # fmt: skip
    assert all(0 <= one["by_loss"] <= 1 and one["people"] == 8 for one in found)
