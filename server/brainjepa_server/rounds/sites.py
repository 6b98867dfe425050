"""The sites as the round loop sees them: ask all of them, take their replies in order of name.

Replies are fetched as they come, in any order, so that a silent site takes no other's time: at the
SuperLink a reply expires with its message. They wait on disk and are handed on in the order in
which sites were named, so that sums have the same bits in every run and no more than one reply is
in memory, however many sites.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from flwr.app import Array, ArrayRecord, ConfigRecord, Message, RecordDict
from flwr.common.constant import ErrorCode
from flwr.serverapp import Grid

from brainjepa_core.arrays import Arrays
from brainjepa_core.wire.contract import Contract
from brainjepa_core.wire.messages import (
    DESCRIBE,
    EVALUATE,
    GRADIENTS,
    SUM,
    TRAIN,
    Assignment,
    Reply,
    Scalar,
    SumStep,
    told_round,
)
from brainjepa_core.wire.packing import PACKED, buffer_in, mapped_arrays, pack_arrays, packed_sizes
from brainjepa_server.combining.validation import Counts
from brainjepa_server.rounds.received import ReceivedLog
from brainjepa_server.study_folder import SPOOL

POLL_SECONDS = 0.2
LATE = "no reply before the deadline"
UNSENT = "its message could not be sent: the site is not connected"
OFFLINE = "the site is not connected any more"
LOST = "its reply was lost on the way"
UNAPPROVED = "the site does not accept the study's program: its manager has not approved it"
FOREIGN = "expected a reply, found other records"
EXPIRED = (ErrorCode.MESSAGE_UNAVAILABLE, ErrorCode.REPLY_MESSAGE_UNAVAILABLE)
CUT_OFF = (*EXPIRED, ErrorCode.NODE_UNAVAILABLE, ErrorCode.CLIENT_APP_CRASHED)  # not its own word
REASONS = {
    ErrorCode.UNKNOWN: "the site's app ended, and Flower knows no reason",
    ErrorCode.LOAD_CLIENT_APP_EXCEPTION: "the site could not load its app",
    ErrorCode.CLIENT_APP_RAISED_EXCEPTION: "the site's app failed",
    ErrorCode.NODE_UNAVAILABLE: OFFLINE,
    ErrorCode.INVALID_FAB: UNAPPROVED,
    ErrorCode.CLIENT_APP_CRASHED: "the site's app died at its work, such as for want of memory",
}
MESSAGE_TYPES = {
    DESCRIBE: f"query.{DESCRIBE}",
    GRADIENTS: f"query.{GRADIENTS}",
    TRAIN: "train",
    EVALUATE: "evaluate",
}


@dataclass(frozen=True)
class Answer:
    """A site's reply, what it cost, and what the site told of when it joined."""

    site: str
    reply: Reply
    bytes_down: int
    bytes_up: int
    counts: Counts | None = None
    buffer: Path | None = None  # holds the arrays; may be moved away, is gone with the next answer


