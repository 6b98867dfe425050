"""A coordinator that lies learns of nobody from a site by contract, and of people without that."""

from __future__ import annotations

from itertools import pairwise

import pytest

from brainjepa_client.answering.site import Site
from brainjepa_core.wire.messages import DESCRIBE, GRADIENTS, Request
from brainjepa_simulations.attacks.asking import rows
from brainjepa_simulations.attacks.scene import Scene
from brainjepa_simulations.attacks.victim import AGE, Victim
from brainjepa_simulations.scenario import read_scenario

ASKING = {
    rows.fold_differences: 40,
    rows.two_settings: 10,
    rows.known_scans: 30,
    rows.spans_of_moments: 10,
    rows.counted_ages: 20,
    rows.judged_ages: 20,
    rows.inverted_windows: 5,
}
"""How many people each attack finds at least of a site that answers anybody."""


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    return Scene(read_scenario("attacked"), tmp_path_factory.mktemp("scene"))


@pytest.fixture
def victim(scene, tmp_path):
    return Victim(scene.victim, scene.study, tmp_path / "state")


@pytest.mark.parametrize("attack", ASKING)
def test_without_a_contract_people_are_found(victim, attack):
    """The attacks can do what they say."""
    found = attack(victim, *victim.without_contract())
    print(f"{attack.__name__}: {found} of {victim.people} in {victim.answered} answers")
    assert found >= ASKING[attack]


@pytest.mark.parametrize("attack", ASKING)
def test_by_contract_nobody_is(victim, attack):
    assert attack(victim, *victim.by_contract()) == 0
    if attack is rows.judged_ages:  # what the contract allows is answered, and tells too little
        assert victim.answered == sum(q.times for q in AGE.questions() if q.probe.want == "judge")


def test_all_attacks_after_an_honest_study(victim):
    """Nor does who has other answers of the contract find anybody."""
    ask, study = victim.by_contract()
    assert not ask(Request(DESCRIBE, study)).refusal
    assert not ask(Request(GRADIENTS, study)).refusal
    assert [attack(victim, ask, study) for attack in ASKING] == [0] * len(ASKING)
    assert victim.answered < 18


def test_people_are_far_enough_apart_for_a_find_to_mean_something(victim):
    found = sorted(victim.z_of(person)[0] for person in range(victim.people))
    assert min(b - a for a, b in pairwise(found)) > 1e-6


@pytest.mark.parametrize("attack", [rows.known_scans, rows.spans_of_moments, rows.counted_ages])
def test_by_the_default_policy_nobody_is_either(victim, attack):
    """Without a contract: for want of five people a feature, and since counts are rounded."""
    ask, study = Site(victim.settings).answer, victim.study
    assert attack(victim, ask, study) <= 2  # ages that a guess comes near by chance
