"""Cleaning against known truth, nilearn where it is right, and cleaning voxel by voxel."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nilearn.signal import butterworth, clean

from brainjepa_core.signals.cleaning.clean import clean_series, interpolated
from brainjepa_core.signals.preparation import CleaningSettings
from brainjepa_core.signals.scan import RawScan

ROIS, FRAMES, TR = 4, 120, 2.0
DROP = CleaningSettings(censored="drop")


def raw(series, **parts) -> RawScan:
    return RawScan(np.asarray(series, np.float64), TR, np.ones(len(series)), **parts)


def censored(*frames: int) -> np.ndarray:
    keep = np.ones(FRAMES, bool)
    keep[list(frames)] = False
    return keep


@pytest.fixture
def series():
    return 1000.0 + np.random.default_rng(0).standard_normal((ROIS, FRAMES))


@pytest.fixture
def regressors():
    return np.random.default_rng(1).standard_normal((FRAMES, 3))


def by_nilearn(series, regressors, **options) -> np.ndarray:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return clean(
            series.T.copy(), detrend=False, standardize=None, confounds=regressors, **options
        ).T


def test_a_scan_without_regressors_stays_what_it_is(series):
    np.testing.assert_allclose(clean_series(raw(series), CleaningSettings()), series, atol=1e-9)


def test_known_confounds_leave_the_known_signal(regressors):
    rng = np.random.default_rng(2)
    design = np.column_stack([np.ones(FRAMES), regressors])
    noise = rng.standard_normal((ROIS, FRAMES))
    truth = noise - noise @ design @ np.linalg.pinv(design)  # orthogonal to every regressor
    truth += np.array([[10.0], [20.0], [30.0], [40.0]])
    mixed = truth + rng.standard_normal((ROIS, 3)) @ (regressors - regressors.mean(0)).T
    found = clean_series(raw(mixed, regressors=regressors), CleaningSettings())
    np.testing.assert_allclose(found, truth, atol=1e-9)


def test_as_nilearn_does_on_kept_frames(series, regressors):
    keep = censored(0, 17, 18, 60)
    found = clean_series(raw(series, regressors=regressors, keep=keep), DROP)
    expected = by_nilearn(series, regressors, sample_mask=np.flatnonzero(keep))
    assert found.shape == (ROIS, FRAMES - 4)
    np.testing.assert_allclose(found, expected, atol=1e-9)


def test_cleaning_regions_equals_cleaning_voxels(regressors):
    rng = np.random.default_rng(3)
    voxels = 500 + rng.standard_normal((ROIS, 7, FRAMES))
    keep = censored(5, 50, 51)
    settings = CleaningSettings(low_pass=0.1, high_pass=0.01)
    regions = clean_series(raw(voxels.mean(1), regressors=regressors, keep=keep), settings)
    flat = clean_series(raw(voxels.reshape(-1, FRAMES), regressors=regressors, keep=keep), settings)
    np.testing.assert_allclose(regions, flat.reshape(voxels.shape).mean(1), atol=1e-9)


@pytest.mark.parametrize("frames", [(), (10, 11, 40)], ids=["all kept", "some censored"])
def test_band_pass_as_nilearn_where_its_filling_is_right(series, regressors, frames):
    keep = censored(*frames)  # none of these mirrors another at the middle of the scan
    settings = CleaningSettings(low_pass=0.1, high_pass=0.01, censored="drop")
    found = clean_series(raw(series, regressors=regressors, keep=keep), settings)
    expected = by_nilearn(
        series, regressors, low_pass=0.1, high_pass=0.01, t_r=TR, sample_mask=np.flatnonzero(keep)
    )
    np.testing.assert_allclose(
        found - found.mean(1, keepdims=True), expected - expected.mean(1, keepdims=True), atol=1e-8
    )


def test_a_spike_is_gone_even_where_its_mirror_frame_is_censored(series):
    spiky = series.copy()
    spiky[:, [30, FRAMES - 31]] += 1e4
    keep = censored(30, FRAMES - 31)
    settings = CleaningSettings(low_pass=0.1)
    found = clean_series(raw(spiky, keep=keep), settings)
    expected = clean_series(raw(series, keep=keep), settings)
    np.testing.assert_allclose(found, expected, atol=1e-8)


def test_band_pass_takes_out_what_is_outside_the_band():
    times = np.arange(FRAMES) * TR
    slow, fast = np.sin(2 * np.pi * 0.05 * times), np.sin(2 * np.pi * 0.2 * times)
    found = clean_series(raw([100 + slow + fast]), CleaningSettings(low_pass=0.1))
    inner = slice(20, -20)
    np.testing.assert_allclose(found[0][inner], 100 + slow[inner], atol=0.05)
    np.testing.assert_allclose(
        found[0] - found[0].mean(),
        (lambda x: x - x.mean())(butterworth(slow + fast, 1 / TR, low_pass=0.1)),
        atol=1e-9,
    )


def test_each_region_keeps_its_mean(series, regressors):
    settings = CleaningSettings(low_pass=0.1, high_pass=0.01)
    keep = censored(3, 70)
    found = clean_series(raw(series, regressors=regressors, keep=keep), settings)
    np.testing.assert_allclose(found[:, keep].mean(1), series[:, keep].mean(1), rtol=1e-9)


def test_missing_regions_stay_missing(series, regressors):
    series[1] = np.nan
    found = clean_series(raw(series, regressors=regressors), CleaningSettings())
    assert np.isnan(found[1]).all() and np.isfinite(found[[0, 2, 3]]).all()


@pytest.mark.parametrize("degree", [1, 3])
@given(kept=st.lists(st.booleans(), min_size=4, max_size=40).filter(lambda keep: sum(keep) >= 2))
def test_interpolation_keeps_frames_and_straight_lines(degree, kept):
    keep = np.array(kept)
    line = np.column_stack([np.arange(len(keep)) * 2.0 + 1, np.full(len(keep), 5.0)])
    spoilt = np.where(keep[:, None], line, 1e9)
    filled = interpolated(spoilt, keep, degree)
    first, last = np.flatnonzero(keep)[[0, -1]]
    expected = line[np.clip(np.arange(len(keep)), first, last)]  # held beyond the ends
    np.testing.assert_allclose(filled, expected, atol=1e-6)
    np.testing.assert_array_equal(filled[keep], line[keep])


def test_what_is_filled_in_never_leaves_the_range_of_its_neighbours(series):
    keep = np.ones(FRAMES, bool)
    keep[40:52] = keep[80:83] = False
    found = clean_series(raw(series, keep=keep), CleaningSettings())
    for gap in (slice(39, 53), slice(79, 84)):
        ends = found[:, [gap.start, gap.stop - 1]]
        low, high = ends.min(1, keepdims=True), ends.max(1, keepdims=True)
        assert ((found[:, gap] >= low - 1e-9) & (found[:, gap] <= high + 1e-9)).all()


def test_too_few_frames_for_the_regressors(series, regressors):
    keep = np.arange(FRAMES) < 8
    with pytest.raises(
        ValueError,
        match=r"at least 9 frames after censoring for 3 regressors, found 8 of 120; choose a sim",
    ):
        clean_series(raw(series, regressors=regressors, keep=keep), DROP)


def test_a_band_beyond_the_nyquist_frequency(series):
    with pytest.raises(ValueError, match=r"below 0.25 Hz \(half of 1/TR\), found 0.3; lower it"):
        clean_series(raw(series), CleaningSettings(low_pass=0.3))
