"""Contracts at a site: proposed, approved or rejected by its manager, and what was asked by them.

::

    STATE/contracts/<hash>.json              the text
    STATE/contracts/<hash>.approved          the store it was approved for; removed by a rejection
    STATE/contracts/<hash>.rejected
    STATE/contracts/<hash>.asked.jsonl       a line a question that was let through

A question is let through once: the same one again gets the same answer, for its arrays and the
store are the same; another one in its place is refused.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from brainjepa_client.guarding.policy import Refusal
from brainjepa_core.arrays import Arrays
from brainjepa_core.files import append_line, atomic_path
from brainjepa_core.problems import plainly
from brainjepa_core.settings import flatten
from brainjepa_core.wire.contract import Contract, read_contract
from brainjepa_core.wire.messages import DESCRIBE, EVALUATE, KINDS, TRAIN, Request, told_round

FOLDER = "contracts"
SHOWN = 12  # characters of a hash in texts
Decision = Literal["proposed", "approved", "rejected"]


@dataclass(frozen=True)
class Known:
    """A contract that this site has been shown.

    Attributes
    ----------
    contract : Contract
    decision : {"proposed", "approved", "rejected"}
    store : str
        Fingerprint of the store that it was approved for; empty otherwise.
    """

    contract: Contract
    decision: Decision
    store: str = ""


class Contracts:
    """The contracts of a site.

    Parameters
    ----------
    state : Path
        The site's state folder.
    """

    def __init__(self, state: Path) -> None:
        self.folder = state / FOLDER

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
        try:
            return self.propose(path.read_text(encoding="utf-8"))
        except (OSError, UnicodeError) as error:
            raise ValueError(
                f"expected the text of a contract in '{path}', found {plainly(error)}; give the "
                "file that the coordinator has sent"
            ) from error
        except ValueError as error:
            raise ValueError(f"{path.name}: {error}") from error

    def approve(self, contract: Contract, store: str) -> None:
        """Answer a contract from now on, from a store of this fingerprint."""
        self._path(contract.hash, "rejected").unlink(missing_ok=True)
        with atomic_path(self._path(contract.hash, "approved")) as temporary:
            temporary.write_text(f"{store}\n", encoding="utf-8")

    def reject(self, contract: Contract) -> None:
        """Answer a contract no more."""
        with atomic_path(self._path(contract.hash, "rejected")) as temporary:
            temporary.write_text("", encoding="utf-8")
        self._path(contract.hash, "approved").unlink(missing_ok=True)

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
        if self._path(digest, "rejected").exists():
            return Known(contract, "rejected")
        approved = self._path(digest, "approved")
        if approved.exists():
            return Known(contract, "approved", approved.read_text(encoding="utf-8").strip())
        return Known(contract, "proposed")

    def _path(self, digest: str, what: str) -> Path:
        return self.folder / f"{digest}.{what}"

    def let_through(self, site: str, request: Request, store: str) -> None:
        """Refuse whatever the site has not approved; write the question down otherwise.

        Parameters
        ----------
        site : str
            This site's name.
        request : Request
        store : str
            Fingerprint of the store that would be answered from.

        Raises
        ------
        Refusal
            Naming what the contract says otherwise, or why there is none.
        """
        digest = request.assignment.contract
        if request.kind == DESCRIBE and request.proposal:
            self._take_up(digest, request.proposal)
        if not digest or not self._path(digest, "json").exists():
            raise Refusal(
                "this site answers contracts that its manager has approved, and this request is "
                "of none that it knows; propose the study (brainjepa server propose)"
            )
        known = self._known(digest)
        contract, name = known.contract, f"contract {digest[:SHOWN]}"
        if known.decision != "approved":
            what = "has rejected" if known.decision == "rejected" else "has not approved yet"
            raise Refusal(
                f"this site's manager {what} {name} (brainjepa site review, approve); go on "
                "without this site, or ask its manager"
            )
        if site not in contract.roster:
            raise Refusal(f"this site is not in the roster of {name}; propose the study again")
        if known.store != store:
            raise Refusal(
                f"the store of this site is another one than when its manager approved {name}; "
                "ask for a new approval (brainjepa site approve)"
            )
        _require_asked(contract, request)
        self._write_down(contract, request)

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

    def _write_down(self, contract: Contract, request: Request) -> None:
        """Refuse a question that was asked in another way before, or too often."""
        if request.kind == DESCRIBE:
            return
        path, probe = self._path(contract.hash, "asked.jsonl"), request.assignment.probe
        task = "" if probe is None else hashlib.sha256(probe.model_dump_json().encode()).hexdigest()
        question = {
            "kind": request.kind,
            "task": task,
            "round": request.assignment.round,
            "arrays": digest_of(request.arrays),
        }
        asked = _lines(path)
        if question in asked:
            return
        same = [a for a in asked if (a["kind"], a["task"]) == (request.kind, task)]
        in_round = [a for a in same if a["round"] == request.assignment.round]
        if request.kind == TRAIN and in_round:
            raise Refusal(
                f"round {told_round(request.assignment.round)} of contract "
                f"{contract.hash[:SHOWN]} was asked of this site with other arrays before; a "
                "question is answered once"
            )
        times = contract.times(request.kind, probe)
        if len(same) >= times:
            raise Refusal(
                f"contract {contract.hash[:SHOWN]} has {request.kind} asked at most {times} times "
                "with different arrays, and it was; a question is answered once"
            )
        append_line(path, json.dumps(question))


def _require_asked(contract: Contract, request: Request) -> None:
    """Refuse an assignment that is not the contract's."""
    given = request.assignment
    if request.kind not in KINDS or (given.probe is not None and request.kind != EVALUATE):
        raise Refusal("expected a question of the contract, found one of another kind")
    if given.probe is not None and not contract.times(EVALUATE, given.probe):
        raise Refusal("expected a task of the contract, found another one; propose the study again")
    last = contract.rounds if request.kind == TRAIN else contract.rounds + 1
    expected = contract.asked(min(given.round, last - 1), given.probe)
    if given != expected:
        mine, its = (dict(flatten(a.model_dump(mode="json"))) for a in (expected, given))
        name = next(n for n in sorted(mine.keys() | its.keys()) if mine.get(n) != its.get(n))
        raise Refusal(
            f"expected {name} = {mine.get(name, 'nothing')} as in contract "
            f"{contract.hash[:SHOWN]}, found {its.get(name, 'nothing')}; a site answers what it "
            "has approved and nothing else"
        )


def digest_of(arrays: Arrays) -> str:
    """SHA-256 (hex) of named arrays: names, dtypes, shapes, bytes."""
    found = hashlib.sha256()
    for name in sorted(arrays):
        array = arrays[name]
        found.update(f"{name}\0{array.dtype.str}\0{array.shape}\0".encode())
        found.update(array.tobytes())
    return found.hexdigest()


def _lines(path: Path) -> list[dict[str, Any]]:
    """Complete lines; one that a kill has torn was of a question that was never answered."""
    if not path.exists():
        return []
    try:
        return [dict(json.loads(line)) for line in path.read_text("utf-8").split("\n")[:-1]]
    except (ValueError, TypeError) as error:
        raise Refusal(
            "expected the site's list of what it was asked, found it damaged; its manager should "
            "restore it"
        ) from error
