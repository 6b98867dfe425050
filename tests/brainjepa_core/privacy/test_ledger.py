"""What a site's people have spent: over all studies, through kills, and never too little."""

from __future__ import annotations

import json
import os
import random
import signal
import stat
import subprocess
import sys
import time

import numpy as np
import pytest
from child_process import environment

from brainjepa_core.privacy.accounting import Release, epsilon_of
from brainjepa_core.privacy.budget import Budget, Cost, words
from brainjepa_core.privacy.ledger import HEAD, LEDGER, Ledger, NotCovered
from brainjepa_core.privacy.people_sets import exposures, hashed

SALT = "00ff"
STEPS = 20
ROUND = Release(noise=1.0, rate=0.2, times=STEPS)
WHOLE = Release(noise=1.0, rate=0.2, times=5 * STEPS)  # five rounds
BUDGET = Budget(epsilon=50.0)


def people(*numbers: int) -> frozenset[str]:
    return hashed([f"sub-{n:03d}" for n in numbers], SALT)


SITE = people(*range(26))


def run_round(ledger: Ledger, study: str, number: int, who=SITE, release: Release = ROUND) -> None:
    request = f"{study}-{number}"
    ledger.reserve(study, f"train {number}", request, [release], who)
    ledger.release(study, request)


@pytest.fixture
def ledger(tmp_path) -> Ledger:
    return Ledger(tmp_path / "state")


@pytest.mark.parametrize("studies", [4, pytest.param(50, marks=pytest.mark.slow)])
def test_epsilon_told_before_is_the_ledgers_afterwards(tmp_path, studies):
    rng = np.random.default_rng(0)
    for number in range(studies):
        rounds, steps = int(rng.integers(1, 5)), int(rng.integers(1, 40))
        noise, rate = round(rng.uniform(0.8, 4), 2), round(rng.uniform(0.01, 0.6), 3)
        honest = int(rng.choice([1, 8]))
        one = Release(noise=noise, rate=rate, times=steps, honest_sites=honest)
        whole = one.model_copy(update={"times": rounds * steps})
        ledger = Ledger(tmp_path / str(number))
        told = ledger.cost(SITE, 1e-5, {"study": [whole]})
        assert told == ledger.plan("study", [whole], SITE, Budget(epsilon=1e4))
        for k in range(rounds):
            run_round(ledger, "study", k, release=one)
        assert ledger.cost(SITE, 1e-5, {}) == told
        ledger.end("study")
        assert ledger.cost(SITE, 1e-5, {}) == told
        assert told.epsilon == epsilon_of([whole], 1e-5)
        assert (told.alone > told.epsilon) == (honest > 1)


def test_a_study_over_the_budget_is_refused_before_its_first_answer(ledger):
    costs = epsilon_of([WHOLE], 1e-5)
    budget = Budget(epsilon=0.75 * costs)
    with pytest.raises(
        NotCovered, match=rf"after this study: {words(costs)} of .*, before it: 0; ask"
    ):
        ledger.plan("study", [WHOLE], SITE, budget)
    assert ledger.accounts() == {}
    with pytest.raises(
        NotCovered, match="expected a study that this site has planned, found study"
    ):
        ledger.reserve("study", "train 0", "r", [ROUND], SITE)


def test_a_second_study_on_the_same_people_is_added(ledger):
    one = ledger.plan("one", [WHOLE], SITE, BUDGET)
    both = ledger.plan("two", [WHOLE], SITE, BUDGET)
    twice = WHOLE.model_copy(update={"times": 2 * WHOLE.times})
    assert both.epsilon == epsilon_of([twice], 1e-5) > one.epsilon
    fits_alone = Budget(epsilon=1.01 * one.epsilon)
    with pytest.raises(NotCovered, match=r"before it: 21\.6; ask"):
        ledger.plan("three", [WHOLE], SITE, fits_alone)
    ledger.plan("elsewhere", [WHOLE], people(*range(100, 120)), fits_alone)


@pytest.mark.parametrize(
    ("others", "shares"),
    [
        (people(*range(26)), True),  # a copy of the store
        (people(*range(13, 39)), True),  # half of them
        (people(*range(25, 60)), True),  # one of them: who spends twice is that person
        (people(*range(26, 60)), False),
    ],
)
def test_budgets_are_peoples_not_stores(ledger, others, shares):
    one = ledger.plan("one", [WHOLE], SITE, BUDGET)
    two = ledger.plan("two", [WHOLE], others, BUDGET)
    assert (two.epsilon > one.epsilon) == shares


def test_who_was_in_other_studies_than_others_is_counted_by_their_own(ledger):
    ledger.plan("one", [WHOLE], people(1, 2), BUDGET)
    ledger.plan("two", [ROUND], people(2, 3), BUDGET)
    costs = {n: ledger.cost(people(n), 1e-5, {}).epsilon for n in (1, 2, 3, 4)}
    assert costs[2] == epsilon_of([WHOLE, ROUND], 1e-5) > costs[1] > costs[3] > costs[4] == 0
    assert ledger.cost(people(1, 3, 4), 1e-5, {}).epsilon == costs[1]


