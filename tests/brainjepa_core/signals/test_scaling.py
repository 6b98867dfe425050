"""Scales against numpy on whole arrays; regions without a signal; demeaned data."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from brainjepa_core.signals.scaling import official_scale, pooled_scale, zscore


def scans(count: int = 5, rois: int = 7, frames: int = 150, level: float = 1e3) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    spread = rng.uniform(1, 50, (rois, 1))
    return [
        (
            level * rng.uniform(0.5, 2, (rois, 1)) + spread * rng.standard_normal((rois, frames))
        ).astype(np.float32)
        for _ in range(count)
    ]


def test_zscore_equals_numpy():
    x = scans(1)[0].astype(np.float64)
    expected = (x - x.mean(1, keepdims=True)) / x.std(1, keepdims=True)
    np.testing.assert_allclose(zscore(x), expected, atol=1e-5)
    assert zscore(x).dtype == np.float32


def test_pooled_equals_quantiles_of_all_frames_put_together():
    parts = scans()
    low, median, high = np.quantile(np.concatenate(parts, axis=1), [0.25, 0.5, 0.75], axis=1)
    scale = pooled_scale(parts, len(parts))
    np.testing.assert_allclose(scale.median, median, rtol=1e-6)
    np.testing.assert_allclose(scale.iqr, high - low, rtol=1e-5)
    expected = (parts[0] - median[:, None]) / (high - low)[:, None]
    np.testing.assert_allclose(scale.apply(parts[0]), np.clip(expected, -10, 10), atol=1e-4)


def test_pooled_reads_evenly_spaced_frames_and_fewer_of_many_scans():
    read = []

    class Counted(np.ndarray):
        def __getitem__(self, key):
            read.append(len(key[1]))
            return np.asarray(super().__getitem__(key))

    long = np.random.default_rng(0).standard_normal((3, 399)).astype(np.float32)
    pooled_scale([long.view(Counted)])
    pooled_scale([long.view(Counted)], count=2000)
    assert read == [200, 50]


def test_pooled_ignores_scans_that_miss_the_roi():
    parts = scans()
    complete = pooled_scale(parts[1:])
    parts[0][2] = np.nan
    gaps = pooled_scale(parts)
    assert gaps.median[2] == pytest.approx(complete.median[2])
    assert gaps.iqr[2] == pytest.approx(complete.iqr[2])
    for part in parts:
        part[2] = np.nan
    nobody = pooled_scale(parts)
    assert np.isnan(nobody.iqr).tolist() == [i == 2 for i in range(7)]
    assert np.isnan(nobody.apply(parts[0])).all(1).tolist() == [i == 2 for i in range(7)]


def test_official_equals_median_and_iqr_of_temporal_means():
    parts = scans()
    means = np.array([part.astype(np.float64).mean(1) for part in parts])
    low, median, high = np.quantile(means, [0.25, 0.5, 0.75], axis=0)
    scale = official_scale(parts)
    np.testing.assert_allclose(scale.median, median)
    np.testing.assert_allclose(scale.iqr, high - low)


def test_official_refuses_demeaned_scans():
    demeaned = [part - part.mean(1, keepdims=True) for part in scans()]
    with pytest.raises(ValueError, match=r"with their baseline for the 'official' .* demeaned"):
        official_scale(demeaned)


def test_scales_without_a_spread_are_refused():
    with pytest.raises(ValueError, match=r"found none with a spread among 1; choose .*'zscore'"):
        official_scale(scans(1))
    with pytest.raises(ValueError, match=r"found none with a spread among 20"):
        pooled_scale([np.ones((3, 20))])


@pytest.mark.parametrize("dead", [0.0, 1e3, 1 / 3, np.nan, "weak"])
def test_rois_without_a_signal_become_nan(dead):
    series = scans(1)[0]
    spread = np.median(series.std(1))
    weak = 900 + 0.01 * spread * np.random.default_rng(1).standard_normal(150)
    series[4] = weak if dead == "weak" else dead
    for scaled in (zscore(series), pooled_scale(scans()).apply(series)):
        assert np.isnan(scaled).all(1).tolist() == [i == 4 for i in range(7)]
        assert np.isfinite(np.delete(scaled, 4, axis=0)).all()


def test_spikes_are_clipped():
    series = np.random.default_rng(0).standard_normal((5, 1000))
    series[1, 500] = 1e6
    series[2, 500] = -1e6
    assert zscore(series)[1:3, 500].tolist() == [10, -10]
    scaled = pooled_scale([series]).apply(series)
    assert (np.abs(scaled).max(), scaled[1, 500], scaled[2, 500]) == (10, 10, -10)


@given(st.floats(1e-3, 1e5), st.floats(-1e3, 1e3), st.integers(0, 2**32 - 1))
def test_zscore_ignores_gain_and_offset(gain, offset, seed):
    x = np.random.default_rng(seed).standard_normal((4, 50))
    np.testing.assert_allclose(zscore(gain * x + gain * offset), zscore(x), atol=1e-4)
