"""One lying site of four and of twelve: how far it turns a round."""

from __future__ import annotations

import numpy as np
import pytest

from brainjepa_server.settings import AggregationSettings
from brainjepa_simulations.attacks.lying.poisoning import ATTACKS, HonestRound, effect, honest_round

PLAIN = AggregationSettings(clip_norm=1e9, max_norm=1e9)  # a mean without limits
LIES = [name for name in ATTACKS if name != "none"]


@pytest.fixture(scope="module", params=[4, 12])
def honest(request) -> HonestRound:
    return honest_round(request.param)


def test_honest_sites_are_alike_and_their_mean_is_the_plain_one(honest):
    differences = [honest.difference(site) for site in honest.sites]
    norms = np.linalg.norm(differences, axis=1)
    assert norms.max() < 1.1 * np.median(norms)
    alike = np.corrcoef(differences)[np.triu_indices(len(norms), 1)]
    assert alike.min() > 0.5
    found = effect(honest, "none")
    assert found.told == "" and found.error < 1e-6 and found.progress == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("attack", LIES)
def test_a_liar_does_not_turn_the_default_round(honest, attack):
    found = effect(honest, attack)
    least, most = {4: (0.45, 0.6), 12: (0.8, 0.2)}[len(honest.sites)]
    assert found.progress >= least and found.error <= most
    quiet = ("flip", "mean - 1 sd")  # as long as an honest difference
    assert bool(found.told) == (attack not in quiet)


@pytest.mark.parametrize("attack", LIES)
@pytest.mark.parametrize("combine", ["trimmed_mean", "median"])
def test_robust_combinations_hold_too(honest, attack, combine):
    found = effect(honest, attack, AggregationSettings(combine=combine))
    least, most = {4: (0.8, 0.3), 12: (0.95, 0.2)}[len(honest.sites)]
    assert found.progress >= least and found.error <= most


def test_without_limits_a_liar_turns_it(honest):
    """The attacks are attacks: what the default withstands, the plain mean does not."""
    assert effect(honest, "flip x 10", PLAIN).progress < 0.1
    assert effect(honest, "scale x 10", PLAIN).error > 0.8
    assert effect(honest, "zero the model", PLAIN, counted=False).error > 1


def test_a_liar_that_lied_when_it_joined_too_has_twice_an_even_part(honest):
    found = effect(honest, "towards zero, as long as passes", counted=False)
    least, most = {4: (0.4, 0.85), 12: (0.8, 0.3)}[len(honest.sites)]
    assert found.progress >= least and found.error <= most
    assert "(twice an even part), found 1e+09 of 1e+09" in found.told
