"""A site: answers requests from its own scans, and lets nothing else out."""

from __future__ import annotations

import functools
import traceback
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from brainjepa_client.answering.at_hand import AtHand
from brainjepa_client.answering.studies import require_same_study
from brainjepa_client.approving.contracts import Contracts
from brainjepa_client.computing.describe import describe
from brainjepa_client.computing.gradients import gradients
from brainjepa_client.computing.kinds import People, computed
from brainjepa_client.computing.private_round import PrivateRound
from brainjepa_client.computing.state import study_folder
from brainjepa_client.computing.stopping import going_on_while
from brainjepa_client.computing.training import drawn
from brainjepa_client.consent.audit_log import ANSWERED, REFUSED, audit_log, site_salt
from brainjepa_client.consent.participation import note_answer
from brainjepa_client.guarding.exactness import require_exact_enough
from brainjepa_client.guarding.policy import Refusal, require_allowed, require_told_apart
from brainjepa_client.guarding.privacy_budget import PrivateStudy, require_counted
from brainjepa_client.settings import SiteSettings
from brainjepa_client.slurm.asking import answered_in_job
from brainjepa_core.evaluation.splits import folds_of
from brainjepa_core.extras import require
from brainjepa_core.files import bound_log
from brainjepa_core.machine.processors import use_threads
from brainjepa_core.signals.storing.store import ScanStore
from brainjepa_core.signals.windows import Windows
from brainjepa_core.wire.contract import Contract
from brainjepa_core.wire.messages import (
    DESCRIBE,
    EVALUATE,
    GRADIENTS,
    KINDS,
    TRAIN,
    Reply,
    Request,
    told_round,
)

if TYPE_CHECKING:
    from brainjepa_client.answering.secure_sum import SiteSum

LOG = "log.txt"
LONGEST_STEP = 40  # characters of a foreign word


