"""One question as a secure sum: five steps asked of the sites, and one total in place of replies.

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

from brainjepa_core.arrays import Arrays
from brainjepa_core.files import atomic_path
from brainjepa_core.problems import plainly
from brainjepa_core.secure_sums.messages import MASKED, UNMASK
from brainjepa_core.secure_sums.server import Layout, SumServer, TooFewSites
from brainjepa_core.secure_sums.terms import SumTerms
from brainjepa_core.wire.messages import Assignment, SumStep, told_round
from brainjepa_core.wire.packing import digest_of, pack_arrays, unpack_arrays
from brainjepa_core.wire.sum_terms import terms_of
from brainjepa_server.combining.validation import LONGEST_REFUSAL, RejectedReply, number, safe
from brainjepa_server.rounds.retrying import QuorumMissed, SumLost
from brainjepa_server.rounds.sites import Sites
from brainjepa_server.study_folder import SUMS

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
    total : dict of str to ndarray
        Free of masks, once it is there.
    alive : tuple of str
        Whose vectors are in it.
    gone : dict of str to str
        At which step each other one that was asked left, and why.
    told : dict of str to SummedSite
    """

    attempt: int
    total: Arrays = field(default_factory=dict)
    alive: tuple[str, ...] = ()
    gone: dict[str, str] = field(default_factory=dict)
    told: dict[str, SummedSite] = field(default_factory=dict)


@dataclass(frozen=True)
class Question:
    """What is asked of sites within a sum.

    Attributes
    ----------
    kind : str
    assignment : Assignment
    arrays : dict of str to ndarray
    layout : mapping of str to (dtype, shape)
        Of a site's vector.
    fewest : int
        Sites without whom nothing is unmasked; more where the protocol needs more.
    deadline : float
        Seconds for each step.
    retries : int
        As `Sites.ask` takes it.
    """

    kind: str
    assignment: Assignment
    arrays: Arrays
    layout: Layout
    fewest: int
    deadline: float
    retries: int = 0


def secure_sum(
    sites: Sites, question: Question, arrived: Callable[[str], None] = lambda _: None
) -> Summed:
    """Ask all sites, and add up what they answer without seeing it.

    Parameters
    ----------
    sites : Sites
        Of a contract, with the study's folder.
    question : Question
    arrived : callable
        Called with the name of each site as its masked answer comes.

    Raises
    ------
    QuorumMissed
        If too few sites answered a step; asked again, the sum goes on or begins anew.
    SumLost
        If too few sites told shares; asked again, the same ones may.
    ValueError
        If there is no contract.
    """
    if sites.contract is None or sites.folder is None:
        raise ValueError(
            "expected a contract for a study with protect: secure_sum, since sites know each "
            "other by its roster, found none; propose the study (brainjepa server propose)"
        )
    return _OneSum(sites, question, sites.folder / SUMS, arrived).run()


def clear_sums(folder: Path, number: int) -> None:
    """Remove the sums of rounds before `number`, counted from 0: they are in the weights."""
    for path in (folder / SUMS).glob("round-*"):
        if int(path.name.removeprefix("round-").partition("-")[0]) < number:
            path.unlink()


