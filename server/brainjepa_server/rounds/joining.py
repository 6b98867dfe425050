"""Who takes part: sites describe themselves, and those that fit together are asked further."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from flwr.serverapp import Grid

from brainjepa_core.consortium.names import SITE_NAME
from brainjepa_core.version import VERSION
from brainjepa_core.wire.messages import DESCRIBE, WIRE_VERSION, Assignment, Scalar
from brainjepa_server.combining.validation import LONGEST_REFUSAL, safe
from brainjepa_server.rounds.sites import Answer, Sites
from brainjepa_server.settings import StudySettings

POLL_SECONDS = 1.0


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
        Nodes that have described themselves, members or not.
    """

    atlas: str
    rois: tuple[str, ...]
    nodes: dict[str, int] = field(default_factory=dict)
    about: dict[str, dict[str, Scalar]] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)
    asked: set[int] = field(default_factory=set)

    def admit(self, answers: Iterable[tuple[int, Answer]]) -> None:
        """Take in sites that describe themselves as fitting; give a reason for each other."""
        for node, answer in answers:
            self.asked.add(node)
            facts = answer.reply.metrics
            name = _name_of(facts) or answer.site
            reason = answer.reply.refusal or self._misfit(name, node, facts)
            if reason:
                self.left_out[name] = (
                    safe(reason, LONGEST_REFUSAL) if answer.reply.refusal else reason
                )
            else:
                self.left_out.pop(name, None)
                self.nodes[name], self.about[name] = node, facts

    def _misfit(self, name: str, node: int, facts: dict[str, Scalar]) -> str:
        if facts.get("wire_version") != WIRE_VERSION:
            return (
                f"expected messages of version {WIRE_VERSION} (code {VERSION}), found "
                f"{safe(str(facts.get('wire_version')))}; install the same version everywhere"
            )
        if _name_of(facts) is None:
            return "expected a site name of letters, digits, - and _; set 'name' in its settings"
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


def gather(grid: Grid, settings: StudySettings) -> Members:
    """Wait for a quorum of nodes, ask them who they are, and keep those that fit together.

    The atlas that most sites have is the study's.

    Raises
    ------
    ValueError
        If too few sites appear before ``rounds.join_deadline``, or too few of them fit.
    """
    quorum, wait = settings.rounds.quorum, settings.rounds.join_deadline
    until = time.monotonic() + wait
    while len(nodes := sorted(grid.get_node_ids())) < quorum:
        if time.monotonic() > until:
            raise ValueError(
                f"expected at least {quorum} sites (rounds.quorum) within {wait:g} s "
                f"(rounds.join_deadline), found {len(nodes)}; start more sites, or lower the quorum"
            )
        time.sleep(POLL_SECONDS)
    answers = list(describe(grid, nodes, settings.assignment(), wait))
    lists = Counter(str(answer.reply.metrics.get("rois", "")) for _, answer in answers)
    lists.pop("", None)
    rois = max(lists, key=lambda names: (lists[names], names), default="")
    atlas = next(
        (str(a.reply.metrics["atlas"]) for _, a in answers if a.reply.metrics.get("rois") == rois),
        "none",
    )
    members = Members(atlas, tuple(rois.split("\n")))
    members.admit(answers)
    if len(members.nodes) < quorum:
        reasons = "".join(f"; {name}: {why}" for name, why in members.left_out.items())
        raise ValueError(
            f"expected at least {quorum} sites that fit together (rounds.quorum), found "
            f"{len(members.nodes)}{reasons}"
        )
    return members


def join_late(grid: Grid, members: Members, settings: StudySettings) -> None:
    """Ask nodes that appeared since; forget members whose node has gone."""
    present = set(grid.get_node_ids())
    gone = [name for name, node in members.nodes.items() if node not in present]
    for name in gone:
        del members.nodes[name]
    if gone:  # a node that was left out may be a member that came back before its old node went
        members.asked = set(members.nodes.values())
    new = sorted(present - members.asked)
    members.asked &= present  # a node that comes back may say something else
    if new:
        members.admit(describe(grid, new, settings.assignment(), settings.rounds.join_deadline))


def describe(
    grid: Grid, nodes: list[int], assignment: Assignment, deadline: float
) -> Iterable[tuple[int, Answer]]:
    """Ask nodes for their descriptions; a node without one goes by its place in the list."""
    places = {f"node-{place:03d}": node for place, node in enumerate(nodes, start=1)}
    asked = Sites(grid, places)
    for answer in asked.ask(DESCRIBE, assignment, {}, list(places), deadline):
        yield places[answer.site], answer


def _name_of(facts: dict[str, Scalar]) -> str | None:
    name = facts.get("site")
    return name if isinstance(name, str) and SITE_NAME.fullmatch(name) else None
