"""The sites as the round loop sees them: ask all of them, take their replies one by one.

Replies wait at Flower's SuperLink and are fetched in the order they were asked for, so that sums
have the same bits in every run and no more than one reply is in memory, however many sites.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from flwr.app import Array, ArrayRecord, ConfigRecord, Message, RecordDict
from flwr.serverapp import Grid

from brainjepa_core.arrays import Arrays
from brainjepa_core.wire.messages import DESCRIBE, EVALUATE, GRADIENTS, TRAIN, Assignment, Reply
from brainjepa_core.wire.packing import PACKED, pack_arrays, unpack_arrays

POLL_SECONDS = 0.2
MESSAGE_TYPES = {
    DESCRIBE: f"query.{DESCRIBE}",
    GRADIENTS: f"query.{GRADIENTS}",
    TRAIN: "train",
    EVALUATE: "evaluate",
}


@dataclass(frozen=True)
class Answer:
    """A site's reply and what it cost."""

    site: str
    reply: Reply
    bytes_down: int
    bytes_up: int


class Sites:
    """Asks sites by name.

    Parameters
    ----------
    grid : flwr.serverapp.Grid
    nodes : mapping of str to int
        Node of each site.
    """

    def __init__(self, grid: Grid, nodes: Mapping[str, int]) -> None:
        self._grid = grid
        self.nodes = dict(nodes)

    def ask(
        self, kind: str, assignment: Assignment, arrays: Arrays, names: list[str], deadline: float
    ) -> Iterator[Answer]:
        """Ask the named sites and yield their answers in that order.

        A site that does not answer within `deadline` seconds of the asking, or whose app failed,
        answers with a refusal.
        """
        content = RecordDict(
            {
                "assignment": ConfigRecord({"json": assignment.model_dump_json()}),
                "arrays": ArrayRecord({PACKED: Array(pack_arrays(arrays))}),
            }
        )
        down = sum(value.nbytes for value in arrays.values())
        until = time.monotonic() + deadline
        messages = [
            Message(
                content,
                self.nodes[name],
                MESSAGE_TYPES[kind],
                group_id=f"{kind}-{assignment.round}",
                ttl=deadline,
            )
            for name in names
        ]
        asked = list(self._grid.push_messages(messages))
        del content, messages
        for name, message_id in zip(names, asked, strict=True):
            yield self._wait(name, message_id, until, down)

    def _wait(self, name: str, message_id: str, until: float, down: int) -> Answer:
        while message_id:
            for message in self._grid.pull_messages([message_id]):
                return _answer_of(name, message, down)
            if time.monotonic() > until:
                break
            time.sleep(POLL_SECONDS)
        return Answer(name, Reply(refusal="no reply before the deadline"), down, 0)


def _answer_of(name: str, message: Message, down: int) -> Answer:
    if message.has_error():
        reason = f"the site's app failed (Flower error {message.error.code})"
        return Answer(name, Reply(refusal=reason), down, 0)
    try:
        config = dict(message.content.config_records["reply"])
        refusal = str(config.pop("refusal"))
        metrics = {k: v for k, v in config.items() if isinstance(v, int | float | str)}
        arrays = unpack_arrays(message.content.array_records["arrays"][PACKED].numpy())
    except Exception:  # bytes of another machine: whatever they raise, they are no reply
        return Answer(name, Reply(refusal="expected a reply, found other records"), down, 0)
    up = sum(value.nbytes for value in arrays.values())
    return Answer(name, Reply(metrics, arrays, refusal), down, up)
