"""Functional connectivity of one scan."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles.connectivity import pearson

from brainjepa_core.gradients import dead_rois, fisher_z, functional_connectivity


def make_series(seed: int = 0, rois: int = 6, frames: int = 40) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.standard_normal((rois, 3)) @ rng.standard_normal((3, frames)) + rng.standard_normal(
        (rois, frames)
    )


def test_functional_connectivity_is_pearson_r_with_an_exact_diagonal_and_symmetry():
    series = make_series()
    fc = functional_connectivity(series)
    loops = [[pearson(list(a), list(b)) for b in series] for a in series]
    np.testing.assert_allclose(fc, loops, atol=1e-14)
    np.testing.assert_allclose(fc, np.corrcoef(series), atol=1e-14)
    assert (np.diag(fc) == 1).all() and (fc == fc.T).all() and fc.dtype == np.float64


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_functional_connectivity_does_not_depend_on_the_scale_and_mean_of_an_roi(seed):
    rng = np.random.default_rng(seed)
    series = make_series(seed)
    scaled = series * rng.uniform(0.3, 3, (6, 1)) + rng.uniform(-1000, 1000, (6, 1))
    np.testing.assert_allclose(
        functional_connectivity(scaled), functional_connectivity(series), atol=1e-10
    )


def test_only_valid_frames_count():
    series = make_series()
    valid = np.arange(40) % 3 > 0
    spoilt = series.copy()
    spoilt[:, ~valid] = np.nan
    np.testing.assert_array_equal(
        functional_connectivity(spoilt, valid), functional_connectivity(series[:, valid])
    )


def test_fisher_z_of_identical_series_is_finite():
    np.testing.assert_allclose(fisher_z([0.5, -0.5]), [0.5493061443340548, -0.5493061443340548])
    assert fisher_z(1.0) == pytest.approx(8.405, abs=1e-3)
    assert fisher_z(-1.0) == -fisher_z(1.0)
    doubled = make_series()
    doubled[3] = doubled[1]
    assert functional_connectivity(doubled)[1, 3] == pytest.approx(1.0)


@pytest.mark.parametrize("size", [0.0, 1e-7, 0.01])
def test_a_dead_or_nearly_dead_roi_is_found(size):
    series = make_series()
    series[4] = 100 + size * series[4] / series[4].std()
    assert np.flatnonzero(dead_rois(series)).tolist() == [4]
    with pytest.raises(ValueError, match=r"\(nearly\) constant series.* in ROI 4; mark them"):
        functional_connectivity(series)
    with pytest.raises(ValueError, match=r"in e; mark them as missing \(dead_rois finds them\)"):
        functional_connectivity(series, rois=list("abcdef"))


def test_dead_rois_sees_missing_data_and_rounding_noise_but_no_weak_signal():
    series = make_series()
    series[1] = np.nan
    series[2] *= 0.3
    assert np.flatnonzero(dead_rois(series)).tolist() == [1]
    assert np.flatnonzero(dead_rois(series, missing=np.arange(6) == 5)).tolist() == [1, 5]
    series[3, 7] = np.inf  # for functional_connectivity to complain about
    assert np.flatnonzero(dead_rois(series)).tolist() == [1]
    assert dead_rois(np.full((3, 50), 0.1)).all()  # std is about 1e-17 here, not 0
    assert dead_rois(np.full((3, 50), np.nan)).all()
    assert dead_rois(np.zeros((3, 50))).all()


@settings(max_examples=40, deadline=None)
@given(st.lists(st.floats(-8, 2), min_size=3, max_size=30), st.integers(0, 2**32 - 1))
def test_what_dead_rois_lets_through_is_accepted(exponents, seed):
    series = make_series(seed, rois=len(exponents)) * 10.0 ** np.array(exponents)[:, None]
    dead = dead_rois(series)
    np.testing.assert_array_equal(dead_rois(series, missing=dead), dead)
    assert not dead_rois(series[~dead]).any() if (~dead).sum() >= 2 else True


@pytest.mark.parametrize(
    ("series", "frame_valid", "text"),
    [
        (np.zeros(5), None, r"expected series with shape \(ROIs, frames\), found shape \(5,\)"),
        (np.zeros((1, 9)), None, "at least 2 ROIs and 3 valid frames, found 1 ROIs"),
        (make_series()[:, :2], None, "found 6 ROIs and 2 valid frames"),
        (make_series(), np.arange(40) < 2, "found 6 ROIs and 2 valid frames"),
        (make_series(), np.ones(39, bool), r"'frame_valid' as 40 booleans.*shape \(39,\)"),
        (make_series(), np.ones(40), "'frame_valid' as 40 booleans, found float64"),
        (np.where(np.eye(6, 40) > 0, np.nan, make_series()), None, "NaN or infinity in ROI 0, ROI"),
        (np.full((6, 40), np.inf), None, "ROI 4 and 1 more; mark those ROIs as missing"),
    ],
)
def test_bad_scans_are_refused(series, frame_valid, text):
    with pytest.raises(ValueError, match=text):
        functional_connectivity(series, frame_valid)
