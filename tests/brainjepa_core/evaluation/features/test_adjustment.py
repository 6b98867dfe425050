"""Adjustment and harmonisation against loops, and what they may learn from."""

from __future__ import annotations

import numpy as np
from feature_tasks import make_task
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from sklearn.base import clone
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from brainjepa_core.evaluation.features.adjustment import (
    Adjustment,
    target_of_covariates,
)


@given(n=st.integers(8, 30), covariates=st.integers(1, 3), seed=st.integers(0, 99))
def test_residuals_by_normal_equations(n, covariates, seed):
    rng = np.random.default_rng(seed)
    c, x = rng.standard_normal((n, covariates)), rng.standard_normal((n, 4))
    x += c @ rng.standard_normal((covariates, 4))
    new_c, new_x = rng.standard_normal((3, covariates)), rng.standard_normal((3, 4))
    design = np.column_stack([np.ones(n), c])
    weights = np.linalg.solve(design.T @ design, design.T @ x)
    adjustment = Adjustment(covariates).fit(np.hstack([c, x]))
    expected = new_x - np.column_stack([np.ones(3), new_c]) @ weights
    assert_allclose(adjustment.transform(np.hstack([new_c, new_x])), expected, atol=1e-8)
    left = adjustment.transform(np.hstack([c, x]))
    assert_allclose(c.T @ left, 0, atol=1e-8)  # nothing of the covariates is left in training


def test_all_indicators_of_sites_are_taken_out_and_an_unknown_site_gets_their_middle():
    sites = np.repeat(np.eye(3)[:2], 10, axis=0)  # the third site is not in training
    x = np.repeat([[0.0], [4.0]], 10, axis=0)
    adjustment = Adjustment(3).fit(np.hstack([sites, x]))
    assert_allclose(adjustment.transform(np.hstack([sites, x])), 0, atol=1e-10)
    assert_allclose(adjustment.transform([[0, 0, 1, 7.0]] @ np.eye(4)), [[5.0]])


def test_covariates_travel_through_a_pipeline():
    rng = np.random.default_rng(0)
    c, x = rng.standard_normal((20, 1)), rng.standard_normal((20, 3))
    pipeline = make_pipeline(Adjustment(1), StandardScaler())
    found = pipeline.fit_transform(np.hstack([c, x + 5 * c]))
    assert found.shape == (20, 3)
    assert_allclose(found.mean(0), 0, atol=1e-12)
    assert np.abs(np.corrcoef(c[:, 0], found.T)[0, 1:]).max() < 0.5


def test_what_covariates_tell_of_a_target_is_learned_from_training_rows_only():
    rng = np.random.default_rng(0)
    c = rng.standard_normal((30, 2))
    target = 3 + c @ [1.0, -2.0]
    training = np.arange(20)
    wild = target.copy()
    wild[20:] = 1e6
    for values in (target, wild):
        found = target_of_covariates(make_task(values, covariates=c), training)
        assert_allclose(found, target)
    assert np.array_equal(target_of_covariates(make_task(target), training), np.zeros(30))


def test_cloning_keeps_the_settings():
    assert clone(Adjustment(3)).covariates == 3
