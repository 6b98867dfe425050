"""Numbers beside arrays: three digits, within ranges, and nothing that is no number."""

from __future__ import annotations

import math

import pytest

from brainjepa_core.wire.told_numbers import RANGES, told_numbers, told_r2


def test_three_digits_within_ranges():
    told = told_numbers({"loss": 0.123456, "seconds": 98765.4, "drift": 90.4, "rank_people": -1.0})
    assert told == {"loss": 0.123, "seconds": 98800, "drift": 90, "rank_people": 0}
    assert told_numbers({"loss": 1e9, "position_share": -3.0}) == {
        "loss": 1e6, "position_share": -1,
    }  # fmt: skip


@pytest.mark.parametrize("name", RANGES)
def test_whatever_is_told_is_taken(name):
    low, high = RANGES[name]
    for value in (-1e300, low, 1 / 3, high, 1e300):
        assert low <= told_numbers({name: value})[name] <= high
    assert told_numbers({name: math.nan}) == told_numbers({name: math.inf}) == {}


def test_r2_of_own_probes():
    assert [told_r2(value) for value in (-40.0, 0.12345, 1.0)] == [-1, 0.123, 1]
