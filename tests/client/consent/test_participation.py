"""Which people were behind which answers: what a site writes down equals what its answers used."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_sites import (
    STUDY,
    ask,
    ask_round,
    first_arrays,
    make_site,
    training_windows,
    write_stores,
)

from brainjepa_client.consent.audit_log import site_salt
from brainjepa_client.consent.participation import ANSWERS, TakenPart, note_answer, part_taken
from brainjepa_core.pretraining.sampling import draws_of_step
from brainjepa_core.signals.storing.store import ScanStore
from brainjepa_core.wire.messages import DESCRIBE, EVALUATE, GRADIENTS, TRAIN


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    return write_stores(tmp_path_factory.mktemp("stores"))


def test_answers_are_written_down_with_who_was_in_them(stores, tmp_path):
    site, start = make_site(stores[0], tmp_path), first_arrays(stores)
    for request in (ask(DESCRIBE), ask(GRADIENTS), ask_round(0, start), ask_round(1, start)):
        assert not site.answer(request).refusal
    assert not site.answer(ask(EVALUATE, start, round=1)).refusal
    windows = training_windows(stores[0])
    learning = {person.records[0].subject for person in windows.people}
    drawn = [
        {
            windows.people[draw.subject].records[0].subject
            for step in range(2 * number, 2 * number + 2)
            for draw in draws_of_step(STUDY.training.seed, step, 4, windows.subjects)
        }
        for number in range(2)
    ]
    everybody = {record.subject for record in ScanStore.open(stores[0]).records}
    assert everybody - learning and learning - drawn[0]  # the test can fail
    salt = site_salt(tmp_path)
    for person in everybody:
        (part,) = part_taken(tmp_path, person, salt)
        assert part.basis == (person in learning)
        assert part.trained == tuple(n + 1 for n in range(2) if person in drawn[n])
        assert part.evaluated == (2,)
    assert not any(person in (tmp_path / "small" / ANSWERS).read_text() for person in everybody)


def test_an_answer_that_cannot_be_written_down_does_not_leave(stores, tmp_path, monkeypatch):
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("brainjepa_client.answering.site.note_answer", full)
    reply = make_site(stores[0], tmp_path).answer(ask(GRADIENTS))
    assert reply.refusal and not reply.arrays


def test_a_refused_question_leaves_no_trace_of_people(stores, tmp_path):
    site = make_site(stores[0], tmp_path, allow=["describe"])
    assert site.answer(ask(GRADIENTS)).refusal
    assert not list(tmp_path.glob(f"*/{ANSWERS}"))


answers = st.lists(
    st.tuples(
        st.sampled_from(["one", "two"]),
        st.sampled_from([GRADIENTS, TRAIN, EVALUATE]),
        st.integers(0, 6),
        st.sets(st.integers(0, 9)),
        st.integers(1, 10),
        st.booleans(),
    ),
    max_size=8,
)


@settings(max_examples=60, deadline=None)
@given(answers)
def test_any_answers_are_found_again(tmp_path_factory, told):
    """Lists of people that change, answers given twice, lines torn by a kill; beside a dict."""
    state, salt = tmp_path_factory.mktemp("state"), "5" * 32
    expected: dict = {}
    for study, kind, number, who, size, torn in told:
        people = [f"sub-{i}" for i in range(size)]
        part = [place for place in who if place < size]
        note_answer(state / study, kind, number, people, part, salt)
        for place in part:
            expected.setdefault((f"sub-{place}", study), {}).setdefault(kind, set()).add(number + 1)
        if torn:
            with (state / study / ANSWERS).open("a") as file:
                file.write('{"kind": "tra')
    for person in (f"sub-{i}" for i in range(10)):
        found = {part.study: part for part in part_taken(state, person, salt)}
        kinds = {study: facts for (name, study), facts in expected.items() if name == person}
        assert found == {
            study: TakenPart(
                study,
                GRADIENTS in facts,
                tuple(sorted(facts.get(TRAIN, ()))),
                tuple(sorted(facts.get(EVALUATE, ()))),
            )
            for study, facts in kinds.items()
        }


def test_a_lost_list_of_people_is_an_error(tmp_path):
    note_answer(tmp_path / "one", TRAIN, 0, ["sub-1"], [0], "5" * 32)
    (path,) = (tmp_path / "one").glob("people-*.json")
    path.write_text("[")
    with pytest.raises(ValueError, match=r"the list of people behind an answer in '.*', found dam"):
        part_taken(tmp_path, "sub-1", "5" * 32)
    assert json.loads((tmp_path / "one" / ANSWERS).read_text())["round"] == 0
