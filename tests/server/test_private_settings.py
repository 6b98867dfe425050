"""What a study under ``protect: dp`` may be, told when its settings are read."""

from __future__ import annotations

import pytest

from brainjepa_core.privacy.accounting import epsilon_of
from brainjepa_core.privacy.study import learning_people
from brainjepa_core.wire.contract import Contract
from brainjepa_core.wire.messages import Assignment
from brainjepa_server.consortium.proposing import questions
from brainjepa_server.private_study import promised_cost
from brainjepa_server.settings import StudySettings

TRAINING = {"batch_size": 4, "schedule": {"total_steps": 6, "warmup_steps": 2}}


SHARED = {"noise": 1.0, "where": "central", "honest_sites": 3}
CENTRAL = {"privacy": SHARED, "rounds": {"local_steps": 1}}


AGE = {"name": "age", "kind": "regression", "column": "age"}
MIXES = {"family": "brainmass", "model": {"norm": "batch"}, "training": TRAINING}


def study(training: dict | None = None, **changes) -> StudySettings:
    told = {
        "name": "private",
        "protect": "dp",
        "privacy": {"epsilon": 8},
        "start_from": {"model": "model"},
        "rounds": {"local_steps": 2},
        "pretraining": {"training": {**TRAINING, **(training or {})}},
    }
    return StudySettings.model_validate({**told, **changes})


def test_all_of_the_promise_is_in_the_contract_and_nothing_else_is_asked():
    found = study()
    assert found.assignment().privacy == found.privacy
    asked = questions(found)
    assert (asked["evaluations"], asked["tasks"], asked["rounds"]) == (0, (), 3)
    assert questions(study(protect="none", privacy=None))["evaluations"] > 0


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"privacy": None}, "expected a section privacy .* with protect: dp and nothing else, "),
        ({"protect": "none"}, "found one with protect: none; add the one, or take the other out"),
        ({"start_from": None}, "expected start_from with protect: dp, found none"),
        (
            {"coskewness": True},
            "expected coskewness: false with protect: dp, found true; sites are asked for no sums "
            "then, which no budget counts: leave it out",
        ),
        (
            {"tasks": [{"task": AGE}]},
            "expected no tasks with protect: dp, found 1; answers about tasks are counted by no",
        ),
        ({"pretraining": MIXES}, "loss of a person depends on nobody else with diff"),
        ({"training": {"clip_norm": 1.0}}, r"expected no training\.clip_norm with differential"),
        (CENTRAL | {"rounds": {"local_steps": 2}}, "one local step a round where sites share the"),
        (CENTRAL | {"privacy": {**SHARED, "honest_sites": None}}, "expected honest_sites with"),
        ({"privacy": {"noise": 1, "honest_sites": 2}}, "nowhere else, found 2 with where: local"),
        (
            CENTRAL | {"privacy": {"epsilon": 8, "where": "central", "honest_sites": 3}},
            "expected noise with where: central, found epsilon",
        ),
        (
            CENTRAL | {"sites": ["a", "b", "c", "d"], "privacy": {**SHARED, "honest_sites": 4}},
            "honest_sites of at most 3, the sites that a secure sum of 4 is sure to have, found 4",
        ),
        (
            CENTRAL | {"aggregation": {"outer": {"kind": "fedadam"}}},
            "outer.kind: fedavg where sites share the noise .*, found fedadam; the coordinator tak",
        ),
        (CENTRAL | {"aggregation": {"outer": {"lr": 0.7}}}, "outer.lr: 1 where .*found 0.7; the"),
        (
            CENTRAL | {"aggregation": {"reset_optimizer": True}},
            "no aggregation.reset_optimizer where sites share the noise .*, found true; the coord",
        ),
        (CENTRAL | {"aggregation": {"target": "local"}}, "no aggregation.target: local where"),
        (CENTRAL | {"aggregation": {"proximal": 0.1}}, "aggregation.proximal: 0 where .*found 0.1"),
        (CENTRAL | {"aggregation": {"combine": "median"}}, "aggregation.combine: mean with"),
        (CENTRAL | {"aggregation": {"wire": "bf16"}}, "aggregation.wire: fp32 with"),
        ({"privacy": {}}, "expected epsilon or noise, found none; give one of the two"),
        ({"privacy": {"epsilon": 8, "noise": 1}}, "expected epsilon or noise, found both"),
        ({"privacy": {"epsilon": 0}}, "greater than or equal to 0.01"),
        ({"privacy": {"noise": float("nan")}}, "finite number"),
    ],
    ids=str,
)  # fmt: skip
def test_what_is_not_accounted_for_is_refused_when_the_study_is_made(changes, text):
    with pytest.raises(ValueError, match=text):
        study(**changes)


def test_with_noise_each_site_is_promised_what_its_own_number_of_people_gives():
    found = study(privacy={"noise": 1.0})
    small, large = (promised_cost(found, people).epsilon for people in (10, 1000))
    release = found.privacy.release(found.pretraining.training, 1000, 5)
    assert (release.rate, release.times) == (4 / 800, 6)
    assert large == epsilon_of([release], 1e-5) < small
    assert promised_cost(found, 0) is None
    assert all(promised_cost(study(), people).epsilon == 8 for people in (10, 1000))


def test_people_of_the_held_out_fold_do_not_count_for_the_rate():
    assert [learning_people(people, 5) for people in (1, 10, 26, 100)] == [1, 8, 20, 80]
    with pytest.raises(ValueError, match="found 0 after rounding; round to a smaller number"):
        learning_people(0, 5)


def test_shared_noise_is_in_the_contract_with_the_secure_sum_that_carries_it():
    found = study(**CENTRAL).assignment()
    assert found.protect is not None and found.privacy.honest_sites == 3
    with pytest.raises(ValueError, match=r"where: central\), and there alone, found none"):
        Assignment.model_validate({**found.model_dump(), "protect": None})
    roster = {name: name * 64 for name in "abcd"}
    kept = {"consortium": "one", **questions(study(**CENTRAL))}
    assert Contract(roster=roster, **kept).times("train") == 6
    with pytest.raises(ValueError, match="secure sum of 4 is sure to have, found 4"):
        more = questions(study(**CENTRAL | {"privacy": {**SHARED, "honest_sites": 4}}))
        Contract(roster=roster, consortium="one", **more)


def test_a_site_that_is_alone_is_promised_less():
    cost = promised_cost(study(**CENTRAL), 100)
    assert cost.epsilon < cost.alone