class _OneSum:
    """A sum on its way."""

    def __init__(
        self, sites: Sites, question: Question, folder: Path, arrived: Callable[[str], None]
    ) -> None:
        self._sites, self._question, self._arrived = sites, question, arrived
        self._digest = digest_of(question.arrays)
        terms = self._terms(0)
        name = f"round-{question.assignment.round:06d}-{terms.question}"
        self._begun, self._kept = folder / f"{name}.json", folder / f"{name}.sum"
        self._server, self._found = self._restored() or self._new()

    def run(self) -> Summed:
        """All steps that are left."""
        while (step := self._server.step) is not None:
            if step == UNMASK:
                self._keep()
            self._ask(step)
            self._end(step)
        found = self._found
        found.alive = self._server.alive
        found.gone = {site: why for site, why in found.gone.items() if site not in found.alive}
        try:
            found.total = self._server.total()
        except ValueError as error:
            raise SumLost(str(error)) from error
        return found

    def _terms(self, attempt: int) -> SumTerms:
        assert self._sites.contract is not None
        kind, asked = self._question.kind, self._question.assignment
        step = SumStep("", attempt, self._digest)
        return terms_of(self._sites.contract, kind, asked.round, step, asked.probe)

    def _new(self) -> tuple[SumServer, Summed]:
        """The next attempt; that it begins is on disk before anybody is asked."""
        attempt = 0
        if self._begun.exists():
            attempt = int(json.loads(self._begun.read_text(encoding="utf-8"))["attempt"]) + 1
        with atomic_path(self._begun) as temporary:
            temporary.write_text(json.dumps({"attempt": attempt}), encoding="utf-8")
        return SumServer(self._terms(attempt), self._question.layout), Summed(attempt)

    def _keep(self) -> None:
        """All that the coordinator has, before masks are taken off."""
        if self._kept.exists():
            return
        found = self._found
        told = {site: vars(facts) for site, facts in found.told.items()}
        about = json.dumps({"attempt": found.attempt, "gone": found.gone, "told": told})
        arrays = {
            **self._server.to_arrays(), _ABOUT: np.frombuffer(about.encode(), np.uint8)
        }  # fmt: skip
        with atomic_path(self._kept) as temporary:
            pack_arrays(arrays).tofile(temporary)

    def _restored(self) -> tuple[SumServer, Summed] | None:
        """What an earlier process, or an earlier try, kept of this sum."""
        if not self._kept.exists():
            return None
        try:
            arrays = unpack_arrays(np.fromfile(self._kept, np.uint8))
            about = json.loads(arrays.pop(_ABOUT).tobytes())
            told = {site: SummedSite(**facts) for site, facts in about["told"].items()}
            found = Summed(about["attempt"], gone=about["gone"], told=told)
            own = {n: a.copy() if n.startswith("vector.") else a for n, a in arrays.items()}
            return SumServer.from_arrays(self._terms(found.attempt), own), found
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ValueError(
                f"expected the secure sum of round {told_round(self._question.assignment.round)} "
                f"in '{self._kept.name}', found {plainly(error)}; restore the file: sites unmask "
                "no other sum of this round"
            ) from error

    def _ask(self, step: str) -> None:
        """One step, of all sites that have not answered it."""
        question, server, found = self._question, self._server, self._found
        here = [site for site in server.awaited if site in self._sites.nodes]
        steps = {
            site: SumStep(step, found.attempt, self._digest, server.request(site)) for site in here
        }
        for answer in self._sites.ask(
            question.kind,
            question.assignment,
            question.arrays if step == MASKED else {},
            here,
            question.deadline,
            self._arrived if step == MASKED else lambda _: None,
            question.retries,
            steps,
        ):
            facts = found.told.setdefault(answer.site, SummedSite())
            facts.bytes_down += answer.bytes_down
            facts.bytes_up += answer.bytes_up
            reason = answer.reply.refusal and safe(answer.reply.refusal, LONGEST_REFUSAL)
            if not reason:
                try:
                    server.receive(answer.site, answer.reply.arrays)
                except ValueError as error:
                    reason = str(error)
                if step == MASKED and "seconds" in answer.reply.metrics:
                    facts.seconds = _seconds(answer.reply.metrics)
            if reason:
                found.gone[answer.site] = f"gone at step '{step}': {reason}"
            else:
                found.gone.pop(answer.site, None)

    def _end(self, step: str) -> None:
        """Go on to the next step if enough sites have answered.

        Raises
        ------
        QuorumMissed, SumLost
        """
        gone = "".join(f"; {site}: {why}" for site, why in sorted(self._found.gone.items()))
        try:
            self._server.end_step()
        except TooFewSites as error:
            # A share that was lost on the way is one that was told.
            raise (SumLost if step == UNMASK else QuorumMissed)(f"{error}{gone}") from error
        left, fewest = len(self._server.asked), self._question.fewest
        if step == MASKED and left < fewest:
            raise QuorumMissed(
                f"expected at least {fewest} sites in the secure sum of {self._question.kind} "
                f"(rounds.quorum, floors.sites), found {left}; mend the sites and resume, which "
                f"begins another attempt{gone}"
            )


def _seconds(metrics: Mapping[str, int | float | str]) -> float | None:
    try:
        return float(number(metrics, "seconds", 0, 1e9))
    except RejectedReply:
        return None