class Sites:
    """Asks sites by name.

    Parameters
    ----------
    grid : flwr.serverapp.Grid
    nodes : mapping of str to int
        Node of each site.
    folder : path, optional
        Where replies wait; the system's folder for temporary files by default.
    counts : mapping of str to Counts, optional
        What sites told of when they joined, which goes with each of their answers.
    contract : Contract, optional
        What sites are asked by: each request carries its hash, and ``describe`` its text.
    received : ReceivedLog, optional
        Gets a line for each answer as it arrives, and for each that did not come.
    networks : int
        Brain networks that the sites' atlas names; 0 where it names none.
    own_machines : bool
        Whether sites work side by side, each on its own machine, as those of a simulation may not.
    """

    def __init__(
        self,
        grid: Grid,
        nodes: Mapping[str, int],
        folder: Path | None = None,
        counts: Mapping[str, Counts] | None = None,
        contract: Contract | None = None,
        received: ReceivedLog | None = None,
        networks: int = 0,
        own_machines: bool = False,
    ) -> None:
        self.contract, self.networks, self.own_machines = contract, networks, own_machines
        self._grid, self._received = grid, received
        self.nodes = dict(nodes)
        self.folder = folder
        self.counts = dict(counts or {})

    def ask(
        self,
        kind: str,
        assignment: Assignment,
        arrays: Arrays,
        names: list[str],
        deadline: float,
        arrived: Callable[[str], None] = lambda _: None,
        retries: int = 0,
        steps: Mapping[str, SumStep] | None = None,
    ) -> Iterator[Answer]:
        """Ask the named sites and yield their answers in that order.

        A site that does not answer within `deadline` seconds of the asking, is not connected, or
        whose app failed, answers with a refusal that says which.

        Parameters
        ----------
        kind : str
        assignment : Assignment
        arrays : dict of str to ndarray
        names : list of str
        deadline : float
            Seconds.
        arrived : callable, optional
            Called with the name of each site as its reply comes.
        retries : int
            How often a site that was cut off in the middle of it, or was not connected, is asked
            again as soon as it is there, within the deadline.
        steps : mapping of str to SumStep, optional
            Of a secure sum, by site.
        """
        steps = steps or {}
        until = time.monotonic() + deadline

        def send(some: list[str]) -> dict[str, str]:
            left = max(until - time.monotonic(), POLL_SECONDS)
            return self.send(kind, assignment, arrays, some, left, steps)

        asked = send(names)
        with tempfile.TemporaryDirectory(prefix=SPOOL, dir=self.folder) as folder:
            spooled: dict[str, _Spooled] = {}
            for name, message in self._arrivals(asked, until, send, retries):
                late = time.monotonic() > until
                path = Path(folder) / f"{names.index(name)}.bin"
                told = _spool(message, path, late)
                spooled[name] = self._noted(told, name, kind, assignment, steps.get(name))
                arrived(name)
            down = sum(value.nbytes for value in arrays.values())
            for name in (one for one in names if one not in spooled):
                told = _Spooled(refusal=LATE if asked[name] else UNSENT)
                spooled[name] = self._noted(told, name, kind, assignment, steps.get(name))
            for name in names:
                own = steps[name].message if name in steps else {}
                whole = down + sum(value.nbytes for value in own.values())
                told = spooled[name]
                # Without a name here, so that its arrays go before the next ones are read.
                yield replace(told.answer(name, whole), counts=self.counts.get(name))
                if told.buffer is not None:
                    told.buffer.unlink(missing_ok=True)

    def send(
        self,
        kind: str,
        assignment: Assignment,
        arrays: Arrays,
        names: list[str],
        deadline: float,
        steps: Mapping[str, SumStep] | None = None,
    ) -> dict[str, str]:
        """Send a request that expires after `deadline` seconds; the id of each site's message.

        The id is empty where the message could not be sent.
        """
        told = self._told(kind, assignment)
        packed = None  # or one for all sites
        if arrays or not steps:
            packed = ArrayRecord({PACKED: Array(pack_arrays(arrays))})
        messages = [
            Message(
                _content(told, packed, (steps or {}).get(name)),
                self.nodes[name],
                MESSAGE_TYPES[kind],
                group_id=f"{kind}-{told_round(assignment.round)}",
                ttl=deadline,
            )
            for name in names
        ]
        return dict(zip(names, self._grid.push_messages(messages), strict=True))

    def _told(self, kind: str, assignment: Assignment) -> ConfigRecord:
        """The assignment as it travels, with the contract that it is part of."""
        if self.contract is None:
            return ConfigRecord({"json": assignment.model_dump_json()})
        part = assignment.model_copy(update={"contract": self.contract.hash})
        text = self.contract.text if kind == DESCRIBE else ""
        return ConfigRecord({"json": part.model_dump_json(), "contract": text})

    def fetch(self, waiting: dict[str, str]) -> Iterator[tuple[str, Message]]:
        """Replies that lie ready, each with its site's name; they are no longer waited for."""
        for name, message_id in list(waiting.items()):
            for message in self._grid.pull_messages([message_id]):
                del waiting[name]
                yield name, message

    def read(
        self, message: Message, late: bool, name: str, kind: str, assignment: Assignment
    ) -> Reply:
        """A reply that is small enough for memory: a refusal where Flower or the site has none.

        Parameters
        ----------
        message : Message
        late : bool
            Whether it is fetched after its deadline.
        name, kind, assignment
            Who was asked what.
        """
        with tempfile.TemporaryDirectory(prefix=SPOOL) as folder:
            path = Path(folder) / "reply.bin"
            told = self._noted(_spool(message, path, late), name, kind, assignment)
            return told.answer("", 0).reply

    def _noted(
        self,
        told: _Spooled,
        name: str,
        kind: str,
        assignment: Assignment,
        part: SumStep | None = None,
    ) -> _Spooled:
        """What a site told, or why it did not, once that is in the log."""
        if self._received is not None:
            step = "" if part is None else part.step
            self._received.note(name, kind, assignment.round, told.sizes, told.refusal, step)
        return told

    def _arrivals(
        self,
        asked: Mapping[str, str],
        until: float,
        send: Callable[[list[str]], dict[str, str]],
        retries: int,
    ) -> Iterator[tuple[str, Message]]:
        """Replies as they come, one at a time, each with its site's name.

        What a cut off site is asked again for comes after the error that told of it.
        """
        waiting = {name: message_id for name, message_id in asked.items() if message_id}
        left = dict.fromkeys(asked, retries)
        cut_off = {name for name in asked if name not in waiting and retries}
        while waiting or cut_off:
            for name, message in self.fetch(waiting):
                yield name, message
                if was_cut_off(message) and left[name]:
                    cut_off.add(name)
            if time.monotonic() > until:
                return
            present = set(self._grid.get_node_ids()) if cut_off else set()
            if back := sorted(name for name in cut_off if self.nodes[name] in present):
                sent = {name: message_id for name, message_id in send(back).items() if message_id}
                waiting |= sent
                cut_off -= sent.keys()
                left |= {name: left[name] - 1 for name in sent}
            if waiting or cut_off:
                time.sleep(POLL_SECONDS)


