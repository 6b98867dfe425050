"""Asking sites: every answer in the order of asking, whatever comes back or does not."""

from __future__ import annotations

import time
from collections import Counter

import numpy as np
import pytest
from fake_grid import FakeGrid, failing, replying
from flwr.app import Array, ArrayRecord, ConfigRecord, Error, Message, RecordDict
from flwr.common.constant import ErrorCode

from brainjepa_core.pretraining.settings import PretrainingSettings
from brainjepa_core.wire.messages import DESCRIBE, TRAIN, Assignment
from brainjepa_core.wire.packing import PACKED, mapped_arrays, unpack_arrays
from brainjepa_server.rounds import sites as sites_module
from brainjepa_server.rounds.sites import (
    LATE,
    LOST,
    MESSAGE_TYPES,
    OFFLINE,
    UNAPPROVED,
    UNSENT,
    Sites,
)

TASK = Assignment(study_id="s", pretraining=PretrainingSettings(), round=7)
ARRAYS = {"a": np.arange(6, dtype="f4").reshape(2, 3).T, "b": np.zeros((), "f8")}


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr(sites_module, "POLL_SECONDS", 0.001)


def ask(answer, names=("b", "a"), deadline=0.02, kind=TRAIN):
    grid = FakeGrid(answer, [1, 2])
    found = list(Sites(grid, {"a": 1, "b": 2}).ask(kind, TASK, ARRAYS, list(names), deadline))
    return found, grid


def test_what_is_asked_and_what_is_answered():
    def answer(node, message):
        assert Assignment.model_validate_json(message.content["assignment"]["json"]) == TASK
        sent = unpack_arrays(message.content["arrays"][PACKED].numpy())
        assert all(np.array_equal(sent[k], ARRAYS[k]) for k in ARRAYS)
        return replying(message, {"x": np.full(3, node, "f4")}, {"loss": 0.5, "n": node, "s": "t"})

    found, grid = ask(answer)
    assert [a.site for a in found] == ["b", "a"]
    assert [m.metadata.dst_node_id for m in grid.pushed] == [2, 1]
    assert {m.metadata.message_type for m in grid.pushed} == {"train"}
    assert {m.metadata.group_id for m in grid.pushed} == {"train-8"}
    for node, reply in zip((2, 1), found, strict=True):
        assert reply.reply.metrics == {"loss": 0.5, "n": node, "s": "t"}
        assert reply.reply.refusal == "" and reply.reply.arrays["x"].tolist() == [node] * 3
        assert (reply.bytes_down, reply.bytes_up) == (32, 12)


def test_every_kind_has_a_flower_type():
    for kind, expected in MESSAGE_TYPES.items():
        found, grid = ask(lambda _, m: replying(m, {}, {}, "no"), kind=kind)
        assert grid.pushed[0].metadata.message_type == expected
        assert [a.reply.refusal for a in found] == ["no", "no"]
    assert MESSAGE_TYPES[DESCRIBE] == "query.describe"


def test_a_site_that_is_late_or_silent_does_not_hold_up_the_others():
    tries = []

    def answer(node, message):
        tries.append(node)
        if node == 2 or tries.count(1) < 3:
            return None
        return replying(message, {}, {"n": 1})

    began = time.monotonic()
    found, _ = ask(answer, ("a", "b"), 0.2)
    assert time.monotonic() - began < 2
    assert [a.reply.refusal for a in found] == ["", LATE]
    assert found[1].bytes_up == 0 and found[1].bytes_down == 32


def test_a_silent_site_first_in_the_alphabet_takes_nobody_with_it():
    """At the SuperLink replies expire with the deadline: whoever waits for `a` first loses all."""
    names, came = ["a", "b", "c", "d", "e"], []
    grid = FakeGrid(lambda node, m: replying(m, {}, {"n": node}) if node > 1 else None, range(1, 6))
    sites = Sites(grid, {name: node for node, name in enumerate(names, 1)})
    found = list(sites.ask(TRAIN, TASK, ARRAYS, names, 0.5, came.append))
    assert [a.site for a in found] == names and came[:4] == names[1:]
    assert [a.reply.metrics for a in found[1:]] == [{"n": n} for n in (2, 3, 4, 5)]
    assert found[0].reply.refusal == LATE


