"""Numbers of a scan against naive ones, and every rule that keeps a scan out."""

from __future__ import annotations

import math
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from oracles.usable import live_by_hand
from shared_data import shared

from brainjepa_core.signals.cleaning.quality import (
    mean_correlation,
    reasons_to_exclude,
    scan_quality,
)
from brainjepa_core.signals.preparation import ExclusionSettings
from brainjepa_core.signals.scan import RawScan

NO_RULES = ExclusionSettings(mean_fd=None, censored=None, missing_rois=None)


def raw_scan(**changes) -> RawScan:
    rng = np.random.default_rng(0)
    series = 1000 + 10 * rng.standard_normal((6, 40))
    series[1] = np.nan
    series[2] = 700.0
    facts = {
        "series": series,
        "tr": 0.8,
        "coverage": np.array([1.0, 0.2, 0.9, 0.7, 1.0, 1.0]),
        "tsnr": 55.0,
        "fd": np.concatenate([[0.0], rng.uniform(0, 1, 39)]),
        "keep": np.arange(40) % 4 > 0,
    }
    return RawScan(**{**facts, **changes})


def test_numbers_equal_naive_ones():
    raw = raw_scan()
    cleaned = raw.series[:, raw.keep]
    quality = scan_quality(raw, cleaned)
    fd = list(raw.fd)[1:]
    naive = [np.corrcoef(cleaned[i], cleaned[j])[0, 1] for i, j in combinations([0, 3, 4, 5], 2)]
    expected = {
        "tr": 0.8,
        "frames": 30,
        "seconds": 24.0,
        "dropped": 10,
        "censored": 0.25,
        "mean_fd": sum(fd) / 39,
        "max_fd": max(fd),
        "tsnr": 55.0,
        "coverage_mean": 4.8 / 6,
        "coverage_min": 0.2,
        "missing_rois": 1,
        "dead_rois": 1,
        "fc_mean": sum(naive) / 6,
    }
    rows = raw.series[[0, 3, 4, 5]]  # with a signal
    steps = [
        np.sqrt(np.mean([(100 * (row[t] - row[t - 1]) / row.mean()) ** 2 for row in rows]))
        for t in range(1, 40)
    ]
    expected["dvars"] = sum(steps) / 39
    assert quality == pytest.approx(expected)
    assert all(type(value) is float for value in quality.values())


def test_what_is_not_known_is_left_out():
    raw = raw_scan(tsnr=float("nan"), fd=None, keep=None)
    quality = scan_quality(raw, raw.series)
    assert not {"tsnr", "mean_fd", "max_fd", "censored"} & quality.keys()
    assert quality["dropped"] == 0
    standardised = raw_scan(tsnr=-3e-9)  # an image around 0 has no mean to divide
    assert "tsnr" not in scan_quality(standardised, raw.series)
    for unknown in ([np.nan] * 6, [0.0] + [np.nan] * 5):  # of no ROI, or of the missing ones only
        found = scan_quality(raw_scan(coverage=np.array(unknown)), raw.series)
        assert not {"coverage_mean", "coverage_min"} & found.keys()
    before = raw_scan(keep=None, details={"CensoredFramesDropped": raw.series.shape[1]})
    assert scan_quality(before, raw.series)["censored"] == 0.5
    empty = scan_quality(raw, np.full_like(raw.series, np.nan))
    assert "fc_mean" not in empty and empty["missing_rois"] == 6 and empty["dead_rois"] == 0


@given(st.integers(2, 12), st.integers(3, 40), st.integers(0, 1000))
def test_mean_correlation_equals_the_mean_over_pairs(rois, frames, seed):
    series = np.random.default_rng(seed).standard_normal((rois, frames)) + 50
    pairs = [np.corrcoef(series[i], series[j])[0, 1] for i, j in combinations(range(rois), 2)]
    assert mean_correlation(series) == pytest.approx(np.mean(pairs), abs=1e-9)


def test_no_mean_correlation_of_one_roi_or_two_frames():
    assert math.isnan(mean_correlation(np.ones((1, 9))))
    assert math.isnan(mean_correlation(np.ones((4, 2))))


def test_nearly_dead_rois_of_real_scans_are_found():
    archive = np.load(shared("data", "stages419", "stages_ses-1_419.npz"))
    for scan in archive["ts"][:20, :, :400]:
        series = scan.T.astype(np.float64)
        quality = scan_quality(RawScan(series, 2.0, np.ones(400)), series)
        assert quality["dead_rois"] == 400 - sum(live_by_hand(series))


@pytest.mark.parametrize(
    ("quality", "rule", "reason"),
    [
        (
            {"mean_fd": 0.712},
            {"mean_fd": 0.5},
            "mean FD 0.71 mm, at most 0.5 allowed (exclude.mean_fd)",
        ),
        (
            {"mean_fd": 0.5004},
            {"mean_fd": 0.5},
            "mean FD 0.5004 mm, at most 0.5 allowed (exclude.mean_fd)",
        ),
        (
            {"censored": 0.625},
            {"censored": 0.5},
            "share of censored frames 0.62, at most 0.5 allowed (exclude.censored)",
        ),
        (
            {"missing_rois": 20.0, "dead_rois": 5.0},
            {"missing_rois": 0.2},
            "share of ROIs without a signal 0.25, at most 0.2 allowed (exclude.missing_rois)",
        ),
        ({"tsnr": 19.9999}, {"tsnr": 20}, "tSNR 19.9999, at least 20 required (exclude.tsnr)"),
        (
            {"seconds": 240.0},
            {"seconds": 300},
            "length 240 s, at least 300 required (exclude.seconds)",
        ),
    ],
)
def test_each_rule_says_what_it_found_and_what_it_allows(quality, rule, reason):
    settings = NO_RULES.model_copy(update=rule)
    assert reasons_to_exclude(quality, settings, rois=100) == [reason]


def test_limits_themselves_are_allowed_and_unknown_numbers_break_no_rule():
    settings = ExclusionSettings(tsnr=20, seconds=300)
    at_limit = {"mean_fd": 0.5, "censored": 0.5, "missing_rois": 20.0, "tsnr": 20, "seconds": 300}
    assert reasons_to_exclude(at_limit, settings, rois=100) == []
    assert reasons_to_exclude({}, settings, rois=100) == []


def test_all_broken_rules_are_told():
    bad = {"mean_fd": 2.0, "censored": 0.9, "missing_rois": 90.0, "tsnr": 3.0, "seconds": 20.0}
    found = reasons_to_exclude(bad, ExclusionSettings(tsnr=20, seconds=300), rois=100)
    assert len(found) == 5
    assert reasons_to_exclude(bad, NO_RULES, rois=100) == []


@given(st.floats(0, 1e6), st.floats(1e-6, 1e6))
def test_a_reason_never_shows_the_limit_as_what_was_found(value, limit):
    settings = NO_RULES.model_copy(update={"mean_fd": limit})
    for reason in reasons_to_exclude({"mean_fd": value}, settings, rois=10):
        shown = float(reason.removeprefix("mean FD ").split(" mm")[0])
        assert value > limit and shown != limit
