"""A study's privacy told beforehand, against figures of a prototype with Rényi's accountant."""

from __future__ import annotations

import dataclasses
import math

import pytest

from brainjepa_core.privacy.accounting import Release, epsilon_of
from brainjepa_core.privacy.plan import (
    ENOUGH,
    SIGNAL,
    StudyShape,
    noise_in_mean,
    parameters_within,
    people_within,
    plan_for,
)

TWELVE = StudyShape(people=(26,) * 12, steps=300, batch=8, parameters=54_000)
SHARED = StudyShape((26,) * 12, 300, 8, 54_000, honest_sites=12)
LARGE = StudyShape((5000,) * 8, 300, 64, 54_000)


@pytest.mark.parametrize(
    ("shape", "epsilon", "delta", "noise", "ratio"),
    [
        (TWELVE, 8.0, 1 / 260, 0.096, 0.013),
        (SHARED, 8.0, 1 / 3120, 0.032, 0.040),
        (LARGE, 8.0, 1 / 50_000, 0.0031, 0.41),
        (LARGE, 1.0, 1 / 50_000, 0.0069, 0.19),
    ],
)
def test_noise_and_ratio_are_those_of_the_prototype(shape, epsilon, delta, noise, ratio):
    """Whose bound on epsilon was looser, so that it asked for up to a sixth more noise."""
    plan = plan_for(shape, delta, epsilon=epsilon)
    (promise,) = plan.promises
    assert promise.epsilon <= epsilon and promise.epsilon > 0.99 * epsilon
    assert 0.8 * noise < plan.noise_in_mean < 1.03 * noise
    assert 0.96 * ratio < plan.signal_to_noise() < 1.27 * ratio


def test_noise_of_the_mean_by_simulation_of_variances():
    alone = noise_in_mean(TWELVE, {26: 2.0})  # each adds 2 to a sum that is divided by 8
    assert alone == pytest.approx(math.sqrt(12 * 2.0**2) / (12 * 8))
    eight = StudyShape((26,) * 12, 300, 8, 54_000, honest_sites=8)
    shares = noise_in_mean(eight, {26: 2.0})  # each of 12 adds its share, though 8 are counted on
    assert shares == pytest.approx(math.sqrt(12 * 2.0**2 / 8) / (12 * 8))


def test_a_noise_costs_what_the_accountant_says_and_alone_more():
    plan = plan_for(SHARED, 1e-5, noise=3.0)
    release = Release(noise=3.0, rate=8 / 26, times=300, honest_sites=12)
    (shared,) = plan.promises
    assert shared.epsilon == epsilon_of([release], 1e-5)
    assert shared.alone == epsilon_of([release.alone], 1e-5) > shared.epsilon
    (local,) = plan_for(TWELVE, 1e-5, noise=3.0).promises
    assert local.alone == local.epsilon == shared.epsilon


def test_each_site_keeps_the_promise_by_its_own_people_and_shared_noise_is_that_of_the_smallest():
    mixed = StudyShape((20, 400, 20), 300, 8, 54_000)
    own = plan_for(mixed, 1e-5, epsilon=8.0)
    assert [(p.people, p.sites) for p in own.promises] == [(20, 2), (400, 1)]
    small, large = (promise.release.noise for promise in own.promises)
    assert small > 3 * large
    assert all(7.9 < promise.epsilon <= 8 for promise in own.promises)
    expected = math.sqrt(2 * small**2 + large**2) / (3 * 8)
    assert own.noise_in_mean == pytest.approx(expected)
    shared = plan_for(dataclasses.replace(mixed, honest_sites=3), 1e-5, epsilon=8.0)
    assert {promise.release.noise for promise in shared.promises} == {small}
    assert shared.promises[0].epsilon == own.promises[0].epsilon > shared.promises[1].epsilon
    assert shared.noise_in_mean == pytest.approx(small / (3 * 8))


def test_verdicts_and_what_would_suffice():
    noise = plan_for(TWELVE, 1 / 260, epsilon=8.0)
    assert noise.verdict == "noise"
    assert plan_for(SHARED, 1 / 3120, epsilon=8.0).verdict == "part"
    assert plan_for(LARGE, 1e-5, epsilon=8.0).verdict == "trains"
    fewer = parameters_within(noise)
    assert 0 < fewer < 54_000
    ratio = SIGNAL / (noise.noise_in_mean * math.sqrt(fewer))
    assert ratio == pytest.approx(ENOUGH, rel=0.01)
    assert people_within(noise) > 26 * 10


@pytest.mark.parametrize(
    ("choices", "text"),
    [
        ({}, "expected an epsilon or a noise, found both or none"),
        ({"epsilon": 1.0, "noise": 1.0}, "expected an epsilon or a noise, found both or none"),
        ({"epsilon": 0.0}, "expected an epsilon above 0, found 0"),
    ],
)
def test_one_of_epsilon_and_noise_is_given(choices, text):
    with pytest.raises(ValueError, match=text):
        plan_for(TWELVE, 1e-5, **choices)


def test_a_delta_of_more_than_a_tenth_of_a_person_is_no_promise():
    with pytest.raises(ValueError, match=r"at most 0\.00385, a tenth of a person in 26"):
        plan_for(TWELVE, 0.01, epsilon=8.0)
