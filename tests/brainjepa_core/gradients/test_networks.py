"""Networks from gradients: close ROIs together, the same for all sites, numbered in order."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from brainjepa_core.gradients.networks import LEADING, gradient_networks


def clusters(sizes: list[int], components: int = 5, noise: float = 0.01):
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((len(sizes), components))
    labels = rng.permutation(np.repeat(np.arange(len(sizes)), sizes))
    return centres[labels] + noise * rng.standard_normal((len(labels), components)), labels


def test_clusters_are_found_and_numbered_by_first_appearance():
    gradients, labels = clusters([9, 6, 12, 8])
    found = gradient_networks(gradients, 4)
    assert found.dtype == np.int64 and found.shape == labels.shape
    _, first, place = np.unique(labels, return_index=True, return_inverse=True)
    assert np.array_equal(found, np.argsort(np.argsort(first))[place])
    assert found[0] == 0 and list(dict.fromkeys(found)) == [0, 1, 2, 3]


@given(st.integers(6, 40), st.integers(1, 15), st.integers(1, 20), st.integers(0, 99))
def test_any_basis_has_networks_without_gaps(rois, components, count, seed):
    gradients = np.random.default_rng(seed).standard_normal((rois, components))
    found = gradient_networks(gradients, count)
    wanted = max(2, min(count, rois // 3))
    assert np.array_equal(np.unique(found), np.arange(wanted))
    assert list(dict.fromkeys(found)) == list(range(wanted))
    assert np.array_equal(gradient_networks(gradients, count), found)


def test_signs_layout_and_late_gradients_do_not_matter():
    gradients, _ = clusters([9, 6, 12, 8], components=14)
    found = gradient_networks(gradients)
    late = gradients.copy()
    late[:, LEADING:] = 1e6
    for same in (late, -gradients, np.asfortranarray(gradients), gradients.tolist()):
        assert np.array_equal(gradient_networks(same), found)


@pytest.mark.parametrize("rois", [2, 3, 4, 5])
def test_the_smallest_atlases_have_two(rois):
    found = gradient_networks(np.arange(rois, dtype=float)[:, None])
    assert np.array_equal(np.unique(found), [0, 1])