def test_each_way_of_having_taken_part_is_found():
    studies = {"a": people(1, 2), "b": people(2, 3), "c": people(4)}
    assert exposures(people(1, 2, 3, 4, 5), studies) == [frozenset("ab"), frozenset("c")]
    assert exposures(people(5), studies) == [frozenset()]


def test_planned_counts_until_the_end_and_then_what_was_reserved(ledger):
    whole = ledger.plan("study", [WHOLE], SITE, BUDGET)
    run_round(ledger, "study", 0)
    assert ledger.cost(SITE, 1e-5, {}) == whole
    ledger.end("study")
    assert ledger.cost(SITE, 1e-5, {}).epsilon == epsilon_of([ROUND], 1e-5)
    with pytest.raises(NotCovered, match="or has ended; approve its contract first"):
        run_round(ledger, "study", 1)
    assert ledger.plan("study", [WHOLE], SITE, BUDGET) == whole
    run_round(ledger, "study", 1)


def test_the_same_request_costs_once_and_another_one_is_refused(ledger):
    ledger.plan("study", [WHOLE], SITE, BUDGET)
    for _ in range(3):
        run_round(ledger, "study", 0)
    assert len(list(ledger.log.lines())) == 3  # planned, reserved, released
    with pytest.raises(
        NotCovered, match="expected 'train 0' as it was asked before, found another"
    ):
        ledger.reserve("study", "train 0", "with other weights", [ROUND], SITE)


def test_no_more_is_reserved_than_was_planned(ledger):
    ledger.plan("study", [WHOLE], SITE, BUDGET)
    for number in range(5):
        run_round(ledger, "study", number)
    with pytest.raises(NotCovered, match="'train 5' to be within what the study was planned with"):
        run_round(ledger, "study", 5)
    with pytest.raises(NotCovered, match="within what the study was planned"):
        run_round(ledger, "study", 6, release=Release(noise=0.9, rate=0.2, times=1))


def test_people_who_came_later_are_counted_once_planned_again(ledger):
    ledger.plan("study", [WHOLE], SITE, BUDGET)
    more = SITE | people(99)
    with pytest.raises(NotCovered, match="expected the people that the study was planned with"):
        run_round(ledger, "study", 0, who=more)
    assert ledger.plan("study", [WHOLE], more, BUDGET).epsilon == epsilon_of([WHOLE], 1e-5)
    run_round(ledger, "study", 0, who=more)
    run_round(ledger, "study", 1, who=SITE)  # somebody who left stays counted
    assert ledger.cost(people(99), 1e-5, {}).epsilon == epsilon_of([WHOLE], 1e-5)


def test_a_study_is_planned_one_way_only(ledger):
    ledger.plan("study", [WHOLE], SITE, BUDGET)
    with pytest.raises(NotCovered, match="expected the releases that study study was planned with"):
        ledger.plan("study", [ROUND], SITE, BUDGET)


def test_an_answer_that_was_not_reserved_does_not_leave(ledger):
    ledger.plan("study", [WHOLE], SITE, BUDGET)
    with pytest.raises(NotCovered, match="expected an answer that was reserved before it was made"):
        ledger.release("study", "request")


def test_the_file_is_the_owners_alone_and_names_nobody(ledger):
    before = os.umask(0)
    try:
        ledger.plan("study", [WHOLE], SITE, BUDGET)
    finally:
        os.umask(before)
    assert stat.S_IMODE(ledger.log.path.stat().st_mode) == 0o600
    assert "sub-" not in ledger.log.path.read_text()
    assert hashed(["sub-001"], SALT) != hashed(["sub-001"], "another")


def every_use(ledger: Ledger) -> list:
    return [
        ledger.accounts,
        lambda: ledger.cost(SITE, 1e-5, {}),
        lambda: ledger.plan("another", [ROUND], SITE, BUDGET),
        lambda: run_round(ledger, "study", 1),
        lambda: ledger.end("study"),
    ]


@pytest.mark.parametrize("damage", ["changed", "removed", "cut", "gone", "emptied", "note"])
def test_a_ledger_that_is_not_what_was_written_answers_nothing(ledger, damage):
    ledger.plan("study", [WHOLE], SITE, BUDGET)
    run_round(ledger, "study", 0)
    path = ledger.log.path
    lines = path.read_bytes().splitlines(keepends=True)
    text = r"expected lines of '.*' as they were written"
    if damage == "changed":
        path.write_bytes(b"".join([lines[0].replace(b'"times": 100', b'"times": 900'), *lines[1:]]))
    elif damage == "removed":
        path.write_bytes(b"".join([lines[0], *lines[2:]]))
    else:
        text = "expected the ledger '.*' with all that was written into it, found"
        if damage == "cut":
            path.write_bytes(b"".join(lines[:-1]))
            text += " that lines are gone; nothing private is answered until"
        elif damage == "gone":
            path.unlink()
            text += " none"
        elif damage == "emptied":
            path.write_bytes(b"")
        else:
            (ledger.folder / HEAD).write_text("{")
            text = "to hold the hash of the ledger's last line, found damaged JSON"
    for use in every_use(ledger):
        with pytest.raises(ValueError, match=text) as error:
            use()
        assert not isinstance(error.value, NotCovered)  # it names a path: it does not leave


