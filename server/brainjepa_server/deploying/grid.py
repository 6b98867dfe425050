"""The grid of a deployed study: Flower's, which also notices whose question was lost."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass

from flwr.common import Error, Message, RecordDict
from flwr.common.constant import ErrorCode
from flwr.superlink.grid import HttpGrid

LOOK_SECONDS = 5.0  # between looks at who has come back


@dataclass(frozen=True)
class _Asked:
    """A question without its content, and when its site was last let in before it."""

    question: Message
    since: str
    until: float

    @property
    def node(self) -> int:
        return self.question.metadata.dst_node_id


class NoticingGrid(HttpGrid):
    """Takes a question for cut off once its site was let in anew after it was asked.

    A SuperNode that is killed has its question with it. Flower says so of a site that is away while
    one looks; of one that is back before the next look nothing comes until the deadline.

    Parameters
    ----------
    address : str
        Of the SuperLink.
    certificate : bytes
    token : str
        Of the study's task.
    """

    def __init__(self, address: str, certificate: bytes, token: str) -> None:
        super().__init__(address, root_certificates=certificate, token=token)
        self._asked: dict[str, _Asked] = {}
        self._let_in: dict[int, str] = {}  # when, by node
        self._looked = 0.0

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Send questions; the number of each, empty where it could not be sent."""
        sent, now = list(messages), time.monotonic()
        self._look()
        numbers = list(super().push_messages(sent))
        asked = {n: one for n, one in self._asked.items() if one.until > now}
        for number, message in zip(numbers, sent, strict=True):
            about, node = message.metadata, message.metadata.dst_node_id
            if number and node in self._let_in:
                bare = Message(
                    RecordDict(), node, about.message_type, ttl=about.ttl, group_id=about.group_id
                )
                asked[number] = _Asked(bare, self._let_in[node], now + about.ttl)
        self._asked = asked
        return numbers

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """Answers that are there, and an error for each question that went with its SuperNode."""
        numbers = list(message_ids)
        found = list(super().pull_messages(numbers))
        if found:
            for message in found:  # of the others one still wants to know
                self._asked.pop(message.metadata.reply_to_message_id, None)
            return found
        if time.monotonic() > self._looked + LOOK_SECONDS:
            self._look()
        lost = [number for number in numbers if self._is_lost(number)]
        error = Error(ErrorCode.NODE_UNAVAILABLE, "its SuperNode was let in anew")
        return [Message(error, reply_to=self._asked.pop(number).question) for number in lost]

    def _is_lost(self, number: str) -> bool:
        one = self._asked.get(number)
        return one is not None and self._let_in.get(one.node, one.since) != one.since

    def _look(self) -> None:
        self._let_in = {node.node_id: node.last_activated_at for node in self.get_nodes()}
        self._looked = time.monotonic()
