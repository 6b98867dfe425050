"""The consensus basis: equal to the pooled one, aligned once, frozen and hashed."""

from __future__ import annotations

import dataclasses
import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from brainjepa_core.gradients import (
    ConnectivitySum,
    ConsensusBasis,
    diffusion_map,
    relative_error,
)
from brainjepa_core.sums.protocol import total

R = 40
ROIS = tuple(f"area {i}" for i in range(R))


def make_sum(seed: int, subjects: int = 6, group: int = 0) -> ConnectivitySum:
    shared_mixing = np.random.default_rng(group).standard_normal((R, 8)) * np.linspace(2, 0.5, 8)
    rng = np.random.default_rng(seed)
    total = ConnectivitySum(ROIS)
    for _ in range(subjects):
        mixing = shared_mixing + 0.3 * rng.standard_normal((R, 8))
        series = mixing @ rng.standard_normal((8, 120)) + rng.standard_normal((R, 120))
        missing = rng.random(R) < 0.05
        total.add_scan(series, missing=missing)
    return total


def make_basis(seed: int = 1, **changes) -> ConsensusBasis:
    return ConsensusBasis.from_sum(make_sum(seed), n_components=6, sparsity=0.7, **changes)


def test_without_a_reference_it_is_the_diffusion_map_of_the_mean_connectivity():
    basis = make_basis()
    found = diffusion_map(make_sum(1).mean_fc(), 6, 0.7)
    np.testing.assert_array_equal(basis.gradients, found.gradients)
    np.testing.assert_array_equal(basis.eigenvalues, found.eigenvalues)
    assert basis.rois == ROIS and basis.gradients.dtype == np.float64


def test_the_consensus_of_sites_is_that_of_the_pooled_subjects():
    sites = [make_sum(seed, subjects) for seed, subjects in ((1, 2), (2, 9), (3, 5))]
    pooled = ConnectivitySum(ROIS)
    for site in reversed(sites):
        pooled = pooled + site
    reference = make_basis(4)
    for aligned_to in (None, reference):
        together = ConsensusBasis.from_sum(total(sites), 6, 0.7, reference=aligned_to)
        alone = ConsensusBasis.from_sum(pooled, 6, 0.7, reference=aligned_to)
        assert relative_error(together.gradients, alone.gradients) < 1e-8
        np.testing.assert_allclose(together.gradients, alone.gradients, atol=1e-8)


def test_alignment_rotates_onto_the_reference_and_takes_its_signs():
    plain = make_basis()
    turn = np.linalg.qr(np.random.default_rng(5).standard_normal((6, 6)))[0]
    flipped = ConsensusBasis(ROIS, plain.gradients @ turn, plain.eigenvalues)
    aligned = make_basis(reference=flipped)
    np.testing.assert_allclose(aligned.gradients, flipped.gradients, atol=1e-10)
    by_array = make_basis(reference=flipped.gradients)
    assert by_array.hash == aligned.hash
    other = make_basis(2, reference=flipped)
    assert ((other.gradients * flipped.gradients).sum(axis=0) >= 0).all()
    np.testing.assert_array_equal(aligned.eigenvalues, plain.eigenvalues)


def test_references_over_other_rois_or_components_are_refused():
    renamed = ConsensusBasis(tuple(f"x{i}" for i in range(R)), np.ones((R, 6)), np.ones(6))
    with pytest.raises(ValueError, match=r"missing: x0, x1, .* and 35 more; not expected: area 0"):
        make_basis(reference=renamed)
    with pytest.raises(ValueError, match=r"bases of one shape, found \(40, 6\) and \(40, 5\)"):
        make_basis(reference=np.ones((R, 5)))


def test_data_with_other_rois_are_refused():
    basis = make_basis()
    basis.require_rois(list(ROIS))
    with pytest.raises(ValueError, match="'area 1' at position 0 where 'area 0' belongs"):
        basis.require_rois((ROIS[1], ROIS[0], *ROIS[2:]))
    with pytest.raises(ValueError, match="expected 40 ROIs, found 41: some names are repeated"):
        basis.require_rois((*ROIS, ROIS[0]))


def test_eigengaps_are_relative_to_the_larger_of_two():
    basis = ConsensusBasis(ROIS, np.ones((R, 4)), np.array([2.0, 1.94, 1.5, 1.4]))
    np.testing.assert_allclose(basis.eigengaps, [0.03, 0.44 / 1.94, 0.1 / 1.5])
    unknown = ConsensusBasis(ROIS, np.ones((R, 4)), np.full(4, np.nan))
    assert np.isnan(unknown.eigengaps).all()


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_hash_survives_float32_and_sees_every_change(seed):
    rng = np.random.default_rng(seed)
    gradients = rng.standard_normal((R, 6))
    basis = ConsensusBasis(ROIS, gradients, np.arange(6.0))

    def with_gradients(values):
        return dataclasses.replace(basis, gradients=values).hash

    assert with_gradients(gradients.astype(np.float32)) == basis.hash
    assert with_gradients(np.asfortranarray(gradients)) == basis.hash
    changed = gradients.copy()
    changed[rng.integers(R), rng.integers(6)] *= 1.001
    assert with_gradients(changed) != basis.hash
    assert with_gradients(gradients[:, ::-1]) != basis.hash
    assert dataclasses.replace(basis, rois=(ROIS[1], ROIS[0], *ROIS[2:])).hash != basis.hash