def test_a_torn_last_line_was_never_acted_upon(ledger):
    ledger.plan("study", [WHOLE], SITE, BUDGET)
    with ledger.log.path.open("ab") as file:
        file.write(b'{"previous": "')
    run_round(ledger, "study", 0)
    assert ledger.accounts()["study"].released == {"study-0"}


def test_a_note_that_a_kill_left_behind_is_no_damage(ledger):
    ledger.plan("study", [WHOLE], SITE, BUDGET)
    note = (ledger.folder / HEAD).read_bytes()
    run_round(ledger, "study", 0)
    (ledger.folder / HEAD).write_bytes(note)
    run_round(ledger, "study", 1)
    (ledger.folder / HEAD).unlink()
    assert len(ledger.accounts()["study"].released) == 2


def test_what_is_told_of_a_budget():
    budget = Budget(epsilon=8.0)
    assert Cost(4.1999, 4.1999, 1e-5).of(budget) == "4.2 of 8 (delta 1e-05)"
    assert Cost(3.0, 9.87654, 1e-5).of(budget, honest_sites=8) == (
        "3 of 8 (delta 1e-05) if at least 8 sites follow the protocol; 9.88 if this one alone does"
    )
    assert [words(e) for e in (0.0, 0.03121, 4.2001, 12.34)] == ["0", "0.0313", "4.21", "12.4"]


ANSWERER = """
import sys
from pathlib import Path
from brainjepa_core.privacy.accounting import Release
from brainjepa_core.privacy.ledger import Ledger

folder, first = Path(sys.argv[1]), int(sys.argv[2])
ledger, people = Ledger(folder / "state"), frozenset(["a", "b"])
step = Release(noise=1.0, rate=0.2, times=1)
print("here", flush=True)
for number in range(first, first + 10_000):
    request = f"r{number}"
    ledger.reserve("study", f"train {number}", request, [step], people)
    (folder / "answers" / f"{request}.tmp").write_text("an answer")
    ledger.release("study", request)
    (folder / "answers" / f"{request}.tmp").rename(folder / "answers" / request)  # it leaves
    print("left", flush=True)
"""


def killed_while_answering(tmp_path, kills: int) -> tuple[int, int]:
    """Kill a site at random moments; answers that left uncounted, and counted ones that did not."""
    (tmp_path / "answers").mkdir()
    ledger = Ledger(tmp_path / "state")
    who = frozenset(["a", "b"])
    whole = Release(noise=1.0, rate=0.2, times=10_000_000)
    ledger.plan("study", [whole], who, Budget(epsilon=1e9))
    rng = random.Random(0)
    for _ in range(kills):
        first = 1 + max(
            (int(r[1:]) for r in ledger.accounts()["study"].questions.values()), default=-1
        )
        command = [sys.executable, "-c", ANSWERER, str(tmp_path), str(first)]
        with subprocess.Popen(
            command, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE
        ) as site:
            assert site.stdout.readline() == b"here\n", site.stderr.read()
            for _ in range(rng.randrange(3)):
                assert site.stdout.readline() == b"left\n", site.stderr.read()
            time.sleep(rng.uniform(0, 0.02))  # any moment will do: nothing is waited for
            site.send_signal(signal.SIGKILL)
    account = ledger.accounts()["study"]
    reserved = set(account.questions.values())
    left = {path.name for path in (tmp_path / "answers").iterdir() if path.suffix != ".tmp"}
    assert left
    assert sum(account.reserved.values()) == len(reserved)
    return len(left - (reserved & account.released)), len(reserved - left)


def test_a_few_kills_leave_nothing_uncounted(tmp_path):
    uncounted, _ = killed_while_answering(tmp_path, kills=6)
    assert uncounted == 0


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_two_hundred_kills_leave_nothing_uncounted(tmp_path):
    uncounted, unused = killed_while_answering(tmp_path, kills=200)
    assert uncounted == 0
    assert unused <= 200  # at most one a kill


def test_lines_tell_what_when_and_for_which_request(ledger):
    ledger.plan("study", [WHOLE], SITE, BUDGET)
    run_round(ledger, "study", 0)
    lines = [json.loads(line) for line in (ledger.folder / LEDGER).read_text().splitlines()]
    assert [line["event"] for line in lines] == ["planned", "reserved", "released"]
    assert all({"time", "previous", "study"} <= line.keys() for line in lines)
    assert lines[1]["request"] == lines[2]["request"] == "study-0"
    assert lines[1]["releases"] == [ROUND.model_dump()]
