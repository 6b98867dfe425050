"""What a coordinator received, as it came, in a log that nobody changes unseen."""

from __future__ import annotations

import json

import numpy as np
import pytest
from fake_grid import FakeGrid, failing, replying

from brainjepa_core.pretraining.settings import PretrainingSettings
from brainjepa_core.wire.messages import TRAIN, WIRE_VERSION, Assignment
from brainjepa_server.rounds.joining import Door, gather
from brainjepa_server.rounds.received import ReceivedLog, line_in_words
from brainjepa_server.rounds.sites import FOREIGN, Sites
from brainjepa_server.settings import StudySettings

TASK = Assignment(study_id="s", pretraining=PretrainingSettings(), round=2, steps=1)


@pytest.fixture
def log(tmp_path) -> ReceivedLog:
    return ReceivedLog(tmp_path, "s")


def said(line: dict) -> dict:
    return {k: v for k, v in line.items() if k not in ("previous", "time")}


def test_an_answer_is_a_line_with_names_and_bytes(log):
    arrays = {"w": np.zeros(3, "f4"), "<b>": np.zeros((2, 2))}
    grid = FakeGrid(lambda _, m: replying(m, arrays, {"loss": 0.5}), [1])
    list(Sites(grid, {"a": 1}, received=log).ask(TRAIN, TASK, {}, ["a"], 9))
    (line,) = log.log.lines()
    assert said(line) == {
        "study": "s", "site": "a", "kind": "train", "step": "", "round": 3,
        "arrays": {"w": 12, "?b?": 32}, "refusal": "",
    }  # fmt: skip
    assert "a: train of study 's', round 3: 2 arrays of 44 bytes" in line_in_words(line)


@pytest.mark.parametrize(
    ("answer", "refusal"),
    [
        (lambda _, m: replying(m, {}, {}, "policy\x1b[31m says <no>"), "policy?"),
        (lambda _, m: failing(m, "canary /data/x"), "the site's app failed (Flower error 2)"),
    ],
)
def test_a_refusal_is_a_line_with_its_reason_made_harmless(log, answer, refusal):
    list(Sites(FakeGrid(answer, [1]), {"a": 1}, received=log).ask(TRAIN, TASK, {}, ["a"], 9))
    (line,) = log.log.lines()
    assert refusal in line["refusal"] and "canary" not in json.dumps(line)
    assert not {"\x1b", "<"} & set(line["refusal"])


def test_bytes_that_are_no_reply_are_a_line_too(log):
    from flwr.app import Array, ArrayRecord, ConfigRecord, Message, RecordDict

    def answer(_, message):
        junk = {"reply": ConfigRecord({"refusal": ""})}
        junk["arrays"] = ArrayRecord({"packed": Array(np.full(40, 255, "u1"))})
        return Message(RecordDict(junk), reply_to=message)

    grid = FakeGrid(answer, [1])
    (found,) = Sites(grid, {"a": 1}, received=log).ask(TRAIN, TASK, {}, ["a"], 9)
    (line,) = log.log.lines()
    assert line["refusal"] == FOREIGN == found.reply.refusal and line["arrays"] == {}


def test_a_line_is_there_as_an_answer_arrives_not_when_its_turn_comes(log):
    """The first in the alphabet is silent: the other's answer waits, written down."""
    seen = []
    grid = FakeGrid(lambda n, m: replying(m, {}, {}) if n == 2 else None, [1, 2])
    sites = Sites(grid, {"a": 1, "b": 2}, received=log)
    arrived = lambda name: seen.append([line["site"] for line in log.log.lines()])  # noqa: E731
    list(sites.ask(TRAIN, TASK, {}, ["a", "b"], 0.3, arrived))
    assert seen[0] == ["b"]


def test_who_describes_itself_is_in_it(log):
    facts = {"wire_version": WIRE_VERSION, "site": "Lyon", "atlas": "t", "rois": "x"}
    rounds = {"quorum": 1, "joining_time": 1}
    settings = StudySettings(name="s", pretraining=PretrainingSettings(), rounds=rounds)
    gather(Door(FakeGrid(lambda _, m: replying(m, {}, facts), [4]), settings, log), nodes=1)
    (line,) = log.log.lines()
    assert (line["site"], line["kind"]) == ("node-001", "describe")