def test_answers_come_in_the_order_asked_however_they_arrive():
    tries = Counter()

    def answer(node, message):
        tries[node] += 1
        return replying(message, {"x": np.full(2, node)}, {}) if tries[node] > 3 - node else None

    came = []
    grid = FakeGrid(answer, [1, 2, 3])
    sites = Sites(grid, {"a": 1, "b": 2, "c": 3})
    found = list(sites.ask(TRAIN, TASK, {}, ["a", "b", "c"], 9, came.append))
    assert came == ["c", "b", "a"] or set(came[:2]) == {"b", "c"}
    assert [a.reply.arrays["x"].tolist() for a in found] == [[1, 1], [2, 2], [3, 3]]


def test_nothing_is_left_on_disk(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    grid = FakeGrid(lambda node, m: replying(m, {"x": np.zeros(9)}, {}), [1, 2])
    answers = Sites(grid, {"a": 1, "b": 2}).ask(TRAIN, TASK, {}, ["a", "b"], 9)
    first = next(answers)
    (folder,) = tmp_path.iterdir()
    assert len(list(folder.iterdir())) == 2
    next(answers)
    (second,) = folder.iterdir()  # the first one's is gone, and what was read of it is not
    assert second != first.buffer and first.reply.arrays["x"].tolist() == [0] * 9
    answers.close()
    assert list(tmp_path.iterdir()) == []


def test_whoever_takes_an_answer_may_take_its_file(tmp_path):
    grid = FakeGrid(lambda node, m: replying(m, {"x": np.full(3, node)}, {}), [1, 2])
    (tmp_path / "mine").mkdir()
    answers = Sites(grid, {"a": 1, "b": 2}, tmp_path).ask(TRAIN, TASK, {}, ["a", "b"], 9)
    taken = [one.buffer.rename(tmp_path / "mine" / one.site) for one in answers]
    assert [mapped_arrays(path)["x"].tolist() for path in taken] == [[1] * 3, [2] * 3]
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_a_message_that_could_not_be_sent():
    class Refusing(FakeGrid):
        def push_messages(self, messages):
            return ["" for _ in messages]

    grid = Refusing(None, [1])
    (found,) = Sites(grid, {"a": 1}).ask(TRAIN, TASK, {}, ["a"], 9)
    assert found.reply.refusal == UNSENT


def test_an_error_of_flower_tells_its_code_only():
    found, _ = ask(lambda _, m: failing(m, "canary /data/x"), ("a",))
    assert found[0].reply.refusal == "the site's app failed (Flower error 2)"


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (ErrorCode.LOAD_CLIENT_APP_EXCEPTION, "the site could not load its app (Flower error 1)"),
        (ErrorCode.MESSAGE_UNAVAILABLE, f"{LOST} (Flower error 3)"),  # the deadline is not over
        (ErrorCode.REPLY_MESSAGE_UNAVAILABLE, f"{LOST} (Flower error 4)"),
        (ErrorCode.NODE_UNAVAILABLE, f"{OFFLINE} (Flower error 5)"),
        (ErrorCode.MOD_FAILED_PRECONDITION, "the site did not answer (Flower error 6)"),
        (ErrorCode.INVALID_FAB, f"{UNAPPROVED} (Flower error 7)"),
        (ErrorCode.CLIENT_APP_CRASHED, "the site's app died at its work, such as for want of me"),
    ],
)
def test_each_error_of_flower_is_told_as_what_it_is(code, reason):
    found, _ = ask(lambda _, m: Message(Error(code, "canary /data/x"), reply_to=m), ("a",))
    told = found[0].reply.refusal
    assert told.startswith(reason) and f"(Flower error {code})" in told and "canary" not in told


@pytest.mark.parametrize(
    "code", [ErrorCode.MESSAGE_UNAVAILABLE, ErrorCode.REPLY_MESSAGE_UNAVAILABLE]
)
def test_what_has_expired_with_the_deadline_is_late(code, clock):
    def answer(node, message):
        clock.sleep(5)
        return Message(Error(code, "expired"), reply_to=message)

    found, _ = ask(answer, ("a",), deadline=1)
    assert found[0].reply.refusal == LATE


def forged(**fields) -> Array:
    array = Array(np.zeros(3, "f4"))
    for name, value in fields.items():
        setattr(array, name, value)
    return array


