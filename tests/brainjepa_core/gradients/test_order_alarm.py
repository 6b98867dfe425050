"""The order alarm, on real cohorts whose order is known."""

from __future__ import annotations

import numpy as np
import pytest
from shared_data import shared

from brainjepa_core.gradients import (
    ConnectivitySum,
    canonical_correlations,
    dead_rois,
    diffusion_map,
    order_alarm,
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

    right = order_alarm(to_17(seven), reference)
    assert right.verdict == "right order" and 0.94 < right.score < 0.99
    wrong = order_alarm(seven, reference)
    assert wrong.verdict == "wrong order" and 0.60 < wrong.score < 0.70
    assert "Schaefer's 7-network order" in wrong.message and "by name" in wrong.message
    shuffled = order_alarm(seven[np.random.default_rng(0).permutation(400)], reference)
    assert shuffled.verdict == "wrong order" and shuffled.score < 0.2

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
        assert order_alarm(to_17(seven), reference).verdict == "right order"
        assert order_alarm(seven, reference).verdict == "wrong order"


def test_a_second_cohort_with_subcortex_mapped_from_coarser_rois():
    maps = np.load(shared("data", "abide", "project_450.npz"))["W"].astype(np.float64)
    fc = np.load(shared("reference", "brainspace_abide310.npz"))["fc"]
    covariance = maps @ fc @ maps.T
    size = np.sqrt(np.diag(covariance))
    mapped = np.clip(covariance / np.outer(size, size), -1, 1)
    np.fill_diagonal(mapped, 1)
    seventeen, reference = diffusion_map(mapped, 10).gradients, published_gradients()
    right, wrong = order_alarm(seventeen, reference), order_alarm(seventeen[rows_17()], reference)
    assert right.verdict == "right order" and right.score == pytest.approx(0.817, abs=0.005)
    assert wrong.verdict == "wrong order" and wrong.score == pytest.approx(0.571, abs=0.005)


def test_a_basis_matches_itself_and_a_half_scrambled_one_is_suspicious():
    rng = np.random.default_rng(0)
    basis = np.linalg.qr(rng.standard_normal((400, 10)))[0]
    assert order_alarm(basis, basis).score == pytest.approx(1.0)
    assert order_alarm(basis, basis).message == "order score 1.00: as expected"
    noisy = basis + 0.05 * rng.standard_normal(basis.shape)
    partly = order_alarm(noisy, basis)
    assert partly.verdict == "suspicious"
    assert "order score 0.7" in partly.message and "compare the ROI names" in partly.message


def test_bases_that_cannot_be_compared_are_refused():
    basis = np.random.default_rng(0).standard_normal((50, 6))
    with pytest.raises(ValueError, match="at least 3 gradients in both bases, found 2"):
        order_alarm(basis[:, :2], basis)
    with pytest.raises(ValueError, match="over the same ROIs, found shapes"):
        order_alarm(basis, basis[:40])
    assert order_alarm(basis[:, :3], basis).score == pytest.approx(1.0)
