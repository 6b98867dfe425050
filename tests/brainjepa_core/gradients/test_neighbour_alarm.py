"""The order alarm that needs no reference, on real scans whose order is known."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from shared_data import shared

from brainjepa_core.atlas import load_atlas
from brainjepa_core.gradients.neighbour_alarm import (
    FEWEST_ROIS,
    LEAST_FRAMES,
    half_connectivity,
    neighbour_alarm,
)

CORTEX = slice(50, 450)
CENTRES = np.array(load_atlas().centroids)


def rows_17() -> np.ndarray:
    """Row in 17-network order, for each of the 450 rows in 7-network order."""
    path = shared("data", "atlases", "map_7net_to_17net_450.tsv")
    return np.loadtxt(path, skiprows=1, dtype=int, delimiter="\t")[:, 1] - 1


def reordered(halves, rows):
    return tuple(half[np.ix_(rows, rows)] for half in halves)


def smooth_scan(places: np.ndarray, frames: int = 200, noise: float = 0.3, seed: int = 0):
    """Signals that are alike where the places are near."""
    rng = np.random.default_rng(seed)
    apart = np.linalg.norm(places[:, None] - places[None], axis=2)
    mixing = np.exp(-((apart / 20) ** 2))
    series = mixing @ rng.standard_normal((len(places), frames))
    series /= series.std(1, keepdims=True)
    return series + noise * rng.standard_normal(series.shape)


@pytest.fixture(scope="module")
def patients():
    """Halves of every third patient, cortex in 7-network order."""
    series = np.load(shared("data", "stages419", "stages_ses-1_419.npz"))["ts"][::3, :, :400]
    return [half_connectivity(scan.T) for scan in series]


def test_right_wrong_and_random_order_of_every_single_patient(patients):
    centres, to_17 = CENTRES[CORTEX], np.argsort(rows_17()[CORTEX] - 50)
    rng = np.random.default_rng(0)
    scores = []
    for halves in patients:
        right = neighbour_alarm(*reordered(halves, to_17), centres)
        seven = neighbour_alarm(*halves, centres)
        shuffled = neighbour_alarm(*reordered(halves, rng.permutation(400)), centres)
        assert right.verdict == "right order" and "as expected" in right.message
        assert seven.verdict == "wrong order" and shuffled.verdict == "wrong order"
        assert "Schaefer's 7-network order" in seven.message and "by name" in seven.message
        scores.append([right.score, seven.score, shuffled.score])
    right, seven, shuffled = np.transpose(scores)  # the published figures, with a little slack
    assert right.min() > 0.51 and seven.max() < 0.29 and np.abs(shuffled).max() < 0.07
    assert np.median(right) == pytest.approx(0.64, abs=0.03)


def test_the_mean_of_a_few_patients_is_sharper(patients):
    centres, to_17 = CENTRES[CORTEX], np.argsort(rows_17()[CORTEX] - 50)
    mean = tuple(np.nanmean([halves[i] for halves in patients[:5]], axis=0) for i in (0, 1))
    assert neighbour_alarm(*reordered(mean, to_17), centres).score > 0.68
    assert neighbour_alarm(*mean, centres).score < 0.27


def test_a_second_cohort_with_subcortex_mapped_from_coarser_rois():
    maps = np.load(shared("data", "abide", "project_450.npz"))["W"].astype(np.float64)
    archive = np.load(shared("data", "abide", "PITT.npz"))
    for scan in np.split(archive["ts"], np.cumsum(archive["lengths"])[:-1])[:5]:
        series = scan.T.astype(np.float64)
        halves = half_connectivity(maps @ (series / series.std(1, keepdims=True)))
        assert neighbour_alarm(*halves, CENTRES).score > 0.79
        seven = neighbour_alarm(*reordered(halves, rows_17()), CENTRES)
        assert seven.verdict != "right order" and seven.score < 0.38


def test_missing_rois_change_little():
    series = smooth_scan(CENTRES)
    whole = neighbour_alarm(*half_connectivity(series), CENTRES)
    series[::5] = np.nan
    series[1] = 3.0
    partly = neighbour_alarm(*half_connectivity(series), CENTRES)
    assert whole.verdict == partly.verdict == "right order"
    assert partly.score == pytest.approx(whole.score, abs=0.15)


def test_the_more_rows_are_shuffled_the_lower_the_score():
    rows = np.arange(450)
    verdicts = []
    for share in (0, 100, 200, 250, 300, 450):
        rows[:share] = np.random.default_rng(1).permutation(share)
        halves = half_connectivity(smooth_scan(CENTRES, noise=1.0)[rows])
        verdicts.append(neighbour_alarm(*halves, CENTRES))
    scores = [alarm.score for alarm in verdicts]
    assert all(more > less for more, less in pairwise(scores))
    assert verdicts[0].verdict == "right order" and verdicts[-1].verdict == "wrong order"
    middle = [alarm for alarm in verdicts if alarm.verdict == "suspicious"]
    assert middle and "compare the ROI names" in middle[0].message


def test_what_cannot_be_judged_is_not():
    rng = np.random.default_rng(0)
    scan = smooth_scan(CENTRES)
    assert neighbour_alarm(*half_connectivity(scan), None) is None
    few = slice(0, FEWEST_ROIS - 1)
    assert neighbour_alarm(*half_connectivity(scan[few]), CENTRES[few]) is None
    enough = slice(0, FEWEST_ROIS)
    assert neighbour_alarm(*half_connectivity(scan[enough]), CENTRES[enough]) is not None
    assert neighbour_alarm(*half_connectivity(rng.standard_normal((450, 200))), CENTRES) is None
    short = half_connectivity(scan[:, : LEAST_FRAMES - 1])
    assert np.isnan(short[0]).all() and neighbour_alarm(*short, CENTRES) is None
    constant = np.ones((450, 450)) - np.eye(450)
    assert neighbour_alarm(constant, constant, CENTRES) is None


def test_halves_equal_naive_correlations():
    series = smooth_scan(CENTRES[:6], frames=50)
    series[2] = np.nan
    series[4, :25] = 1.0  # no signal in one of the halves
    first, second = half_connectivity(series)
    for z, part in ((first, series[:, :25]), (second, series[:, 25:])):
        for i in range(6):
            for j in range(6):
                if {i, j} & {2, 4}:
                    assert np.isnan(z[i, j])
                elif i == j:
                    assert z[i, i] == 0
                else:
                    r = np.corrcoef(part[i], part[j])[0, 1]
                    assert z[i, j] == pytest.approx(np.arctanh(np.clip(r, -0.999, 0.999)))


def test_the_score_equals_a_naive_one():
    series = smooth_scan(CENTRES[:160], noise=1.0)
    first, second = half_connectivity(series)
    z = (first + second) / 2
    near, alike, rest, halves = [], [], [], []
    for i in range(160):
        others = [j for j in range(160) if j != i]
        by_place = sorted(others, key=lambda j: np.linalg.norm(CENTRES[i] - CENTRES[j]))
        near += [z[i, j] for j in by_place[:3]]
        alike += sorted(z[i, others])[-3:]
        rest += [z[i, j] for j in others]
        halves += [(first[i, j], second[i, j]) for j in others]
    agreement = np.corrcoef(np.transpose(halves))[0, 1]
    share = (np.mean(near) - np.mean(rest)) / (np.mean(alike) - np.mean(rest))
    expected = share / np.sqrt(2 * agreement / (1 + agreement))
    assert neighbour_alarm(first, second, CENTRES[:160]).score == pytest.approx(expected)


@settings(max_examples=15)
@given(st.integers(0, 2**32 - 1), st.floats(1e-3, 1e3), st.floats(-100, 100))
def test_units_and_the_order_of_rows_and_centres_together_do_not_matter(seed, gain, offset):
    series = smooth_scan(CENTRES[:160], frames=60, seed=1)
    rows = np.random.default_rng(seed).permutation(160)
    plain = neighbour_alarm(*half_connectivity(series), CENTRES[:160])
    moved = neighbour_alarm(*half_connectivity(gain * series[rows] + offset), CENTRES[:160][rows])
    assert moved.score == pytest.approx(plain.score, rel=1e-6)
