"""A grid whose nodes answer as a function says: a message, nothing, or something else."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from flwr.app import Array, ArrayRecord, ConfigRecord, Error, Message, RecordDict
from flwr.common.constant import ErrorCode
from flwr.serverapp import Grid
from flwr.supercore.task_identity import TaskIdentity

from brainjepa_core.wire.packing import PACKED, pack_arrays

Answering = Callable[[int, Message], Message | None]


class Clock:
    """Time that passes when somebody waits, and not otherwise."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


CLOCK = Clock()  # of the coordinator and of the grid, in every test of this folder (conftest.py)


class FakeGrid(Grid):
    """Nodes by number; `present` gives them call by call, the last entry for good.

    A message expires as Flower's do (linkstate/utils.py, `message_ttl_has_expired`): from then on
    whoever asks for its reply is told once that there is none (error 3), an answer or not.
    """

    def __init__(self, answer: Answering, *present: list[int]) -> None:
        self.answer, self.present = answer, list(present)
        self.pushed: list[Message] = []
        self.times: list[float] = []
        # What Flower sets before it runs an app, and asks for when a message is made.
        TaskIdentity.run_id, TaskIdentity.node_id, TaskIdentity.task_id = 1, 0, 1

    def set_run(self, run) -> None:
        pass

    @property
    def run(self):
        return None

    def create_message(self, *_, **__):
        raise AssertionError

    def get_node_ids(self) -> Iterable[int]:
        return self.present.pop(0) if len(self.present) > 1 else self.present[0]

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        first = len(self.pushed)
        self.pushed += list(messages)
        self.times += [CLOCK.now] * (len(self.pushed) - first)
        return [str(number) for number in range(first, len(self.pushed))]

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        asked = [(self.pushed[int(n)], self.times[int(n)]) for n in message_ids]
        found = [
            Message(Error(ErrorCode.MESSAGE_UNAVAILABLE, "expired"), reply_to=message)
            if sent + message.metadata.ttl < CLOCK.now
            else self.answer(message.metadata.dst_node_id, message)
            for message, sent in asked
        ]
        return [message for message in found if message is not None]

    def send_and_receive(self, messages, *, timeout=None):
        raise AssertionError


def records(arrays: dict, metrics: dict, refusal: str = "") -> RecordDict:
    return RecordDict(
        {
            "reply": ConfigRecord({"refusal": refusal, **metrics}),
            "arrays": ArrayRecord({PACKED: Array(pack_arrays(arrays))}),
        }
    )


def replying(message: Message, arrays: dict, metrics: dict, refusal: str = "") -> Message:
    return Message(records(arrays, metrics, refusal), reply_to=message)


def failing(message: Message, text: str = "canary") -> Message:
    return Message(Error(2, text), reply_to=message)
