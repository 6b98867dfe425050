"""Contracts at a site: proposed, approved or rejected by its manager, and what was asked by them.

::

    STATE/contracts/<hash>.json              the text
    STATE/contracts/<hash>.approved          the store, and the people in it, it was approved for
    STATE/contracts/<hash>.rejected
    STATE/contracts/<hash>.withdrawn         for good
    STATE/contracts/<hash>.asked.jsonl       a line a question that was let through (`questions`)
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from brainjepa_client.approving.membership import has_left
from brainjepa_client.approving.questions import require_asked, write_down
from brainjepa_client.approving.roster import require_in_roster
from brainjepa_client.guarding.policy import Refusal
from brainjepa_client.settings import SiteSettings
from brainjepa_core.files import atomic_path
from brainjepa_core.problems import plainly
from brainjepa_core.wire.contract import SHOWN, Contract, contract_of_file, read_contract
from brainjepa_core.wire.messages import DESCRIBE, Request

FOLDER = "contracts"
Decision = Literal["proposed", "approved", "rejected", "withdrawn"]


@dataclass(frozen=True)
class Known:
    """A contract that this site has been shown.

    Attributes
    ----------
    contract : Contract
    decision : {"proposed", "approved", "rejected", "withdrawn"}
    store : str
        Fingerprint of the store that it was approved for; empty otherwise.
    people : frozenset of str
        Salted fingerprints of the people who were in that store.
    """

    contract: Contract
    decision: Decision
    store: str = ""
    people: frozenset[str] = frozenset()


class Contracts:
    """The contracts of a site.

    Parameters
    ----------
    state : Path
        The site's state folder.
    """

    def __init__(self, state: Path) -> None:
        self.state, self.folder = state, state / FOLDER

    def propose(self, text: str) -> Contract:
        """Keep a contract's text for the manager to review.

        Raises
        ------
        ValueError
            If it is none.
        """
        contract = read_contract(text)
        path = self._path(contract.hash, "json")
        if not path.exists():
            with atomic_path(path) as temporary:
                temporary.write_text(text, encoding="utf-8")
        return contract

    def propose_file(self, path: Path) -> Contract:
        """As `propose`, of a file that the coordinator has sent.

        Raises
        ------
        ValueError
            Naming the file.
        """
        return self.propose(contract_of_file(path).text)

    def approve(self, contract: Contract, store: str, people: Iterable[str] = ()) -> None:
        """Answer a contract from now on.

        Parameters
        ----------
        contract : Contract
        store : str
            Fingerprint of the store that it is answered from.
        people : iterable of str
            Salted fingerprints of the people in it.
        """
        self._path(contract.hash, "rejected").unlink(missing_ok=True)
        told = {"store": store, "people": sorted(people)}
        with atomic_path(self._path(contract.hash, "approved")) as temporary:
            temporary.write_text(json.dumps(told) + "\n", encoding="utf-8")

    def reject(self, contract: Contract) -> None:
        """Answer a contract no more, until it is approved after all."""
        self._take_back(contract.hash, "rejected")

    def withdraw(self, contract: Contract) -> None:
        """Answer a contract no more, for good."""
        self._take_back(contract.hash, "withdrawn")

    def withdraw_from_all(self) -> None:
        """Answer none of those that this site was shown, for good; none is read for that."""
        for path in self.folder.glob("*.json"):
            self._take_back(path.stem, "withdrawn")

    def _take_back(self, digest: str, decision: Decision) -> None:
        with atomic_path(self._path(digest, decision)) as temporary:
            temporary.write_text("", encoding="utf-8")
        self._path(digest, "approved").unlink(missing_ok=True)

    def known(self) -> list[Known]:
        """All contracts that this site has been shown, the oldest first.

        Raises
        ------
        ValueError
            If a text is not the one that its name says.
        """
        paths = sorted(self.folder.glob("*.json"), key=lambda path: path.stat().st_mtime_ns)
        return [self._known(path.stem) for path in paths]

    def find(self, beginning: str) -> Known:
        """The one contract whose hash begins so.

        Raises
        ------
        ValueError
            If there is none, or more than one.
        """
        there = [path.stem for path in sorted(self.folder.glob("*.json"))]
        found = [digest for digest in there if digest.startswith(beginning.lower())]
        if len(found) == 1 and len(beginning) >= SHOWN:
            return self._known(found[0])
        shown = ", ".join(digest[:SHOWN] for digest in found or there) or "none at all"
        raise ValueError(
            f"expected at least {SHOWN} characters of a contract's hash, found '{beginning[:64]}'; "
            f"the contracts here are {shown} (brainjepa site review)"
        )

    def _known(self, digest: str) -> Known:
        try:
            contract = read_contract(self._path(digest, "json").read_text(encoding="utf-8"))
            same = contract.hash == digest
        except (OSError, UnicodeError, ValueError) as error:
            same, found = False, plainly(error)
        else:
            found = "another one"
        if not same:
            raise ValueError(
                f"expected the contract {digest[:SHOWN]} in '{self._path(digest, 'json')}', found "
                f"{found}; remove the file, and let the coordinator propose it again"
            )
        decision = self.decision(digest)
        if decision != "approved":
            return Known(contract, decision)
        try:
            told = json.loads(self._path(digest, "approved").read_text(encoding="utf-8"))
            return Known(contract, decision, str(told["store"]), frozenset(told["people"]))
        except (OSError, ValueError, TypeError, KeyError):  # of no store: to be approved again
            return Known(contract, decision)

    def decision(self, digest: str) -> Decision:
        """What the manager has decided about a contract by its hash."""
        decisions: tuple[Decision, ...] = ("withdrawn", "rejected", "approved")
        there = (decision for decision in decisions if self._path(digest, decision).exists())
        return next(there, "proposed")

    def _path(self, digest: str, what: str) -> Path:
        return self.folder / f"{digest}.{what}"

    def require_approved(self, site: str, digest: str) -> None:
        """Refuse a contract that is not answered now; fast enough to look before every step.

        Parameters
        ----------
        site : str
            This site's name.
        digest : str

        Raises
        ------
        Refusal
        """
        self._require_member(site)
        name, decision = f"contract {digest[:SHOWN]}", self.decision(digest)
        if decision == "withdrawn":
            raise Refusal(
                f"this site has withdrawn from {name} for good; go on without it, or propose "
                "another study"
            )
        if decision != "approved":
            what = "has rejected" if decision == "rejected" else "has not approved yet"
            raise Refusal(
                f"this site's manager {what} {name} (brainjepa site review, approve); go on "
                "without this site, or ask its manager"
            )

    def _require_member(self, site: str) -> None:
        if has_left(self.state):
            raise Refusal(
                "this site has withdrawn from the consortium; revoke it (brainjepa server revoke "
                f"{site}) and go on without it"
            )

    def let_through(self, site: SiteSettings, request: Request, store: str) -> Contract:
        """Refuse whatever the site has not approved; write the question down otherwise.

        Parameters
        ----------
        site : SiteSettings
        request : Request
        store : str
            Fingerprint of the store that would be answered from.

        Returns
        -------
        Contract
            That the request is part of.

        Raises
        ------
        Refusal
            Naming what the contract says otherwise, or why there is none.
        """
        self._require_member(site.name)
        digest = request.assignment.contract
        if request.kind == DESCRIBE and request.proposal:
            self._take_up(digest, request.proposal)
        if not digest or not self._path(digest, "json").exists():
            raise Refusal(
                "this site answers contracts that its manager has approved, and this request is "
                "of none that it knows; propose the study (brainjepa server propose)"
            )
        self.require_approved(site.name, digest)
        known = self._known(digest)
        require_in_roster(site, known.contract)
        if known.store != store:
            raise Refusal(
                "the store of this site is another one than when its manager approved contract "
                f"{digest[:SHOWN]}; ask for a new approval (brainjepa site approve)"
            )
        require_asked(known.contract, request)
        write_down(self._path(digest, "asked.jsonl"), known.contract, request)
        return known.contract

    def _take_up(self, digest: str, text: str) -> None:
        try:
            found = self.propose(text).hash
        except ValueError as error:
            raise Refusal(str(error)) from error
        if found != digest:
            raise Refusal(
                f"expected the text of contract {digest[:SHOWN]}, found that of {found[:SHOWN]}; "
                "propose the study again"
            )
