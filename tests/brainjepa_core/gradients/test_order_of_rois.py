"""Gradients of real cohorts are the published ones in the right order of ROIs, and in no other."""

from __future__ import annotations

import numpy as np
import pytest
from shared_data import shared

from brainjepa_core.gradients import (
    ConnectivitySum,
    canonical_correlations,
    dead_rois,
    diffusion_map,
)

CORTEX = slice(50, 450)  # rows of the published gradients: 50 subcortical ROIs first


def published_gradients() -> np.ndarray:
    return np.loadtxt(shared("data", "gradients", "gradient_mapping_450.csv"), delimiter=",")


def rows_17() -> np.ndarray:
    """Row in 17-network order, for each of the 450 rows in 7-network order."""
    table = np.loadtxt(
        shared("data", "atlases", "map_7net_to_17net_450.tsv"),
        skiprows=1,
        dtype=int,
        delimiter="\t",
    )
    assert (table[:, 0] == np.arange(1, 451)).all()
    return table[:, 1] - 1


def likeness(own: np.ndarray, reference: np.ndarray) -> float:
    """Three correlations among the five leading gradients of each, since neighbours may swap."""
    return float(canonical_correlations(own[:, :5], reference[:, :5])[:3].mean())


def to_17(gradients: np.ndarray) -> np.ndarray:
    """Cortical gradients [400, m] from 7- to 17-network order, by label."""
    moved = np.empty_like(gradients)
    moved[rows_17()[CORTEX] - 50] = gradients
    return moved


@pytest.fixture(scope="module")
def patients() -> list[np.ndarray]:
    series = np.load(shared("data", "stages419", "stages_ses-1_419.npz"))["ts"][:, :, :400]
    return [scan.T.astype(np.float64) for scan in series]


def cohort_gradients(patients: list[np.ndarray]) -> np.ndarray:
    total = ConnectivitySum(f"parcel {i}" for i in range(400))
    for series in patients:
        total.add_scan(series, missing=dead_rois(series))
    return diffusion_map(total.mean_fc(), 10).gradients


def test_right_wrong_and_random_order_of_a_real_cohort(patients):
    reference = published_gradients()[CORTEX]
    seven = cohort_gradients(patients)
    assert (rows_17() != np.arange(450)).sum() == 396

    assert 0.94 < likeness(to_17(seven), reference) < 0.99
    assert 0.60 < likeness(seven, reference) < 0.70
    assert likeness(seven[np.random.default_rng(0).permutation(400)], reference) < 0.2

    # Three gradients against three: the published figures, 0.93-0.96 and 0.57-0.60 (+- 0.02).
    assert canonical_correlations(to_17(seven), reference, 3).mean() == pytest.approx(
        0.94, abs=0.02
    )
    assert canonical_correlations(seven, reference, 3).mean() == pytest.approx(0.60, abs=0.02)


def test_ten_patients_are_enough(patients):
    reference = published_gradients()[CORTEX]
    for seed in range(3):
        chosen = np.random.default_rng(seed).choice(len(patients), 10, replace=False)
        seven = cohort_gradients([patients[i] for i in chosen])
        assert likeness(to_17(seven), reference) > 0.8
        assert likeness(seven, reference) < 0.7


def test_a_second_cohort_with_subcortex_mapped_from_coarser_rois():
    maps = np.load(shared("data", "abide", "project_450.npz"))["W"].astype(np.float64)
    fc = np.load(shared("reference", "brainspace_abide310.npz"))["fc"]
    covariance = maps @ fc @ maps.T
    size = np.sqrt(np.diag(covariance))
    mapped = np.clip(covariance / np.outer(size, size), -1, 1)
    np.fill_diagonal(mapped, 1)
    seventeen, reference = diffusion_map(mapped, 10).gradients, published_gradients()
    assert likeness(seventeen, reference) == pytest.approx(0.817, abs=0.005)
    assert likeness(seventeen[rows_17()], reference) == pytest.approx(0.571, abs=0.005)
