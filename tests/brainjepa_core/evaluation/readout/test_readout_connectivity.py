"""Connectivity of parts by loops, of signals by numpy, of a band by an FFT."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose

from brainjepa_core.evaluation.readout.connectivity import (
    SLOW_BAND,
    Part,
    connectivity_of,
    matrix_of,
    mean_connectivity,
    pairs_of,
    signal_part,
)
from brainjepa_core.sums.connectivity import ConnectivitySum
from brainjepa_core.sums.correlation import functional_connectivity

ROIS = 5
ALL = np.ones(ROIS, bool)


def made(frames: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.standard_normal((ROIS, 2)) @ rng.standard_normal((2, frames)) + rng.standard_normal(
        (ROIS, frames)
    )


def naive(parts: list[Part]) -> np.ndarray:
    """Pair by pair, number by number, over the parts that show both ROIs."""
    found = np.full((ROIS, ROIS), np.nan)
    for i in range(ROIS):
        for j in range(ROIS):
            ab = aa = bb = 0.0
            for x, known in parts:
                if known[i] and known[j]:
                    for a, b in zip(x[i], x[j], strict=True):
                        ab, aa, bb = ab + a * b, aa + a * a, bb + b * b
            if aa and bb:
                found[i, j] = ab / np.sqrt(aa * bb)
    return found


def test_correlation_over_parts_by_loops():
    parts = [Part(made(7), ALL), Part(made(9, 1), ALL), Part(made(4, 2), ALL)]
    for part in (1, 2):  # an ROI that one part lacks; two that another does
        known = ALL.copy()
        known[[2, 3][:part]] = False
        parts[part] = Part(np.where(known[:, None], parts[part].features, 99.0), known)
    assert_allclose(connectivity_of(parts), naive(parts), atol=1e-12)


def test_pairs_that_no_part_shows_together_and_dead_rois_are_unknown():
    one, other = np.array([1, 1, 1, 0, 1], bool), np.array([1, 1, 0, 1, 1], bool)
    x = made(8)
    x[4] = 0
    found = connectivity_of([Part(x, one), Part(x, other)])
    assert np.isnan(found[2, 3]) and np.isnan(found[4]).all() and np.isnan(found[:, 4]).all()
    assert_allclose(np.diagonal(found)[:4], 1, atol=0)
    assert np.isfinite(found[:2, :4]).all()


def test_of_a_scan_it_is_pearsons_whatever_the_scale_of_an_roi():
    x = made(60) * np.array([[1], [7], [0.2], [3], [40]]) + 5
    found = connectivity_of([signal_part(x, ALL, 2.0)])
    assert_allclose(found, functional_connectivity(made(60)), atol=1e-12)


def test_a_band_keeps_what_is_slow():
    frames, tr = 300, 2.0
    seconds = tr * np.arange(frames)
    slow, fast = np.sin(2 * np.pi * 0.05 * seconds), np.sin(2 * np.pi * 0.2 * seconds)
    x = np.stack([slow + fast, slow - fast, fast, slow, slow + 3 * fast])
    found = connectivity_of([signal_part(x, ALL, tr, SLOW_BAND)])
    assert_allclose(found[np.ix_([0, 1, 3, 4], [0, 1, 3, 4])], 1, atol=0.1)  # its ends ring
    assert connectivity_of([signal_part(x, ALL, tr)])[0, 1] == pytest.approx(0, abs=0.02)


@pytest.mark.parametrize("frames", [3, 33])
def test_a_scan_too_short_for_a_band_tells_nothing_of_it(frames):
    assert np.isnan(connectivity_of([signal_part(made(frames), ALL, 2.0, SLOW_BAND)])).all()
    long = signal_part(made(34), ALL, 2.0, SLOW_BAND)
    both = connectivity_of([signal_part(made(frames), ALL, 2.0, SLOW_BAND), long])
    assert_allclose(both, connectivity_of([long]))


def test_a_band_beyond_what_slow_frames_show_ends_there():
    assert np.isfinite(connectivity_of([signal_part(made(80), ALL, 6.0, SLOW_BAND)])).all()


def test_pairs_and_matrix_are_one_another():
    known = np.array([1, 0, 1, 1, 1], bool)
    r = connectivity_of([Part(made(30), known)])
    assert_allclose(matrix_of(pairs_of(r)), r, atol=1e-6)  # |r| is cut next to 1
    assert_allclose(matrix_of(np.stack([pairs_of(r)] * 2))[1], r, atol=1e-6)


def test_the_consensus_is_that_of_the_sums_of_sites():
    people = [made(40, seed) for seed in range(6)]
    people[4][2] = np.nan
    total = ConnectivitySum([f"r{i}" for i in range(ROIS)])
    for scan in people:
        total.add_scan(scan)
    pairs = []
    for scan in people:
        known = np.isfinite(scan).all(1)
        part = signal_part(np.where(known[:, None], scan, 0), known, 2.0)
        pairs.append(pairs_of(connectivity_of([part])))
    assert_allclose(mean_connectivity(pairs), total.mean_fc(), atol=1e-12)
