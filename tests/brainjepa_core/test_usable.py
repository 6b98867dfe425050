"""Which ROIs hold a signal, against a naive rule; which scans can be used, in one text."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from oracles.usable import live_by_hand

from brainjepa_core.gradients import dead_rois
from brainjepa_core.usable import MIN_FRAMES, MIN_ROIS, live_rois, why_unusable


@given(st.lists(st.floats(-8, 2), min_size=1, max_size=12), st.integers(0, 2**32 - 1), st.data())
def test_live_rois_equal_a_naive_rule(exponents, seed, data):
    series = np.random.default_rng(seed).standard_normal((len(exponents), 20))
    series *= 10.0 ** np.array(exponents)[:, None]
    spoilt = data.draw(st.lists(st.sampled_from([None, 0.0, 7.0, np.nan, np.inf]), max_size=12))
    for row, value in zip(series, spoilt, strict=False):
        if value is not None:
            row[: data.draw(st.sampled_from([1, 20]))] = value
    found = live_rois(series)
    assert found.tolist() == live_by_hand(series)
    alone = np.where(found[:, None], series, np.nan)
    assert live_rois(alone).tolist() == found.tolist()  # judged again, nothing changes


@given(
    hnp.arrays(
        st.sampled_from([np.float32, np.float64]),
        hnp.array_shapes(min_dims=2, max_dims=2, min_side=0, max_side=6),
    )
)
def test_any_numbers_give_an_answer(series):
    with np.errstate(all="ignore"):
        found = live_rois(series)
    assert found.shape == series.shape[:1] and found.dtype == bool
    assert np.isfinite(series[found]).all()


def test_what_is_not_dead_to_a_sum_is_alive():
    series = np.random.default_rng(0).standard_normal((7, 50))
    series[1] *= 0.03
    series[2] *= 0.2
    series[3] = np.nan
    series[4] = 1 / 3
    assert live_rois(series).tolist() == [True, False, True, False, False, True, True]
    assert np.array_equal(dead_rois(series), ~live_rois(series))


def test_what_float32_leaves_of_a_constant_is_no_signal_also_when_most_are():
    series = np.full((9, 100), 1 / 3, np.float32)
    series[5, ::2] = np.nextafter(np.float32(1 / 3), np.float32(1))  # the last bit of a float32
    assert not live_rois(series).any()
    series[8] = np.random.default_rng(0).standard_normal(100)
    assert live_rois(series).tolist() == [False] * 8 + [True]


def test_a_scan_needs_frames_and_rois():
    assert why_unusable(MIN_FRAMES, MIN_ROIS) == why_unusable(16, 450, 16) == ""
    assert why_unusable(2, 450) == (
        "expected a scan of at least 3 frames and 2 ROIs with a signal, found 2 frames and 450 "
        "such ROIs; leave it out, or check its extraction"
    )
    assert why_unusable(9, 1).startswith("expected a scan of at least 3 frames and 2 ROIs")
    assert "at least 16 frames and 2 ROIs with a signal, found 10" in why_unusable(10, 450, 16)


@pytest.mark.parametrize("least", [0, 1, 3])
def test_no_model_needs_less_than_a_correlation_does(least):
    assert why_unusable(2, 9, least) and not why_unusable(3, 9, least)