@dataclass(frozen=True)
class _Spooled:
    """A reply on its way: numbers and a refusal here, its buffer of arrays on disk."""

    metrics: dict[str, Scalar] = field(default_factory=dict)
    refusal: str = ""
    buffer: Path | None = None
    sizes: dict[str, int] = field(default_factory=dict)

    def answer(self, name: str, down: int) -> Answer:
        """The reply, whose arrays are read from its file."""
        if self.buffer is None:
            return Answer(name, Reply(refusal=self.refusal), down, 0)
        try:
            arrays = mapped_arrays(self.buffer)
        except ValueError:  # bytes of another machine
            return Answer(name, Reply(refusal=FOREIGN), down, 0, buffer=self.buffer)
        up = sum(value.nbytes for value in arrays.values())
        reply = Reply(self.metrics, arrays, self.refusal)
        return Answer(name, reply, down, up, buffer=self.buffer)


def _content(told: ConfigRecord, arrays: ArrayRecord | None, part: SumStep | None) -> RecordDict:
    """A request's records; those that all sites get are not copied.

    Each object of a message is a request of the site's. What a step of a secure sum is asked with
    is small: it travels beside the assignment, without an array where the question has none.
    """
    records = RecordDict({"assignment": told})
    if part is not None:
        asked = ConfigRecord(dict(told))
        asked["step"], asked["attempt"] = part.step, part.attempt
        asked["question"], asked[SUM] = part.question, pack_arrays(part.message).tobytes()
        records["assignment"] = asked
    if arrays is not None:
        records["arrays"] = arrays
    return records


def _spool(message: Message, path: Path, late: bool) -> _Spooled:
    if message.has_error():
        return _Spooled(refusal=_reason(message.error.code, late))
    try:
        config = dict(message.content.config_records["reply"])
        refusal = str(config.pop("refusal"))
        metrics = {k: v for k, v in config.items() if isinstance(v, int | float | str)}
        packed = buffer_in(message.content.array_records["arrays"][PACKED].data)
        sizes = packed_sizes(packed)
    except Exception:  # bytes of another machine: whatever they raise, they are no reply
        return _Spooled(refusal=FOREIGN)
    packed.tofile(path)
    return _Spooled(metrics, refusal, path, sizes)


def was_cut_off(message: Message) -> bool:
    """Whether a site could not answer, for what happened to its programs or its line."""
    return message.has_error() and message.error.code in CUT_OFF


def _reason(code: int, late: bool) -> str:
    """What an error of Flower's says of a site."""
    if code in EXPIRED:  # messages and replies expire with the deadline, and not before
        return LATE if late else f"{LOST} (Flower error {code})"
    return f"{REASONS.get(code, 'the site did not answer')} (Flower error {code})"
