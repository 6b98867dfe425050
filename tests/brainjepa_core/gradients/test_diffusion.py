"""Affinity and diffusion map: oracles, parity with BrainSpace, determinism, refusals."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles.connectivity import loop_affinity, markov_gradients
from shared_data import shared
from threadpoolctl import threadpool_limits

from brainjepa_core.gradients import (
    affinity,
    canonical_correlations,
    diffusion_map,
    functional_connectivity,
)


def make_fc(seed: int = 0, rois: int = 40) -> np.ndarray:
    rng = np.random.default_rng(seed)
    series = rng.standard_normal((rois, 6)) @ rng.standard_normal((6, 150))
    return functional_connectivity(series + 2 * rng.standard_normal((rois, 150)))


@pytest.mark.parametrize("sparsity", [0.0, 0.5, 0.9])
def test_affinity_equals_loops(sparsity):
    fc = make_fc()
    found = affinity(fc, sparsity)
    keep = int(40 * (1 - sparsity))
    np.testing.assert_allclose(found, loop_affinity(fc, keep), rtol=0, atol=1e-12)
    assert (found == found.T).all() and (np.diag(found) == 1).all() and found.min() >= 0


def test_diffusion_map_equals_the_eigenvectors_of_the_markov_matrix():
    fc = make_fc(1)
    found = diffusion_map(fc, 8, 0.8)
    vectors, eigenvalues = markov_gradients(affinity(fc, 0.8), 8)
    np.testing.assert_allclose(found.eigenvalues, eigenvalues, rtol=1e-9)
    unit = found.gradients / np.linalg.norm(found.gradients, axis=0)
    np.testing.assert_allclose(np.abs((unit * vectors).sum(axis=0)), 1, atol=1e-9)
    assert (np.diff(found.eigenvalues) <= 0).all()
    peak = np.abs(found.gradients).argmax(axis=0)
    assert (found.gradients[peak, range(8)] > 0).all()


def test_parity_with_brainspace_on_real_connectivity():
    reference = np.load(shared("reference", "brainspace_abide310.npz"))
    rows = affinity(reference["fc"])[reference["row_index"]]
    off = np.ones_like(rows, dtype=bool)
    off[np.arange(len(rows)), reference["row_index"]] = False
    assert np.abs(rows - reference["affinity_rows"])[off].max() < 1e-12
    found = diffusion_map(reference["fc"])
    np.testing.assert_allclose(found.eigenvalues, reference["lambdas"], rtol=0.01)
    assert canonical_correlations(found.gradients, reference["gradients"]).min() >= 0.9995


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_same_input_same_bytes(seed):
    fc = make_fc(seed, rois=30)
    first, second = diffusion_map(fc, 10, 0.7), diffusion_map(fc.copy(order="F"), 10, 0.7)
    assert first.gradients.tobytes() == second.gradients.tobytes()
    assert first.eigenvalues.tobytes() == second.eigenvalues.tobytes()


def test_the_number_of_threads_does_not_matter():
    fc = make_fc(rois=300)
    found = []
    for threads in (1, 2, 4):
        with threadpool_limits(limits=threads, user_api="blas"):
            found.append(diffusion_map(fc).gradients.tobytes())
    assert found[0] == found[1] == found[2]


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_permuting_the_rois_permutes_the_gradients(seed):
    fc = make_fc(seed, rois=30)
    order = np.random.default_rng(seed).permutation(30)
    plain, moved = diffusion_map(fc, 5, 0.7), diffusion_map(fc[np.ix_(order, order)], 5, 0.7)
    np.testing.assert_allclose(moved.eigenvalues, plain.eigenvalues, rtol=1e-9)
    gaps = -np.diff(diffusion_map(fc, 6, 0.7).eigenvalues)
    # Components whose eigenvalues (nearly) agree are defined only as a plane; skip those.
    alone = np.minimum(gaps, np.append(np.inf, gaps[:-1])) > 1e-4 * plain.eigenvalues
    expected = plain.gradients[order]
    sign = np.sign((expected * moved.gradients).sum(axis=0))
    scale = np.abs(expected).max()
    np.testing.assert_allclose(
        (moved.gradients * sign)[:, alone], expected[:, alone], atol=1e-7 * scale
    )


def test_equal_values_at_the_cut_are_kept_so_that_roi_order_does_not_matter():
    fc = np.full((20, 20), 0.4)
    np.fill_diagonal(fc, 1)
    found = affinity(fc, 0.5)
    assert np.ptp(found[np.triu_indices(20, k=1)]) < 1e-12


def test_rois_with_identical_connectivity_share_their_gradients():
    fc = make_fc(3)
    fc[7], fc[:, 7] = fc[2], fc[:, 2]
    fc[7, 7] = fc[2, 7] = fc[7, 2] = 1
    found = diffusion_map(fc, 5, 0.5)
    np.testing.assert_allclose(found.gradients[7], found.gradients[2], atol=1e-10)


def spoil(change) -> np.ndarray:
    fc = make_fc()
    change(fc)
    return fc


def set_roi(value):
    def change(fc):
        fc[12, :] = fc[:, 12] = value
        fc[12, 12] = 1

    return change


def set_entry(row, column, value):
    def change(fc):
        fc[row, column] = value

    return change


NAMES = [f"area {i}" for i in range(40)]


@pytest.mark.parametrize(
    ("fc", "text"),
    [
        (np.zeros(4), r"square connectivity matrix of at least 2 ROIs, found shape \(4,\)"),
        (np.zeros((4, 5)), r"square connectivity matrix .* found shape \(4, 5\)"),
        (spoil(set_roi(np.nan)), "found NaN or infinity for {12}; leave these ROIs out"),
        (spoil(set_entry(3, 4, np.inf)), "found NaN or infinity for {3}; leave"),
        (spoil(set_roi(0.0)), "found only zeros for {12}: its series is dead or missing"),
        (spoil(set_entry(5, 5, 0.0)), "expected 1 on the diagonal, found 0 for {5}; pass"),
        (spoil(set_entry(3, 9, 0.99)), "expected a symmetric matrix.* entries for {3}, {9}"),
        (spoil(set_roi(1.5)), r"within \[-1, 1\], found 1.5 at {0}, .*pass r, not Fisher z"),
    ],
)
def test_bad_matrices_are_refused_and_the_roi_is_named(fc, text):
    for function in (affinity, diffusion_map):
        with pytest.raises(ValueError, match=re.sub(r"{(\d+)}", r"ROI \1", text)):
            function(fc)
        if fc.shape == (40, 40):
            with pytest.raises(ValueError, match=re.sub(r"{(\d+)}", r"area \1", text)):
                function(fc, rois=NAMES)


@pytest.mark.parametrize("n_components", [0, 40, 41])
def test_too_few_or_too_many_components_are_refused(n_components):
    with pytest.raises(ValueError, match=r"from 1 to 39 \(one less than the 40 ROIs\), found"):
        diffusion_map(make_fc(), n_components)
    assert diffusion_map(make_fc(), 39, 0.5).gradients.shape == (40, 39)


@pytest.mark.parametrize(
    ("settings_", "text"),
    [
        ({"sparsity": 1.0}, r"a sparsity in \[0, 1\), found 1.0"),
        ({"sparsity": -0.1}, r"a sparsity in \[0, 1\), found -0.1"),
        ({"sparsity": 0.96}, "at least 2 values kept a row, found 1 of 40 ROIs at sparsity 0.96"),
        ({"rois": ["a", "b"]}, "one name an ROI, found 2 names for 40 ROIs"),
    ],
)
def test_bad_settings_are_refused(settings_, text):
    with pytest.raises(ValueError, match=text):
        diffusion_map(make_fc(), 5, **settings_)


def test_a_graph_in_parts_is_refused_and_the_part_is_named():
    """Rows that are exactly opposite have no affinity; 64 makes their norms exact."""
    signs = np.where(np.arange(64) < 61, 1.0, -1.0)
    names = [f"area {i}" for i in range(64)]
    with pytest.raises(ValueError, match=r"found 2 parts .* largest: area 61, area 62, area 63;"):
        diffusion_map(np.outer(signs, signs), 5, 0.0, rois=names)
    apart = np.zeros((40, 40))
    apart[:37, :37], apart[37:, 37:] = make_fc(rois=37), make_fc(rois=3)
    assert np.isfinite(diffusion_map(apart, 5, 0.8).gradients).all()  # right angles connect
