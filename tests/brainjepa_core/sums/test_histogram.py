"""No count stands for fewer people than the floor, and counts of sites give the AUC of all."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from brainjepa_core.sums.histogram import BINS, ScoreHistogram
from brainjepa_core.sums.protocol import total

rng = np.random.default_rng(0)
N = 120
CLASS = rng.integers(0, 2, N).astype(float)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 1000),
    n=st.integers(2, 60),
    fewest=st.integers(1, 7),
    scale=st.floats(0, 1e9),
)
def test_no_cell_of_a_histogram_holds_fewer_than_the_floor(seed, n, fewest, scale):
    draw = np.random.default_rng(seed)
    target = draw.integers(0, 2, n)
    margin = scale * draw.standard_normal(n) + target
    made = ScoreHistogram.of(target, margin, fewest)
    counts = made.histogram
    assert np.array_equal(made.told(fewest).histogram, counts)
    assert counts.shape == (2, BINS) and counts.dtype == np.int64
    assert not ((counts > 0) & (counts < fewest)).any()
    for label in (0, 1):
        size = int((target == label).sum())
        assert counts[label].sum() == (size if size >= fewest else 0)


def test_auc_over_sites_from_counts():
    margin = 1e-3 * (CLASS + rng.standard_normal(N)) - 7
    for fewest, slack in ((1, 0.003), (3, 0.02)):
        scores = (margin - margin.mean()) / margin.std()
        sites = [ScoreHistogram.of(CLASS[k::3], scores[k::3], fewest) for k in range(3)]
        assert total(sites).auc() == pytest.approx(roc_auc_score(CLASS, margin), abs=slack)
    assert np.isnan(ScoreHistogram(np.zeros((2, BINS), np.int64)).auc())


def test_a_class_with_a_cell_below_the_floor_is_not_told():
    counts = np.zeros((2, BINS), np.int64)
    counts[:, 7], counts[1, 9] = 5, 3
    found = ScoreHistogram(counts)
    assert found.people == 13 and found.classes == (5, 8)
    assert found.told(3).classes == (5, 8) and found.told(4).classes == (5, 0)
    assert found.told(6).people == 0


def test_a_class_is_told_as_a_rounded_number_of_its_people():
    target, scores = CLASS, CLASS + rng.standard_normal(N)
    told = ScoreHistogram.of(target, scores, 3, lambda people: people // 10 * 10)
    sizes = np.bincount(target.astype(int))
    assert told.classes == tuple(sizes // 10 * 10) != tuple(sizes)
    assert told.auc() == pytest.approx(roc_auc_score(target, scores), abs=0.03)
    assert ScoreHistogram.of(target, scores, 3, lambda _: 0).people == 0
