"""Epsilon against formulas that are exact, and against another library's figures."""

from __future__ import annotations

import json
import math

import pytest
from oracles import pld
from scipy import stats
from scipy.optimize import brentq

from brainjepa_core.privacy.accounting import (
    LARGE,
    Release,
    epsilon_of,
    noise_for,
    require_delta,
)

FIGURES = json.loads(pld.FIGURES.read_text())


def gaussian_epsilon(noise: float, delta: float) -> float:
    """Of one Gaussian release over everybody (Balle and Wang, ICML 2018, theorem 5)."""
    m = 1 / noise

    def excess(epsilon: float) -> float:
        upper = stats.norm.cdf(m / 2 - epsilon / m)
        return float(upper - math.exp(epsilon) * stats.norm.cdf(-m / 2 - epsilon / m) - delta)

    return float(brentq(excess, 0, 200))


@pytest.mark.parametrize("noise", [0.8, 2.0, 10.0, 50.0])
@pytest.mark.parametrize("times", [1, 9])
def test_sums_over_everybody_cost_what_the_formula_says(noise, times):
    """Nine of them are one of a third of the noise."""
    expected = gaussian_epsilon(noise / math.sqrt(times), 1e-5)
    found = epsilon_of([Release(noise=noise, times=times)], 1e-5)
    assert expected <= found <= 1.01 * expected


def within_a_hundredth(figures: list[dict]) -> None:
    for told in figures:
        releases = [Release(noise=s, rate=q, times=t) for s, q, t in told["releases"]]
        found = epsilon_of(releases, told["delta"])
        assert abs(found / told["epsilon"] - 1) < 0.01, told


def test_some_studies_cost_what_dp_accounting_says():
    within_a_hundredth(FIGURES[1:6])


@pytest.mark.slow
def test_fifty_random_studies_cost_what_dp_accounting_says():
    assert len(FIGURES) == pld.STUDIES
    within_a_hundredth(FIGURES)


def test_the_figures_are_dp_accountings():
    pytest.importorskip("dp_accounting")
    for told in FIGURES[:5]:
        releases = [tuple(release) for release in told["releases"]]
        assert pld.epsilon(releases, told["delta"]) == pytest.approx(told["epsilon"], rel=1e-4)


def test_costs_add_up_and_order_or_parts_make_no_difference():
    one = Release(noise=2.0, rate=0.1, times=100)
    other = Release(noise=1.5, rate=0.05, times=50)
    both = epsilon_of([one, other], 1e-5)
    assert both == epsilon_of([other, one], 1e-5)
    parts = [one.model_copy(update={"times": 40}), other, one.model_copy(update={"times": 60})]
    assert both == epsilon_of(parts, 1e-5)
    assert max(epsilon_of([r], 1e-5) for r in (one, other)) < both
    assert both < epsilon_of([one], 1e-5) + epsilon_of([other], 1e-5)
    assert epsilon_of([], 1e-5) == 0


def test_what_protects_nobody_is_told_as_a_large_number():
    huge = epsilon_of([Release(noise=0.3, rate=0.9, times=3000)], 1e-5)
    assert huge > LARGE and math.isfinite(huge)


def test_one_site_alone_has_its_own_noise_only():
    shared = Release(noise=3.0, rate=0.1, times=10, honest_sites=9)
    assert shared.alone == Release(noise=1.0, rate=0.1, times=10)
    assert epsilon_of([shared], 1e-5) == epsilon_of([Release(noise=3.0, rate=0.1, times=10)], 1e-5)


@pytest.mark.parametrize(
    ("epsilon", "rate", "times"), [(8.0, 1.0, 1), (3.0, 0.1, 100), (0.5, 0.02, 50)]
)
def test_noise_for_an_epsilon_costs_it_and_hardly_less(epsilon, rate, times):
    noise = noise_for(epsilon, 1e-5, rate, times)
    assert noise == float(f"{noise:.4g}")
    costs = [
        epsilon_of([Release(noise=s, rate=rate, times=times)], 1e-5) for s in (noise, 0.997 * noise)
    ]
    assert costs[0] <= epsilon < costs[1]


def test_noise_leaves_room_for_what_was_spent():
    spent = [Release(noise=2.0, rate=0.1, times=100)]
    noise = noise_for(4.0, 1e-5, 0.1, 100, spent)
    assert noise > noise_for(4.0, 1e-5, 0.1, 100)
    assert epsilon_of([*spent, Release(noise=noise, rate=0.1, times=100)], 1e-5) <= 4.0
    with pytest.raises(ValueError, match=r"expected room within epsilon 0\.1 .* found it spent"):
        noise_for(0.1, 1e-5, 0.1, 100, spent)
    with pytest.raises(ValueError, match="expected an epsilon above 0, found -1"):
        noise_for(-1.0, 1e-5, 0.1, 100)


def test_a_delta_of_a_tenth_of_a_person_at_most():
    require_delta(1e-5, 10_000)
    require_delta(1 / 260, 26)
    with pytest.raises(ValueError, match=r"at most 0\.00385, a tenth .* in 26, found 0\.01; lower"):
        require_delta(0.01, 26)
    with pytest.raises(ValueError, match=r"above 0 .* found 0; lower delta"):
        require_delta(0.0, 26)
