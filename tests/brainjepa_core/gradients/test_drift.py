"""Principal angles, canonical correlations, Procrustes alignment."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from brainjepa_core.gradients import (
    canonical_correlations,
    principal_angles,
    procrustes_align,
    relative_error,
)


def make_basis(seed: int = 0, rois: int = 60, components: int = 8) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((rois, components))


def make_rotation(seed: int, size: int = 8) -> np.ndarray:
    return np.linalg.qr(np.random.default_rng(seed).standard_normal((size, size)))[0]


def test_known_angles():
    theta = np.deg2rad([0.0, 1e-6, 30.0, 90.0])
    directions = np.linalg.qr(make_basis(components=9) - make_basis(components=9).mean(0))[0]
    a = directions[:, :4]
    b = np.cos(theta) * a + np.sin(theta) * directions[:, 4:8]
    np.testing.assert_allclose(principal_angles(a, b), [0, 1e-6, 30, 90], rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(canonical_correlations(a, b), np.cos(theta), atol=1e-12)
    np.testing.assert_allclose(principal_angles(a, b, 2), [0, 1e-6], rtol=1e-6, atol=1e-9)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_subspace_measures_ignore_mixing_scale_and_offset(seed):
    a, b = make_basis(seed), make_basis(seed + 1)
    mixed = (a @ (make_rotation(seed) * np.logspace(-6, 6, 8))) + 5
    np.testing.assert_allclose(principal_angles(mixed, b), principal_angles(a, b), atol=1e-5)
    np.testing.assert_allclose(
        np.cos(np.deg2rad(principal_angles(a, b))), canonical_correlations(a, b), atol=1e-9
    )
    assert principal_angles(mixed, a).max() < 1e-4


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_procrustes_undoes_a_rotation_and_follows_the_signs_of_the_reference(seed):
    basis = make_basis(seed)
    rotated = basis @ make_rotation(seed)
    np.testing.assert_allclose(procrustes_align(rotated, basis), basis, atol=1e-10)
    assert relative_error(rotated, basis) < 1e-12
    other = make_basis(seed + 1)
    aligned = procrustes_align(basis, other)
    assert ((aligned * other).sum(axis=0) >= -1e-9).all()
    np.testing.assert_allclose(aligned @ aligned.T, basis @ basis.T, atol=1e-9)
    for attempt in range(5):  # no rotation comes closer
        tried = basis @ make_rotation(seed + attempt)
        assert np.linalg.norm(aligned - other) <= np.linalg.norm(tried - other) + 1e-9


def test_relative_error_of_a_scaled_basis_is_its_scale():
    assert relative_error(1.25 * make_basis(), make_basis()) == pytest.approx(0.25)


@pytest.mark.parametrize("function", [principal_angles, canonical_correlations])
def test_subspaces_that_cannot_be_compared_are_refused(function):
    basis = make_basis()
    with pytest.raises(ValueError, match=r"over the same ROIs, found shapes \(60, 8\) and \(59"):
        function(basis, basis[1:])
    with pytest.raises(ValueError, match=r"n_components from 1 to 8, the columns .* found 10"):
        function(basis, basis, 10)
    with pytest.raises(ValueError, match="expected finite gradients, found NaN or infinity"):
        function(basis, np.where(basis > 2, np.nan, basis))
    with pytest.raises(ValueError, match="8 linearly independent gradients, found 7; compare"):
        function(np.hstack([basis[:, :7], basis[:, :1] * 3 + 1]), basis)
    with pytest.raises(ValueError, match="8 linearly independent gradients, found 7"):
        function(np.hstack([basis[:, :7], np.ones((60, 1))]), basis)


def test_bases_of_different_width_are_not_aligned():
    with pytest.raises(ValueError, match=r"bases of one shape, found \(60, 8\) and \(60, 5\)"):
        procrustes_align(make_basis(), make_basis()[:, :5])
    with pytest.raises(ValueError, match="reference basis that is not zero everywhere"):
        relative_error(make_basis(), np.zeros((60, 8)))