class Site:
    """A site and its settings; `answer` is all that others get of it.

    Parameters
    ----------
    settings : SiteSettings
    contracts : bool
        Whether only contracts are answered that the site's manager has approved.
    at_hand : AtHand, optional
        Of the process that answers, and its requests before this one; nothing by default.
    """

    def __init__(
        self, settings: SiteSettings, *, contracts: bool = False, at_hand: AtHand | None = None
    ) -> None:
        self.settings, self.contracts = settings, contracts
        self._at_hand = AtHand() if at_hand is None else at_hand

    def answer(self, request: Request) -> Reply:
        """Reply to a request; errors become refusals that name no id, path or date.

        Every answer is a line in ``log.txt`` of the state folder; errors are there in full.

        Parameters
        ----------
        request : Request

        Returns
        -------
        Reply
        """
        where = request.assignment.study_id
        if request.kind in (TRAIN, EVALUATE):
            where += f" round {told_round(request.assignment.round)}"
        kind = request.kind if request.kind in KINDS else "a message of unknown kind"
        if request.sum is not None:
            where += f", step {request.sum.step[:LONGEST_STEP]} of a secure sum"
        try:
            reply = self._answer(request)
            self._audit(kind, request, reply)  # before it leaves
        except Refusal as refusal:
            self._log(f"{where}: {kind} refused: {refusal}", _trace(refusal))
            return self._refused(kind, request, str(refusal))
        except Exception as error:  # whatever it says may name a person or a path
            self._log(f"{where}: {kind} failed", _trace(error))
            text = f"the site failed in {kind} ({type(error).__name__}); see its own log"
            return self._refused(kind, request, text)
        sent = sum(array.nbytes for array in reply.arrays.values())
        self._log(
            f"{where}: {kind} answered with {len(reply.arrays)} arrays, {sent} bytes, and "
            f"{', '.join(reply.metrics)}"
        )
        return reply

    def _answer(self, request: Request) -> Reply:
        assignment, settings = request.assignment, self.settings
        use_threads(settings.threads)
        # Opened once: what is judged, by contract and policy, is what is answered from.
        opened = functools.cache(lambda: self._at_hand.store(settings.store))
        if not self.contracts:
            return self._reply(request, opened)
        contracts, digest = Contracts(settings.state), assignment.contract
        contract = contracts.let_through(settings, request, opened().fingerprint)
        in_force = functools.partial(contracts.require_approved, settings.name, digest)
        with going_on_while(in_force):
            reply = self._reply(request, opened, contract)
        in_force()  # a decision that came meanwhile holds
        return reply

    def _reply(
        self,
        request: Request,
        opened: Callable[[], ScanStore],
        contract: Contract | None = None,
    ) -> Reply:
        """What a request is answered with, as far as the policy allows."""
        assignment, settings = request.assignment, self.settings
        seed, held_out = assignment.pretraining.training.seed, assignment.held_out_fold

        def training_people() -> int:
            known = self._at_hand.known_people(settings, opened(), assignment)
            if known is not None:
                return len(known.learning)
            people, left_out = assignment.pretraining.people_of([opened()])
            subjects = (person.records[0].subject for person in people)
            learning = int((folds_of(subjects, seed, assignment.folds) != held_out).sum())
            if learning < settings.policy.min_subjects:  # who wonders why there are so few
                for scan in left_out:
                    self._log(f"left out: {scan}")
            return learning

        require_allowed(settings.policy, request, training_people, lambda: len(opened().atlas))
        if request.kind == TRAIN:
            require_exact_enough(settings, assignment)
        require_counted(settings, request)
        store, private = opened(), None
        if assignment.privacy is not None:
            private = PrivateStudy.of(settings, assignment, store)
            private.plan()
        if request.kind == DESCRIBE:
            return describe(settings, store)
        within = self._sum(request, contract)
        if within is not None and not within.is_asked_for_people:
            return within.answer()
        summed = store.fingerprint if request.kind == GRADIENTS else None
        require_same_study(settings.state, assignment, summed)
        is_new = self._at_hand.known_people(settings, store, assignment) is None
        people = self._at_hand.people(settings, store, assignment)
        windows, learning = people.windows, people.learning
        for scan in windows.left_out if is_new else ():  # told once, not with every request
            self._log(f"left out: {scan}")
        if private is not None:
            reply = self._private_round(request, private, people)
            return reply if within is None else within.masked(reply)
        behind: NDArray[np.int64] = np.arange(len(people.folds))
        if request.kind == GRADIENTS:
            require_told_apart(settings.policy, len(people.folds) - len(learning))
            asked = {"alone": within is None, "coskewness": assignment.coskewness}
            reply = gradients(settings, people.training, **asked)
            behind = learning
        else:
            reply = self._computed(request, people)
        if request.kind == TRAIN:
            behind = learning[drawn(request, people.training)]
        self._note(request, windows, behind)
        return reply if within is None else within.masked(reply)

    def _sum(self, request: Request, contract: Contract | None) -> SiteSum | None:
        """The secure sum that a request is a step of."""
        if request.sum is None:
            return None
        require("cryptography")
        from brainjepa_client.answering.secure_sum import SiteSum

        return SiteSum(self.settings, contract, request, request.sum)

    def _private_round(self, request: Request, study: PrivateStudy, people: People) -> Reply:
        """A round under ``protect: dp``: counted before anything of it is computed."""
        private = PrivateRound.of(self.settings, request, people.store)
        study.reserve(request, private.answer)
        reply = self._computed(request, people, private)
        drawn_ones = private.drawn(people.training, request.assignment)
        self._note(request, people.windows, people.learning[drawn_ones])
        spent = study.released(private.answer)
        number = told_round(request.assignment.round)
        self._log(f"{request.assignment.study_id} round {number}: {spent}")
        return reply

    def _computed(
        self, request: Request, people: People, private: PrivateRound | None = None
    ) -> Reply:
        if self.settings.slurm is not None:
            return answered_in_job(self.settings, request, people.store.fingerprint)
        return computed(self.settings, people, request, private)

    def _refused(self, kind: str, request: Request, text: str) -> Reply:
        reply = Reply(refusal=text)
        with suppress(OSError):  # nothing of a person leaves, so it may leave unwritten
            self._audit(kind, request, reply)
        return reply

    def _audit(self, kind: str, request: Request, reply: Reply) -> None:
        """Write an answer into the site's audit log: what it holds, by name and bytes."""
        facts = {
            "event": REFUSED if reply.refusal else ANSWERED,
            "study": request.assignment.study_id,
            "contract": request.assignment.contract,
            "kind": kind,
            "step": "" if request.sum is None else request.sum.step[:LONGEST_STEP],
            "round": told_round(request.assignment.round),
            "arrays": {name: array.nbytes for name, array in reply.arrays.items()},
            "numbers": list(reply.metrics),
            "refusal": reply.refusal,
        }
        audit_log(self.settings.state).append(facts)

    def _note(self, request: Request, windows: Windows, behind: NDArray[np.int64]) -> None:
        """Write down who is behind an answer, which does not leave without that."""
        state, assignment = self.settings.state, request.assignment
        people = [person.records[0].subject for person in windows.people]
        folder = study_folder(state, assignment)
        number, contract = assignment.round, assignment.contract
        answered = request.kind, number, people, behind.tolist(), site_salt(state), contract
        note_answer(folder, *answered)

    def _log(self, line: str, details: str = "") -> None:
        """Add to the log; a full disk keeps no answer back."""
        now = datetime.now().astimezone().isoformat(timespec="seconds")
        try:
            path = Path(self.settings.state) / LOG
            path.parent.mkdir(parents=True, exist_ok=True)
            bound_log(path)
            with path.open("a", encoding="utf-8") as file:
                file.write(f"{now} {line}\n{details}")
        except OSError:
            pass


def _trace(error: Exception) -> str:
    return "".join(traceback.format_exception(error))
