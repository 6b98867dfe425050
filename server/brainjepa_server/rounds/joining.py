"""Who takes part: sites describe themselves, and those that fit together are asked further."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from flwr.serverapp import Grid

from brainjepa_core.consortium.names import SITE_NAME
from brainjepa_core.problems import reasons_after
from brainjepa_core.version import VERSION
from brainjepa_core.wire.contract import Contract
from brainjepa_core.wire.messages import DESCRIBE, WIRE_VERSION, Reply, Scalar
from brainjepa_server.combining.validation import LONGEST_REFUSAL, Counts, safe
from brainjepa_server.rounds.received import ReceivedLog
from brainjepa_server.rounds.sites import LATE, Answer, Sites, was_cut_off
from brainjepa_server.settings import StudySettings

POLL_SECONDS = 1.0
LEAVING = 20.0  # seconds in which a site that stops has left


@dataclass
class Members:
    """The sites of a study.

    Attributes
    ----------
    atlas : str
    rois : tuple of str
        ROI names that all members share, in order.
    nodes : dict of str to int
        Flower node of each member.
    about : dict of str to dict
        What each member said of itself.
    left_out : dict of str to str
        Why others are not members.
    asked : set of int
        Nodes that have answered, members or not.
    roster : tuple of str
        Names that may be members; any if there are none.
    """

    atlas: str
    rois: tuple[str, ...]
    nodes: dict[str, int] = field(default_factory=dict)
    about: dict[str, dict[str, Scalar]] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)
    asked: set[int] = field(default_factory=set)
    roster: tuple[str, ...] = ()

    @property
    def counts(self) -> dict[str, Counts]:
        """How many people and scans each member told of."""
        return {name: Counts.of(self.about[name]) for name in self.nodes}

    @property
    def networks(self) -> int:
        """Brain networks that the atlas names, by the word of most members; 0 where none."""
        told = [about.get("networks") for about in self.about.values()]
        counts = Counter(n for n in told if type(n) is int and 0 <= n <= len(self.rois))
        return max(counts, key=lambda n: (counts[n], n), default=0)

    def admit(self, answers: Iterable[tuple[int, Answer]]) -> None:
        """Take in sites that describe themselves as fitting; give a reason for each other."""
        for node, answer in answers:
            if answer.reply.refusal != LATE:  # a node that said nothing is asked again
                self.asked.add(node)
            facts = answer.reply.metrics
            name = _name_of(facts) or answer.site
            reason = answer.reply.refusal or self._misfit(name, node, facts)
            if reason:
                self.left_out[name] = (
                    safe(reason, LONGEST_REFUSAL) if answer.reply.refusal else reason
                )
            else:
                for known_as in (name, answer.site):
                    self.left_out.pop(known_as, None)
                self.nodes[name], self.about[name] = node, facts

    def _misfit(self, name: str, node: int, facts: dict[str, Scalar]) -> str:
        if facts.get("wire_version") != WIRE_VERSION:
            return (
                f"expected messages of version {WIRE_VERSION} (code {VERSION}), found "
                f"{safe(str(facts.get('wire_version')))}; install the same version everywhere"
            )
        if _name_of(facts) is None:
            return "expected a site name of letters, digits, - and _; set 'name' in its settings"
        if self.roster and name not in self.roster:
            return "expected a site of the study's roster, found another; add its name to 'sites'"
        if self.nodes.get(name, node) != node:
            return f"expected one site named {name}, found two; rename one of them"
        found = tuple(str(facts.get("rois", "")).split("\n"))
        if found != self.rois:
            return (
                f"expected the atlas of the others, {safe(self.atlas)} ({len(self.rois)} ROIs in "
                f"order), found {safe(str(facts.get('atlas')))} ({len(found)} ROIs); import with "
                "the same atlas"
            )
        return ""


class Door:
    """Asks each node that appears who it is, and waits for nobody.

    Parameters
    ----------
    grid : flwr.serverapp.Grid
    settings : StudySettings
    received : ReceivedLog, optional
        Gets a line for each answer, and for each that did not come.
    admitted : callable, optional
        The name under which each node's key is admitted, by node, as it is now. A node that calls
        itself otherwise is left out; without this, a node is what it calls itself.
    contract : Contract, optional
        What sites are asked by.
    """

    def __init__(
        self,
        grid: Grid,
        settings: StudySettings,
        received: ReceivedLog | None = None,
        admitted: Callable[[], Mapping[int, str]] | None = None,
        contract: Contract | None = None,
    ) -> None:
        self.grid, self.settings, self.contract = grid, settings, contract
        self.admitted, self._received = admitted, received
        # Nodes by the names they go by until they tell their own.
        self._sites = Sites(grid, {}, contract=contract, received=received)
        self._waiting: dict[str, str] = {}
        self._until: dict[str, float] = {}
        self._cut_off: Counter[str] = Counter()

    def come(self, present: set[int], asked: set[int]) -> Iterator[tuple[int, Answer]]:
        """Ask nodes that are there and not among `asked`; take what all have answered by now.

        A node whose answer does not come within the joining time is given up, and asked again
        where it is still there; so is one that was cut off, ``rounds.retries`` times.
        """
        new = sorted(present - asked - {self._sites.nodes[name] for name in self._waiting})
        if new:
            self._ask(new)
        for name, message in self._sites.fetch(self._waiting):
            late = time.monotonic() > self._until[name]
            assignment = self.settings.assignment()
            reply = self._sites.read(message, late, name, DESCRIBE, assignment)
            again = self._cut_off[name] < self.settings.rounds.retries
            if was_cut_off(message) and again and not late:
                self._cut_off[name] += 1  # it is among the new ones again as soon as it is there
                continue
            node = self._sites.nodes[name]
            yield node, Answer(name, self._bound(node, reply), 0, 0)
        for name in [n for n in self._waiting if time.monotonic() > self._until[n]]:
            del self._waiting[name]
            if self._received is not None:
                self._received.note(name, DESCRIBE, 0, {}, LATE)
            yield self._sites.nodes[name], Answer(name, Reply(refusal=LATE), 0, 0)

    def silent(self) -> Iterator[tuple[int, Answer]]:
        """Nodes that have not answered yet."""
        for name in self._waiting:
            yield self._sites.nodes[name], Answer(name, Reply(refusal=LATE), 0, 0)

    def _bound(self, node: int, reply: Reply) -> Reply:
        """The reply of a node that calls itself as its key is admitted, or why it is none."""
        if self.admitted is None or reply.refusal:
            return reply
        name, told = self.admitted().get(node), reply.metrics.get("site")
        if name is None:
            return Reply(
                refusal="expected a key of the study's roster, found another; admit the site, and "
                "propose the study again"
            )
        if told != name:
            return Reply(
                refusal=f"expected the site whose key is admitted as '{name}', found one that "
                f"calls itself {safe(str(told))}; have it join under its own name"
            )
        return reply

    def _ask(self, nodes: list[int]) -> None:
        wait = self.settings.rounds.joining_time
        known = {node: name for name, node in self._sites.nodes.items()}
        admitted = self.admitted() if self.admitted is not None else {}
        for node in nodes:
            name = admitted.get(node)
            other = name is None or name in self._sites.nodes
            known.setdefault(node, f"node-{len(known) + 1:03d}" if other else str(name))
        names = [known[node] for node in nodes]
        self._sites.nodes |= {known[node]: node for node in nodes}
        sent = self._sites.send(DESCRIBE, self.settings.assignment(), {}, names, wait)
        self._waiting |= {name: message for name, message in sent.items() if message}
        self._until |= dict.fromkeys(sent, time.monotonic() + wait)


def gather(door: Door, known: Collection[str] = (), nodes: int | None = None) -> Members:
    """Wait for the study's sites, ask them who they are, and keep those that fit together.

    Waits until all sites that are expected have described themselves or refused: those of the
    roster (``sites``), else those that are `known`; or else for the whole ``rounds.joining_time``.
    The atlas that most sites have is the study's.

    Parameters
    ----------
    door : Door
    known : collection of str
        Sites that took part before this study was interrupted.
    nodes : int, optional
        How many nodes there are in all, where that is known: a simulation waits for no others.

    Raises
    ------
    ValueError
        If too few sites appear within ``rounds.joining_time``, or too few of them fit.
    """
    rounds, expected = door.settings.rounds, set(door.settings.sites or known)
    quorum, wait = rounds.quorum, rounds.joining_time
    until = time.monotonic() + wait
    told: dict[int, Answer] = {}
    while True:
        present = set(door.grid.get_node_ids())
        told = {node: answer for node, answer in told.items() if node in present}
        told |= dict(door.come(present, set(told)))
        # One that refuses is not asked again while it stays: nothing is to be waited for.
        names = {_name_of(answer.reply.metrics) for answer in told.values()} | {
            answer.site for answer in told.values() if answer.reply.refusal
        }
        if (expected and expected <= names) or (nodes is not None and len(told) >= nodes):
            break
        if time.monotonic() > until:
            break
        time.sleep(POLL_SECONDS)
    told |= dict(door.silent())
    if len(told) < quorum:
        raise ValueError(
            f"expected at least {quorum} sites (rounds.quorum) within {wait:g} s "
            f"(rounds.joining_time), found {len(told)}; start more sites, or lower the quorum"
        )
    members = _of_one_atlas(told, door.settings.sites)
    if len(members.nodes) < quorum:
        raise ValueError(
            f"expected at least {quorum} sites that fit together (rounds.quorum), found "
            f"{len(members.nodes)}{reasons_after(members.left_out)}"
        )
    return members


def _of_one_atlas(told: dict[int, Answer], roster: tuple[str, ...]) -> Members:
    """Members are the sites that have the atlas of most."""
    answers = [(node, told[node]) for node in sorted(told)]
    lists = Counter(str(answer.reply.metrics.get("rois", "")) for _, answer in answers)
    lists.pop("", None)
    rois = max(lists, key=lambda names: (lists[names], names), default="")
    atlas = next(
        (str(a.reply.metrics["atlas"]) for _, a in answers if a.reply.metrics.get("rois") == rois),
        "none",
    )
    members = Members(atlas, tuple(rois.split("\n")), roster=roster)
    members.admit(answers)
    return members


def join_late(door: Door, members: Members) -> None:
    """Take in nodes that appeared since, as they answer; forget members whose node has gone."""
    present = set(door.grid.get_node_ids())
    gone = [name for name, node in members.nodes.items() if node not in present]
    for name in gone:
        del members.nodes[name]
    if gone:  # a node that was left out may be a member that came back before its old node went
        members.asked = set(members.nodes.values())
    members.asked &= present  # a node that comes back may say something else
    members.admit(door.come(present, members.asked))


def await_quorum(door: Door, members: Members) -> None:
    """Take in nodes until a round has the members that it needs, or the joining time is over.

    A site that has just told that it stops is connected for some seconds still: asked at once, it
    would fail another attempt.
    """
    if door.admitted is not None:  # sites that come and go; those of a simulation stay
        time.sleep(LEAVING)
        join_late(door, members)
    rounds = door.settings.rounds
    until = time.monotonic() + rounds.joining_time
    while len(members.nodes) < rounds.quorum and time.monotonic() <= until:
        time.sleep(POLL_SECONDS)
        join_late(door, members)


def _name_of(facts: dict[str, Scalar]) -> str | None:
    name = facts.get("site")
    return name if isinstance(name, str) and SITE_NAME.fullmatch(name) else None
