"""What studies under ``protect: dp`` may tell of this site's people: its budget, and its ledger."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from brainjepa_client.consent.audit_log import site_salt
from brainjepa_client.guarding.policy import Refusal
from brainjepa_client.settings import SiteSettings
from brainjepa_core.evaluation.splits import fold_of
from brainjepa_core.privacy.accounting import Release, require_delta
from brainjepa_core.privacy.budget import Budget, Cost, words
from brainjepa_core.privacy.ledger import Ledger, NotCovered
from brainjepa_core.privacy.people_sets import People, hashed
from brainjepa_core.privacy.study import StudyPrivacy, learning_people
from brainjepa_core.signals.storing.store import ScanStore
from brainjepa_core.wire.contract import Contract
from brainjepa_core.wire.messages import DESCRIBE, TRAIN, Assignment, Request, told_round

ASKED_ANEW = ("round", "first_step", "probe")  # what differs between the questions of one study


def require_counted(site: SiteSettings, request: Request) -> None:
    """Refuse what no budget counts: sums in a private study, and any other study beside a budget.

    Raises
    ------
    Refusal
    """
    if request.kind == DESCRIBE:
        return
    if request.assignment.privacy is not None:
        if request.kind != TRAIN:
            raise Refusal(
                f"this site answers rounds of training alone under protect: dp, since no budget "
                f"counts {request.kind} (policy.privacy_budget); take the basis from a model "
                "(start_from), and go on without it"
            )
    elif site.policy.privacy_budget is not None:
        raise Refusal(
            "this site's policy has a privacy budget (policy.privacy_budget), which counts studies "
            "under protect: dp alone; propose one, or go on without this site"
        )


@dataclass(frozen=True)
class PrivateStudy:
    """A study under ``protect: dp`` as this site's ledger has it.

    Attributes
    ----------
    key : str
        What the ledger calls it.
    people : frozenset of str
        Hashes of the people outside the held-out fold.
    release : Release
        All of its steps.
    budget : Budget
    ledger : Ledger
    """

    key: str
    people: People
    release: Release
    budget: Budget
    ledger: Ledger

    @classmethod
    def of(cls, site: SiteSettings, assignment: Assignment, store: ScanStore) -> PrivateStudy:
        """The study of an assignment with ``privacy``.

        Raises
        ------
        Refusal
            If the site has no budget, its delta promises nothing, or the study cannot keep its own
            promise here.
        """
        budget, privacy = site.policy.privacy_budget, assignment.privacy
        assert privacy is not None
        if budget is None:
            raise Refusal(
                "this site's policy has no privacy budget (policy.privacy_budget), without which "
                "no study under protect: dp is answered; ask its manager"
            )
        subjects = told_people(store)
        with _as_refusal():
            learning = learning_people(site.policy.rounded(len(subjects)), assignment.folds)
            require_delta(budget.delta, learning)
            release = release_at(site, privacy, assignment, store)
        seed, folds = assignment.pretraining.training.seed, assignment.folds
        held_out = assignment.held_out_fold
        known, _ = assignment.pretraining.people_of([store])
        names = {person.records[0].subject for person in known}
        training = [name for name in names if fold_of(name, seed, folds) != held_out]
        return cls(
            study_key(assignment),
            hashed(training, site_salt(site.state)),
            release,
            budget,
            Ledger(site.state),
        )

    def plan(self) -> Cost:
        """Set the whole study aside; once.

        Raises
        ------
        Refusal
            With what epsilon would be after it, if it does not fit.
        """
        with _as_refusal(NotCovered):
            return self.ledger.plan(self.key, [self.release], self.people, self.budget)

    def reserve(self, request: Request, answer: str) -> None:
        """Count a round before anything of it is computed; the same answer again costs nothing.

        Raises
        ------
        Refusal
            If it was asked otherwise before, or is more than was planned.
        """
        steps = self.release.model_copy(update={"times": request.assignment.steps})
        question = f"round {told_round(request.assignment.round)}"
        with _as_refusal(NotCovered):
            self.ledger.reserve(self.key, question, answer, [steps], self.people)

    def released(self, answer: str) -> str:
        """Note that an answer leaves; what is spent by now, in words."""
        with _as_refusal(NotCovered):
            self.ledger.release(self.key, answer)
        account = self.ledger.accounts()[self.key]
        now = self.ledger.cost(self.people, self.budget.delta, {self.key: account.answered})
        return f"epsilon {words(now.epsilon)} by now, {self.in_words()}"

    def cost(self) -> Cost:
        """With this study, whether or not it is in the ledger."""
        return self.ledger.cost(self.people, self.budget.delta, {self.key: [self.release]})

    def in_words(self) -> str:
        """``after this study: 4.2 of 8 (delta 1e-05); before it: 1.3``."""
        before = self.ledger.cost(self.people, self.budget.delta, {self.key: []})
        return (
            f"after this study: {self.cost().of(self.budget, self.release.honest_sites)}; "
            f"before it: {words(before.epsilon)}"
        )


def require_within(site: SiteSettings, contract: Contract, store: ScanStore) -> None:
    """Refuse a contract that would not fit; nothing is written down.

    Raises
    ------
    Refusal
    """
    assignment = contract.asked(0)
    require_counted(site, Request(TRAIN, assignment))
    if assignment.privacy is None:
        return
    study = PrivateStudy.of(site, assignment, store)
    if not study.cost().epsilon <= study.budget.epsilon:
        raise Refusal(
            "expected a study within this site's privacy budget (policy.privacy_budget), found "
            f"epsilon {study.in_words()}"
        )


def set_aside(site: SiteSettings, contract: Contract, store: ScanStore) -> None:
    """Plan a contract's study as it is approved.

    Raises
    ------
    Refusal
        If its questions are not all counted, or do not fit the budget.
    """
    assignment = contract.asked(0)
    require_counted(site, Request(TRAIN, assignment))
    if assignment.privacy is not None:
        PrivateStudy.of(site, assignment, store).plan()


def release_at(
    site: SiteSettings, privacy: StudyPrivacy, assignment: Assignment, store: ScanStore
) -> Release:
    """All private steps of a study at this site.

    Raises
    ------
    ValueError
        As `StudyPrivacy.release` says.
    """
    told = site.policy.rounded(len(told_people(store)))
    return privacy.release(assignment.pretraining.training, told, assignment.folds)


def told_people(store: ScanStore) -> set[str]:
    """Whose number ``describe`` tells, rounded down."""
    return {record.subject for record in store.records}


def study_key(assignment: Assignment) -> str:
    """What the ledger calls a study: its contract, or in a simulation its settings."""
    if assignment.contract:
        return assignment.contract
    told = assignment.model_dump(mode="json", exclude={*ASKED_ANEW})
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()


@contextmanager
def _as_refusal(kind: type[ValueError] = ValueError) -> Iterator[None]:
    """Reasons of the arithmetic name no person, path or date, and may leave."""
    try:
        yield
    except kind as error:
        raise Refusal(str(error)) from error
