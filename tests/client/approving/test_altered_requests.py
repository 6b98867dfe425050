"""Altered requests to a site that has answered a contract: refused, or the very same bytes."""

from __future__ import annotations

import numpy as np
import pytest
from guarded_site import approved, asked, guarded_site
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from made_contract import AGE, STUDY, make_contract
from small_sites import ask, make_study

from brainjepa_client.answering.site import Site
from brainjepa_core.evaluation.tasks.settings import Rule
from brainjepa_core.wire.messages import (
    DESCRIBE,
    EVALUATE,
    GRADIENTS,
    KINDS,
    TRAIN,
    Reply,
    Request,
)
from brainjepa_core.wire.packing import digest_of


@pytest.fixture
def site(stores, tmp_path):
    """A site that answers contracts only, and its store."""
    return guarded_site(stores[0], tmp_path)


def same(one: Reply, other: Reply) -> bool:
    alike = one.arrays.keys() == other.arrays.keys() and one.refusal == other.refusal
    return alike and all(np.array_equal(one.arrays[k], other.arrays[k]) for k in one.arrays)


def repeated_protocol(seeds: int):
    protocol = AGE.protocol.model_copy(update={"seeds": seeds})
    return AGE.model_copy(update={"protocol": protocol})


ALTERED = {
    "steps": st.integers(0, 9),
    "round": st.integers(0, 9),
    "first_step": st.integers(0, 9),
    "folds": st.integers(3, 8),
    "held_out_fold": st.integers(0, 4),
    "wire": st.sampled_from(["fp32", "bf16", "int8"]),
    "share": st.sampled_from(["scans", "subjects", "equal"]),
    "target": st.sampled_from(["average", "line", "local"]),
    "reset_optimizer": st.booleans(),
    "proximal": st.sampled_from([0.0, 0.1]),
    "study_id": st.sampled_from(["small", "other"]),
    "version": st.integers(1, 6),
    "contract": st.sampled_from(["", "0" * 64, "f" * 63 + "0"]),
    "probe": st.sampled_from(
        [
            None,
            AGE,
            AGE.model_copy(update={"want": "judge"}),
            AGE.model_copy(update={"pools": ("std",)}),
            AGE.model_copy(update={"task": AGE.task.model_copy(update={"column": "sex"})}),
            AGE.model_copy(
                update={
                    "task": AGE.task.model_copy(update={"include": (Rule(column="age", most=40),)})
                }
            ),
            repeated_protocol(2),
        ]
    ),
    "pretraining": st.sampled_from(
        [
            make_study(),
            make_study(seed=1),
            make_study(batch_size=1),
            STUDY.model_copy(update={"model": {**STUDY.model, "width": 16}}),
            STUDY.model_copy(update={"windows": STUDY.windows.model_copy(update={"frames": 32})}),
        ]
    ),
}
# One thing at a time reaches every check; several together find what hides behind another.
changed = st.one_of(
    *(st.fixed_dictionaries({name: values}) for name, values in ALTERED.items()),
    st.fixed_dictionaries({}, optional=ALTERED),
)
weights = st.sampled_from(["the same", "another", "none", "a NaN", "one more"])


def altered_arrays(start: dict, how: str) -> dict:
    name = "encoder.patch.weight"
    return {
        "the same": start,
        "another": {**start, name: start[name] + np.float32(0.5)},
        "none": {},
        "a NaN": {**start, name: start[name] * np.float32(np.nan)},
        "one more": {**start, "more": np.zeros(3, np.float32)},
    }[how]


class Answered:
    """A site that has answered a whole contract, and its answers by question."""

    def __init__(self, site, start) -> None:
        self.site, self.start, self.contract = site, start, make_contract(evaluations=1)
        approved(site, self.contract)
        self.replies = {}
        other = altered_arrays(start, "another")
        questions = [
            (GRADIENTS, 0, None, {}),
            (EVALUATE, 1, None, start),
            (EVALUATE, 1, AGE, start),
        ]
        questions += [(EVALUATE, 1, AGE, other)]  # this one may be asked with two sets of arrays
        questions += [(TRAIN, number, None, start) for number in range(3)]
        for kind, number, probe, arrays in questions:
            reply = asked(site, self.contract, kind, number, arrays, probe)
            assert not reply.refusal
            self.replies[self.key(kind, self.contract.asked(number, probe), arrays)] = reply

    def key(self, kind, assignment, arrays) -> tuple:
        return kind, assignment.model_dump_json(), digest_of(arrays)

    def require_refused_or_the_same(self, kind, how, changes) -> bool:
        """Ask an altered question through the real site; whether it was answered."""
        changes = dict(changes)
        number = changes.get("round", 1 if kind == EVALUATE else 0)
        assignment = self.contract.asked(number).model_copy(update=changes)
        arrays = altered_arrays(self.start, how) if kind in (TRAIN, EVALUATE) else {}
        reply = Site(self.site, contracts=True).answer(Request(kind, assignment, arrays))
        if reply.refusal:
            assert not reply.arrays and not reply.metrics
        elif kind == DESCRIBE:
            assert not reply.arrays and assignment == self.contract.asked(number)
        else:
            assert same(reply, self.replies[self.key(kind, assignment, arrays)])
        return not reply.refusal


@pytest.fixture
def answered(site, start):
    return Answered(site, start)


ALTERING = dict(kind=st.sampled_from([*KINDS, "spell"]), how=weights, changes=changed)
ANYHOW = dict(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@settings(max_examples=60, **ANYHOW)
@given(**ALTERING)
def test_altered_requests_are_refused_or_get_the_same_bytes(answered, kind, how, changes):
    answered.require_refused_or_the_same(kind, how, changes)


@pytest.mark.slow
@settings(max_examples=1000, **ANYHOW)
@given(**ALTERING)
def test_a_thousand_altered_requests(answered, kind, how, changes):
    answered.require_refused_or_the_same(kind, how, changes)


def test_the_altered_requests_would_be_answered_without_the_guard(answered, site, start):
    """And with other bytes: the contract, not the policy, is what refuses them."""
    told = Site(site).answer(ask(GRADIENTS, folds=7, held_out_fold=3))
    assert "as when this site first answered the study" in told.refusal
    other = ask(GRADIENTS, folds=7, held_out_fold=3)
    other = Request(GRADIENTS, other.assignment.model_copy(update={"study_id": "other"}))
    reply = Site(site).answer(other)
    assert not reply.refusal
    assert not any(same(reply, known) for known in answered.replies.values())
