"""Who is in the consensus and who is not, in words."""

from __future__ import annotations

from brainjepa_server.record.attendance import attendance
from brainjepa_server.record.basis_facts import BasisFacts
from brainjepa_server.record.history import RoundRecord, RunHistory, SiteRecord


def rounds(*sites: str) -> tuple[RoundRecord, ...]:
    return (RoundRecord(number=1, sites=dict.fromkeys(sites, SiteRecord())),)


def test_everybody_is_in_it():
    basis = BasisFacts(hash="0", sites=("b", "a"), subjects=60)
    history = RunHistory(basis=basis, rounds=rounds("a", "b"), settings={"sites": ["a", "b"]})
    assert attendance(history) == "The consensus is of 60 people of 2 sites: a, b."


def test_who_was_left_out_came_later_or_never():
    basis = BasisFacts(hash="0", sites=("a",), subjects=30, left_out={"b": "few people"})
    history = RunHistory(
        basis=basis,
        rounds=rounds("a", "b", "c"),
        left_out={"d": "another atlas"},
        settings={"sites": ["a", "b", "c", "d", "e"]},
    )
    assert attendance(history) == (
        "The consensus is of 30 people of 1 site: a. Not in the consensus: b (few people). "
        "Do not take part: d (another atlas). Came after it was made: c. "
        "On the roster, but never came: e."
    )


def test_before_the_consensus_nothing_is_known():
    assert attendance(RunHistory(settings={"sites": ["a"]})) == ""
