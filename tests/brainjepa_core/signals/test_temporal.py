"""Resampling against analytic signals; published windows against their description."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from oracles.alignment import aligned_by_hand, resampled_by_filter
from threadpoolctl import threadpool_limits

from brainjepa_core.signals.scaling import zscore
from brainjepa_core.signals.temporal import (
    official_indices,
    official_stride,
    resample,
    resampled_frames,
)

TRS = (0.72, 0.735, 0.8, 1.0, 1.5, 2.0, 2.2, 2.5, 3.0)
SECONDS = 600


def wave(hertz: float, tr: float, frames: int, phase: float = 0.3) -> np.ndarray:
    return np.sin(2 * np.pi * hertz * np.arange(frames) * tr + phase)


@pytest.mark.parametrize("tr", TRS)
@pytest.mark.parametrize("target_tr", [0.735, 2.0, 2.2])
@pytest.mark.parametrize("share", [0.05, 0.3, 0.7])
def test_what_lies_below_the_lower_nyquist_frequency_is_kept(tr, target_tr, share):
    hertz = share / (2 * max(tr, target_tr))
    kept = resample(wave(hertz, tr, int(SECONDS / tr))[None], tr, target_tr)[0]
    expected = wave(hertz, target_tr, len(kept))
    inner = slice(len(kept) // 8, -len(kept) // 8)
    np.testing.assert_allclose(kept[inner], expected[inner], atol=5e-3)


@pytest.mark.parametrize(("tr", "target_tr"), [(0.735, 2.0), (0.735, 2.2), (0.8, 2.5), (1.0, 3.0)])
@pytest.mark.parametrize("share", [1.25, 1.6, 1.9])
def test_what_lies_above_is_suppressed_where_skipping_frames_keeps_it(tr, target_tr, share):
    aliasing = wave(share / (2 * target_tr), tr, int(SECONDS / tr))[None]
    filtered = resample(aliasing, tr, target_tr)[0]
    inner = slice(len(filtered) // 8, -len(filtered) // 8)
    assert np.abs(filtered[inner]).max() < 5e-3
    assert aliasing[0, :: official_stride(tr, target_tr)].std() > 0.5


def test_equal_trs_leave_the_scan_as_it_is():
    series = np.random.default_rng(0).standard_normal((5, 77)).astype(np.float32)
    assert np.array_equal(resample(series, 2.0, 2.0), series)
    assert resample(series.T, 2.0, 2.0).flags.c_contiguous


@given(st.sampled_from(TRS), st.sampled_from(TRS), st.integers(2, 300), st.floats(-1e4, 1e4))
def test_frames_are_aligned_and_ends_do_not_ring(tr, target_tr, frames, level):
    seconds = np.arange(frames) * tr
    out = resample(np.stack([np.full(frames, level), seconds]), tr, target_tr)
    assert out.dtype == np.float32
    assert out.shape == (2, resampled_frames(frames, tr, target_tr))
    assert (out.shape[1] - 1) * target_tr <= seconds[-1] * 1.002  # within the scan
    assert out.shape[1] * target_tr > seconds[-1] * 0.998
    np.testing.assert_allclose(out[0], level, rtol=1e-6, atol=1e-6)
    # A line stays a line, to 1 % of a frame: the first frame is the first, the rest follow.
    np.testing.assert_allclose(
        out[1], np.arange(out.shape[1]) * target_tr, rtol=2e-3, atol=0.02 * max(tr, target_tr)
    )


@given(st.sampled_from(TRS), st.sampled_from(TRS), st.integers(1, 300), st.integers(0, 2**32 - 1))
def test_resampling_equals_a_filter_over_all_frames(tr, target_tr, frames, seed):
    assume(tr != target_tr)
    series = np.random.default_rng(seed).standard_normal((3, frames))
    found = resample(series, tr, target_tr)
    expected = resampled_by_filter(series, tr, target_tr)
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, atol=1e-6 * max(1, np.abs(expected).max()))


@pytest.mark.parametrize("tr", [0.72, 0.735, 2.0, 2.5])
def test_an_aligned_scan_equals_one_by_hand_to_two_millionths(tr):
    rng = np.random.default_rng(0)
    series = (1e4 + 30 * rng.standard_normal((450, 490))).astype(np.float32)
    series[7, 100] += 4000  # a spike beyond the clip
    scaled = zscore(resample(zscore(series), tr, 2.0)) if tr != 2.0 else zscore(series)
    np.testing.assert_allclose(scaled, aligned_by_hand(series, tr, 2.0), rtol=1e-6, atol=2e-6)


def test_the_bits_follow_neither_threads_nor_the_rows_beside():
    series = np.random.default_rng(0).standard_normal((450, 490)).astype(np.float32)
    whole = resample(series, 0.735, 2.0)
    for threads in (1, 2, 4):
        with threadpool_limits(threads):
            assert np.array_equal(resample(series, 0.735, 2.0), whole)
            for rows in (slice(0, 1), slice(3, 40), slice(1, 450)):
                assert np.array_equal(resample(series[rows], 0.735, 2.0), whole[rows])


def test_rational_trs_do_not_drift():
    frames = 1200
    out = resample(wave(0.05, 0.735, frames)[None], 0.735, 2.0)[0]
    assert len(out) == (frames - 1) * 147 // 400 + 1
    np.testing.assert_allclose(out[-60:-20], wave(0.05, 2.0, len(out))[-60:-20], atol=2e-3)


def test_missing_rois_stay_missing_and_touch_no_other():
    series = np.random.default_rng(0).standard_normal((3, 90))
    alone = resample(series, 0.8, 2.0)
    series[1] = np.nan
    out = resample(series, 0.8, 2.0)
    assert np.isnan(out[1]).all()
    assert np.array_equal(out[[0, 2]], alone[[0, 2]])


@pytest.mark.parametrize(("tr", "target_tr"), [(2000.0, 2.0), (2.0, 2000.0), (0.002, 2.0)])
def test_trs_in_other_units_are_refused(tr, target_tr):
    with pytest.raises(ValueError, match=f"within a factor of 20 .* found {tr} s and {target_tr}"):
        resample(np.zeros((1, 10)), tr, target_tr)


def test_a_ukb_scan_takes_less_than_a_tenth_of_a_second():
    series = np.random.default_rng(0).standard_normal((450, 490)).astype(np.float32)
    times = []
    for _ in range(3):
        start = time.thread_time()  # of this thread's work: the load of the machine is not in it
        resample(series, 0.735, 2.0)
        times.append(time.thread_time() - start)
    assert min(times) < 0.1


def fc(series: np.ndarray) -> np.ndarray:
    return np.corrcoef(series)[np.triu_indices(len(series), 1)]


def simulated_scan(rng: np.random.Generator, rois: int = 60, frames: int = 490) -> tuple:
    """Slow signals of a few networks, and the same beneath white noise and breathing (0.3 Hz)."""
    tr = 0.735
    mixing = rng.standard_normal((rois, 8))
    hertz = np.fft.rfftfreq(frames, tr)
    spectrum = rng.standard_normal((8, len(hertz))) + 1j * rng.standard_normal((8, len(hertz)))
    spectrum[:, (hertz < 0.01) | (hertz > 0.1)] = 0
    clean = mixing @ np.fft.irfft(spectrum, frames)
    clean /= clean.std()
    breathing = np.sin(2 * np.pi * 0.3 * np.arange(frames) * tr + rng.uniform(0, 6, (rois, 1)))
    return clean, clean + 1.2 * rng.standard_normal(clean.shape) + 0.8 * breathing


def test_connectivity_survives_better_than_when_frames_are_skipped():
    rng = np.random.default_rng(0)
    scores = []
    for _ in range(8):
        clean, noisy = simulated_scan(rng)
        truth = fc(clean)
        resampled, skipped = resample(noisy, 0.735, 2.2), noisy[:, ::3]
        scores.append([np.corrcoef(truth, fc(x))[0, 1] for x in (resampled, skipped)])
    antialias, stride = np.mean(scores, axis=0)
    print(f"FC against noise-free FC: anti-aliased {antialias:.3f}, every third frame {stride:.3f}")
    assert antialias > 0.9 > 0.85 > stride
    assert np.all(np.diff(scores, axis=1) < 0)


def test_published_window_spreads_160_indices_over_480_frames():
    assert official_stride(0.735, 2.0) == 3
    for frames, start in ((490, 0), (490, 10), (480, 0)):
        indices = official_indices(frames, 160, 3, start)
        naive = [int(start + i * 479 / 159) for i in range(160)]  # truncated, both ends included
        assert indices.tolist() == naive
        assert (indices[0], indices[-1]) == (start, start + 479)
        assert set(np.diff(indices)) <= {3, 4}


@given(st.integers(1, 600), st.integers(1, 200), st.integers(1, 5), st.integers(0, 100))
def test_published_window_never_leaves_the_scan(frames, length, stride, start):
    indices = official_indices(frames, length, stride, start)
    assert len(indices) <= length and (indices < frames).all() and (np.diff(indices) > 0).all()
    if start + length * stride <= frames:
        assert len(indices) == length


@pytest.mark.parametrize(("tr", "stride"), [(0.735, 3), (1.0, 2), (2.0, 1), (3.0, 1), (10.0, 1)])
def test_published_stride(tr, stride):
    assert official_stride(tr, 2.0) == stride