def test_hash_is_pinned():
    basis = ConsensusBasis(("a", "b"), np.array([[0.1, -0.0], [2.0, 3.0]]), np.ones(2))
    zero = dataclasses.replace(basis, gradients=np.array([[0.1, 0.0], [2.0, 3.0]]))
    assert basis.hash == zero.hash
    content = np.array([[0.1, 0.0], [2.0, 3.0]], np.float32).astype("<f8").tobytes()
    assert basis.hash == hashlib.sha256(b"a\nb\n(2, 2)\n" + content).hexdigest()
    assert basis.hash == "ab4f76d9ef2590af87b3e67ce043b219f2b6db57aaa92fbddf0b056bed4465d2"


def test_round_trip_keeps_every_byte(tmp_path):
    basis = make_basis(reference=make_basis(2))
    basis.save(tmp_path / "basis.npz")
    found = ConsensusBasis.load(tmp_path / "basis.npz")
    assert found.hash == basis.hash and found.rois == basis.rois
    assert found.gradients.tobytes() == basis.gradients.tobytes()
    assert found.eigenvalues.tobytes() == basis.eigenvalues.tobytes()


def test_altered_content_does_not_pass_its_hash():
    arrays = make_basis().to_arrays()
    for key, value in {
        "gradients": arrays["gradients"] * 1.01,
        "rois": arrays["rois"][::-1],
        "hash": np.array("0" * 64),
    }.items():
        with pytest.raises(ValueError, match=r"expected a consensus basis with the hash .*altered"):
            ConsensusBasis.from_arrays({**arrays, key: value})


@pytest.mark.parametrize(
    ("key", "value", "text"),
    [
        ("gradients", np.ones((R - 1, 6)), r"shape \(40, components\), .*found \(39, 6\)"),
        ("gradients", np.ones(R), r"'eigenvalues' as float64 with shape \(\)"),
        ("gradients", np.ones((R, 6), np.float32), "'gradients' as float64 .*found float32"),
        ("gradients", np.full((R, 6), np.nan), "expected finite gradients and eigenvalues"),
        ("eigenvalues", np.ones(5), r"'eigenvalues' as float64 with shape \(6,\), found .*\(5,\)"),
        ("eigenvalues", np.full(6, np.inf), "expected finite gradients and eigenvalues"),
        ("rois", np.zeros(R), "'rois' as a one-dimensional array of text"),
    ],
)
def test_impossible_arrays_are_refused(key, value, text):
    with pytest.raises(ValueError, match=text):
        ConsensusBasis.from_arrays({**make_basis().to_arrays(), key: value})


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    path = tmp_path_factory.mktemp("bases") / "basis.npz"
    basis = make_basis()
    basis.save(path)
    return basis, path.read_bytes(), path


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_damaged_files_raise_value_error_or_are_read_unchanged(saved, data):
    basis, intact, path = saved
    damaged = bytearray(intact)
    if data.draw(st.booleans(), label="truncate"):
        damaged = damaged[: data.draw(st.integers(0, len(intact) - 1))]
    else:
        damaged[data.draw(st.integers(0, len(intact) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(damaged)
    try:
        found = ConsensusBasis.load(path)
    except ValueError as error:
        assert "expected" in str(error)
    else:
        assert found.gradients.tobytes() == basis.gradients.tobytes()


def test_the_basis_cannot_be_changed():
    gradients = np.ones((R, 6))
    basis = ConsensusBasis(ROIS, gradients, np.ones(6))
    gradients[:] = 0
    assert (basis.gradients == 1).all()
    with pytest.raises(ValueError, match="read-only"):
        basis.gradients[0] = 0
    with pytest.raises(dataclasses.FrozenInstanceError):
        basis.rois = ROIS


def test_a_basis_has_one_layout_whoever_made_it():
    """Products of another layout differ in their last bits, which a resumed study must not."""
    gradients = np.asfortranarray(np.random.default_rng(0).standard_normal((5, 2)))
    basis = ConsensusBasis(tuple("abcde"), gradients, np.ones(2))
    assert basis.gradients.flags.c_contiguous and np.array_equal(basis.gradients, gradients)