def garbage() -> list[RecordDict]:
    good, arrays = ConfigRecord({"refusal": ""}), ArrayRecord({})
    return [
        RecordDict({}),
        RecordDict({"reply": good}),
        RecordDict({"arrays": arrays}),
        RecordDict({"reply": ConfigRecord({}), "arrays": arrays}),
        RecordDict({"reply": arrays, "arrays": good}),
        RecordDict({"reply": good, "arrays": ArrayRecord({PACKED: forged(data=b"no array")})}),
        RecordDict({"reply": good, "arrays": ArrayRecord({PACKED: forged(data=b"")})}),
        RecordDict({"reply": good, "arrays": ArrayRecord({PACKED: forged(stype="torch")})}),
        RecordDict({"reply": good, "arrays": ArrayRecord({PACKED: Array(np.zeros(3))})}),
        RecordDict({"reply": good, "arrays": ArrayRecord({PACKED: Array(np.zeros(9, "u1"))})}),
    ]


@pytest.mark.parametrize("code", [ErrorCode.NODE_UNAVAILABLE, ErrorCode.CLIENT_APP_CRASHED])
@pytest.mark.parametrize(("retries", "cuts"), [(0, 1), (2, 1), (2, 2), (2, 3)])
def test_a_site_that_was_cut_off_is_asked_again_once_it_is_back(code, retries, cuts):
    asked = Counter()

    def answer(node, message):
        asked[node] += 1
        if node == 2 and asked[node] <= cuts:
            return Message(Error(code, "canary"), reply_to=message)
        return replying(message, {"x": np.full(3, node, "f4")}, {})

    grid = FakeGrid(answer, [1], [1], [1, 2])  # it needs a while to come back
    sites = Sites(grid, {"a": 1, "b": 2, "c": 3})
    found = list(sites.ask(TRAIN, TASK, ARRAYS, ["c", "b", "a"], 5.0, retries=retries))
    whole = retries >= cuts
    assert [a.site for a in found] == ["c", "b", "a"] and asked[2] == min(cuts, retries) + 1
    assert [a.reply.arrays["x"][0] for a in found if a.reply.arrays] == [3, *([2] * whole), 1]
    assert found[1].reply.refusal == ("" if whole else sites_module._reason(code, late=False))


def test_a_site_that_is_not_connected_when_it_is_asked_is_asked_when_it_is():
    class Closed(FakeGrid):
        def push_messages(self, messages):
            made = [str(number) for number in super().push_messages(messages)]
            return made if len(self.pushed) > 1 else [""]

    grid = Closed(lambda _, m: replying(m, {}, {}), [], [], [1])
    (found,) = Sites(grid, {"a": 1}).ask(TRAIN, TASK, {}, ["a"], 5.0, retries=1)
    assert found.reply.refusal == "" and len(grid.pushed) == 2


def test_a_site_that_does_not_come_back_is_waited_for_until_the_deadline():
    def answer(_, message):
        return Message(Error(ErrorCode.NODE_UNAVAILABLE, "canary"), reply_to=message)

    grid = FakeGrid(answer, [])
    (found,) = Sites(grid, {"a": 1}).ask(TRAIN, TASK, {}, ["a"], 0.05, retries=2)
    assert found.reply.refusal == f"{OFFLINE} (Flower error 5)" and len(grid.pushed) == 1


@pytest.mark.parametrize("number", range(len(garbage())))
def test_garbage_is_a_refusal(number):
    found, _ = ask(lambda _, m: Message(garbage()[number], reply_to=m), ("a",))
    assert found[0].reply.refusal == "expected a reply, found other records"
    assert found[0].reply.arrays == {} and found[0].reply.metrics == {}


def test_pickled_objects_are_never_opened():
    class Bomb:
        def __reduce__(self):
            return (pytest.fail, ("unpickled",))

    def answer(_, message):
        import io

        buffer = io.BytesIO()
        np.save(buffer, np.array([Bomb()], object), allow_pickle=True)
        array = forged(data=buffer.getvalue(), dtype="object")
        content = RecordDict(
            {"reply": ConfigRecord({"refusal": ""}), "arrays": ArrayRecord({PACKED: array})}
        )
        return Message(content, reply_to=message)

    found, _ = ask(answer, ("a",))
    assert found[0].reply.refusal == "expected a reply, found other records"
