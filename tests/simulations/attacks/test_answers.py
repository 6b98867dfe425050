"""Membership by sums, moments and scores: certain where algebra says so, else a guess."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm
from sklearn.metrics import roc_auc_score

from brainjepa_simulations.attacks.answers import (
    auc,
    from_moments,
    from_score,
    from_sum,
    told_apart,
)

N, P = 160, 12
rng = np.random.default_rng(0)
PEOPLE = rng.standard_normal((N, P))
ANOTHER = rng.standard_normal((N, P))  # scans that have nothing in common with the first


def test_auc_is_that_of_scikit_learn():
    figures, members = rng.integers(9, size=N).astype(float), np.arange(0, N, 3)
    assert auc(figures, members) == roc_auc_score(np.isin(np.arange(N), members), figures)


def test_moments_of_fewer_people_than_features_are_these_people():
    found = told_apart(from_moments, PEOPLE, ANOTHER, P - 2, draws=3)
    assert found.same == 1 and found.other == pytest.approx(0.5, abs=0.1)


def test_moments_of_many_people_tell_less():
    few, many = (told_apart(from_moments, PEOPLE, ANOTHER, n) for n in (P + 4, 80))
    assert few.same > 0.9 > many.same > 0.5


def test_a_mean_tells_as_much_as_theory_says():
    """Of independent numbers: figures of members are sqrt(P / n) standard deviations higher."""
    people = rng.standard_normal((N, 400))
    found = told_apart(from_sum, people, rng.standard_normal(people.shape), 40)
    apart = np.sqrt(400 * (1 / 40 + 1 / 120))  # a public mean of the 120 others
    assert found.same == pytest.approx(norm.cdf(apart / np.sqrt(2)), abs=0.04)
    assert found.other == pytest.approx(0.5, abs=0.06)


@pytest.mark.slow
def test_a_score_tells_next_to_nothing():
    found = told_apart(from_score, PEOPLE, ANOTHER, 40, draws=4)
    assert found.same == pytest.approx(0.5, abs=0.1)


def test_others_are_needed():
    with pytest.raises(ValueError, match=r"at most half of the 160 candidates .* found 81; take"):
        told_apart(from_sum, PEOPLE, ANOTHER, 81)
