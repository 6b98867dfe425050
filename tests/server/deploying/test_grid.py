"""A question that went with its SuperNode is cut off, and not waited for until the deadline."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from flwr.common import Message, RecordDict
from flwr.supercore.task_identity import TaskIdentity
from flwr.superlink.grid import HttpGrid

from brainjepa_server.deploying import grid as module
from brainjepa_server.deploying.grid import NoticingGrid
from brainjepa_server.rounds.sites import was_cut_off


@dataclass
class Node:
    node_id: int
    last_activated_at: str


@pytest.fixture
def link(monkeypatch):
    """A SuperLink of two sites that answers what it is told to, by number."""
    TaskIdentity.run_id, TaskIdentity.node_id, TaskIdentity.task_id = 1, 0, 1
    nodes, answers = [Node(1, "noon"), Node(2, "noon")], {}
    monkeypatch.setattr(HttpGrid, "get_nodes", lambda self: list(nodes))
    monkeypatch.setattr(
        HttpGrid, "push_messages", lambda self, sent: [f"m{i}" for i, _ in enumerate(sent)]
    )
    monkeypatch.setattr(
        HttpGrid, "pull_messages", lambda self, ids: [answers.pop(i) for i in ids if i in answers]
    )
    monkeypatch.setattr(module, "LOOK_SECONDS", 0.0)
    return nodes, answers


def asked() -> NoticingGrid:
    grid = NoticingGrid("127.0.0.1:1", b"", "token")
    sent = [Message(RecordDict(), node, "train", ttl=60.0) for node in (1, 2)]
    assert list(grid.push_messages(sent)) == ["m0", "m1"]
    return grid


def answer_to(grid: NoticingGrid, number: str) -> Message:
    question = grid._asked[number].question
    question.metadata.__dict__["_message_id"] = number  # as the SuperLink numbers it
    return Message(RecordDict(), reply_to=question)


def test_who_was_let_in_anew_has_lost_its_question_and_is_told_of_once(link):
    nodes, _ = link
    grid = asked()
    assert grid.pull_messages(["m0"]) == grid.pull_messages(["m1"]) == []
    nodes[0] = Node(1, "one o'clock")
    (found,) = grid.pull_messages(["m0"])
    assert was_cut_off(found) and grid.pull_messages(["m0", "m1"]) == []


def test_an_answer_that_is_there_counts_whoever_came_back(link):
    nodes, answers = link
    grid = asked()
    nodes[0] = Node(1, "one o'clock")
    answer = answers["m0"] = answer_to(grid, "m0")
    assert grid.pull_messages(["m0"]) == [answer] and grid.pull_messages(["m0"]) == []


def test_an_answer_of_one_loses_no_question_of_another(link):
    nodes, answers = link
    grid = asked()
    answer = answers["m0"] = answer_to(grid, "m0")
    assert grid.pull_messages(["m0", "m1"]) == [answer]
    nodes[1] = Node(2, "one o'clock")
    (found,) = grid.pull_messages(["m1"])
    assert was_cut_off(found) and found.metadata.src_node_id == 2


def test_of_who_is_away_flower_tells(link):
    nodes, _ = link
    grid = asked()
    del nodes[0]
    assert grid.pull_messages(["m0"]) == []
