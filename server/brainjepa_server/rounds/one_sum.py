"""One secure sum at the coordinator: its attempt, its steps, and what it keeps of them on disk.

What the coordinator holds is on disk before it asks for the unmasking, since that happens once: a
coordinator that was killed goes on from there with the same bits. Before that, a sum that too few
sites answered begins anew as its next attempt, with other keys.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from brainjepa_core.arrays import Arrays
from brainjepa_core.files import atomic_path
from brainjepa_core.problems import plainly, reasons_after
from brainjepa_core.secure_sums.messages import MASKED, UNMASK
from brainjepa_core.secure_sums.server import Layout, SumServer, TooFewSites
from brainjepa_core.secure_sums.terms import SumTerms
from brainjepa_core.wire.messages import Assignment, SumStep, told_round
from brainjepa_core.wire.packing import unpack_arrays
from brainjepa_server.combining.summed_counts import ONE_PART, counted_people
from brainjepa_server.combining.validation import (
    LONGEST_REFUSAL,
    Counts,
    RejectedReply,
    number,
    safe,
)
from brainjepa_server.rounds.retrying import QuorumMissed, SumLost
from brainjepa_server.rounds.sites import Answer

_ABOUT = "about"  # beside the arrays of a sum on disk


@dataclass
class SummedSite:
    """What is known of a site in a sum: what its messages cost, and its own clock."""

    bytes_down: int = 0
    bytes_up: int = 0
    seconds: float | None = None


@dataclass
class Summed:
    """A sum over sites.

    Attributes
    ----------
    attempt : int
        From 0.
    sites : tuple of str
        That may be in it.
    total : dict of str to ndarray
        Free of masks, once it is there.
    alive : tuple of str
        Whose vectors are in it.
    gone : dict of str to str
        At which step each other one that was asked left, and why.
    told : dict of str to SummedSite
    lost : QuorumMissed or SumLost, optional
        Why there is no total.
    """

    attempt: int
    sites: tuple[str, ...]
    total: Arrays = field(default_factory=dict)
    alive: tuple[str, ...] = ()
    gone: dict[str, str] = field(default_factory=dict)
    told: dict[str, SummedSite] = field(default_factory=dict)
    lost: QuorumMissed | SumLost | None = None


@dataclass(frozen=True)
class Question:
    """What is asked of sites within sums.

    Attributes
    ----------
    kind : str
    assignment : Assignment
    arrays : dict of str to ndarray
    layout : mapping of str to (dtype, shape)
        Of a site's vector.
    fewest : int
        Sites of a sum without whom nothing of it is unmasked; more where the protocol needs more.
    deadline : float
        Seconds for each step.
    retries : int
        As `Sites.ask` takes it.
    people : int
        Of a sum without whom nothing of it is unmasked, by what sites told when they joined
        (`counted_people`).
    """

    kind: str
    assignment: Assignment
    arrays: Arrays
    layout: Layout
    fewest: int
    deadline: float
    retries: int = 0
    people: int = 0


class OneSum:
    """A sum on its way.

    Parameters
    ----------
    question : Question
    digest : str
        Of the question's arrays.
    terms : callable
        Terms of an attempt, counted from 0.
    path : Path
        Without a suffix: where the sum is kept.

    Attributes
    ----------
    found : Summed
    """

    def __init__(
        self, question: Question, digest: str, terms: Callable[[int], SumTerms], path: Path
    ) -> None:
        self._question, self._digest, self._terms = question, digest, terms
        self._begun, self._kept = path.with_suffix(".json"), path.with_suffix(".sum")
        self._server, self.found = self._restored() or self._new()

    @property
    def step(self) -> str | None:
        """The step at hand; none when all have ended, or the sum is lost."""
        return None if self.found.lost else self._server.step

    @property
    def awaited(self) -> tuple[str, ...]:
        """Sites that have not answered the step at hand."""
        return self._server.awaited

    def request(self, site: str) -> SumStep:
        """What the step at hand asks of a site."""
        assert self.step is not None
        return SumStep(self.step, self.found.attempt, self._digest, self._server.request(site))

    def keep(self) -> None:
        """Write down all that there is, before masks are taken off."""
        if self._kept.exists():
            return
        found = self.found
        told = {site: vars(facts) for site, facts in found.told.items()}
        about = json.dumps({"attempt": found.attempt, "gone": found.gone, "told": told})
        arrays = {
            **self._server.to_arrays(), _ABOUT: np.frombuffer(about.encode(), np.uint8)
        }  # fmt: skip
        with atomic_path(self._kept) as temporary:
            save_file(arrays, temporary)  # as `pack_arrays`, which would hold it all twice

    def take(self, answer: Answer) -> None:
        """Take a site's answer to the step at hand; with one that is wrong, it counts as gone."""
        step, found = self.step, self.found
        facts = found.told.setdefault(answer.site, SummedSite())
        facts.bytes_down += answer.bytes_down
        facts.bytes_up += answer.bytes_up
        reason = answer.reply.refusal and safe(answer.reply.refusal, LONGEST_REFUSAL)
        if not reason:
            try:
                self._server.receive(answer.site, answer.reply.arrays)
            except ValueError as error:
                reason = str(error)
            if step == MASKED and "seconds" in answer.reply.metrics:
                facts.seconds = _seconds(answer.reply.metrics)
        if reason:
            found.gone[answer.site] = f"gone at step '{step}': {reason}"
        else:
            found.gone.pop(answer.site, None)

    def end_step(self, counts: Mapping[str, Counts]) -> None:
        """Go on to the next step, or note why the sum is lost; after the last one, add it up.

        Parameters
        ----------
        counts : mapping of str to Counts
            What sites told of when they joined.
        """
        step, found, question = self.step, self.found, self._question
        gone = reasons_after(dict(sorted(found.gone.items())))
        try:
            self._server.end_step()
        except TooFewSites as error:
            # A share that was lost on the way is one that was told.
            found.lost = (SumLost if step == UNMASK else QuorumMissed)(f"{error}{gone}")
            return
        if step == MASKED:
            alive = self._server.alive
            told = [counts[site].subjects for site in alive if site in counts]
            people = counted_people(sum(told), told)
            part = ONE_PART if people < sum(told) else ""
            if len(alive) < question.fewest:
                found.lost = QuorumMissed(
                    f"expected at least {question.fewest} sites in the secure sum of "
                    f"{question.kind} (rounds.quorum, floors.sites), found {len(alive)}; mend the "
                    f"sites and resume, which begins another attempt{gone}"
                )
            elif people < question.people:
                found.lost = QuorumMissed(
                    f"expected at least {question.people} people in the secure sum of "
                    f"{question.kind} (floors.subjects), found {people} by what its sites told, "
                    f"rounded down, when they joined{part}; take fewer groups, or agree on a lower "
                    f"floor{gone}"
                )
        if self._server.step is None:
            self._finish()

    def _finish(self) -> None:
        found = self.found
        found.alive = self._server.alive
        found.gone = {site: why for site, why in found.gone.items() if site not in found.alive}
        try:
            found.total = self._server.total()
        except ValueError as error:
            found.lost = SumLost(str(error))

    def _new(self) -> tuple[SumServer, Summed]:
        """The next attempt; that it begins is on disk before anybody is asked."""
        attempt = 0
        if self._begun.exists():
            attempt = int(json.loads(self._begun.read_text(encoding="utf-8"))["attempt"]) + 1
        with atomic_path(self._begun) as temporary:
            temporary.write_text(json.dumps({"attempt": attempt}), encoding="utf-8")
        terms = self._terms(attempt)
        return SumServer(terms, self._question.layout), Summed(attempt, terms.sites)

    def _restored(self) -> tuple[SumServer, Summed] | None:
        """What an earlier process, or an earlier try, kept of this sum."""
        if not self._kept.exists():
            return None
        try:
            arrays = unpack_arrays(np.fromfile(self._kept, np.uint8))
            about = json.loads(arrays.pop(_ABOUT).tobytes())
            told = {site: SummedSite(**facts) for site, facts in about["told"].items()}
            terms = self._terms(about["attempt"])
            found = Summed(about["attempt"], terms.sites, gone=about["gone"], told=told)
            own = {n: a.copy() if n.startswith("vector.") else a for n, a in arrays.items()}
            return SumServer.from_arrays(terms, own), found
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ValueError(
                f"expected the secure sum of round {told_round(self._question.assignment.round)} "
                f"in '{self._kept.name}', found {plainly(error)}; restore the file: sites unmask "
                "no other sum of this round"
            ) from error


def _seconds(metrics: Mapping[str, int | float | str]) -> float | None:
    try:
        return float(number(metrics, "seconds", 0, 1e9))
    except RejectedReply:
        return None
