"""A site's ledger: what was promised and released about its people, over all studies.

One chained file a site (`brainjepa_core.chained_log`), which only its owner may read. A study is
*planned* as a whole before its first answer, and refused where it does not fit the budget; each
answer is *reserved*, on the disk, before anything of it is computed, and noted as *released* before
it leaves. Planned is spent until the study has *ended*: then what was reserved is. So a kill at any
moment may leave more counted than was released, never less.

The hash of the last line is kept beside the file (``ledger.head``). A file that was changed, cut
short or taken away is thereby seen, and then everything is refused. Whoever restores both from an
older copy is not seen.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from brainjepa_core.chained_log import BEGIN, ChainedLog
from brainjepa_core.files import atomic_path, lone_writer
from brainjepa_core.privacy.accounting import Release, epsilon_of
from brainjepa_core.privacy.budget import Budget, Cost, words
from brainjepa_core.privacy.people_sets import People, exposures
from brainjepa_core.problems import plainly

LEDGER, HEAD, LOCK = "ledger.jsonl", "ledger.head", "ledger.lock"
PLANNED, RESERVED, RELEASED, ENDED = "planned", "reserved", "released", "ended"


class NotCovered(ValueError):
    """A release that the ledger does not cover; its text names no person, path or date."""


@dataclass
class Account:
    """What the ledger holds of one study.

    Attributes
    ----------
    people : set of str
        All that it was planned with, once or again.
    planned, reserved : Counter of Release
        Releases with ``times`` 1, and how many times.
    questions : dict of str to str
        Hash of the request that each question was reserved with.
    released : set of str
        Hashes of requests.
    ended : bool
    """

    people: People = frozenset()
    planned: Counter[Release] = field(default_factory=Counter)
    reserved: Counter[Release] = field(default_factory=Counter)
    questions: dict[str, str] = field(default_factory=dict)
    released: set[str] = field(default_factory=set)
    ended: bool = False

    @property
    def answered(self) -> list[Release]:
        """What was reserved."""
        return _times(self.reserved)

    @property
    def spent(self) -> list[Release]:
        """What counts: all that is planned until the end, then what was reserved."""
        return _times(self.reserved if self.ended else self.planned)


class Ledger:
    """The ledger of one site's people.

    Parameters
    ----------
    folder : Path
        The site's state folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.log = ChainedLog(folder / LEDGER)

    def accounts(self) -> dict[str, Account]:
        """What was planned and reserved, by study, in the order of their first lines.

        Raises
        ------
        ValueError
            If the file is not what was written, or is gone.
        """
        accounts: dict[str, Account] = {}
        for line in self._lines():
            account = accounts.setdefault(line["study"], Account())
            if line["event"] == PLANNED:
                account.people |= frozenset(line["people"])
                account.planned = _counted(_releases(line))
                account.ended = False
            elif line["event"] == RESERVED:
                account.reserved += _counted(_releases(line))
                account.questions[line["question"]] = line["request"]
            elif line["event"] == RELEASED:
                account.released.add(line["request"])
            elif line["event"] == ENDED:
                account.ended = True
        return accounts

    def cost(self, people: People, delta: float, planned: Mapping[str, Sequence[Release]]) -> Cost:
        """What the most exposed of some people has spent, with what else is planned.

        Parameters
        ----------
        people : set of str
            `people_sets.hashed`.
        delta : float
        planned : mapping of str to sequence of Release
            Studies that are not in the ledger yet, or are there and not counted twice; none for
            what is spent today.
        """
        return _cost(self.accounts(), people, delta, planned)

    def plan(self, study: str, releases: Sequence[Release], people: People, budget: Budget) -> Cost:
        """Set a whole study's releases aside, before its first answer.

        Again with the same releases it costs nothing more; with other people than the first time,
        these are counted too.

        Parameters
        ----------
        study : str
            Hash of its contract.
        releases : sequence of Release
            All that the study asks for, to its end.
        people : set of str
        budget : Budget

        Returns
        -------
        Cost
            With this study.

        Raises
        ------
        NotCovered
            If it does not fit the budget, or was planned otherwise before.
        """
        with self._alone():
            accounts = self.accounts()
            known = accounts.get(study)
            wanted = _counted(releases)
            if known is not None and known.planned != wanted:
                raise NotCovered(
                    f"expected the releases that study {study[:12]} was planned with, found "
                    "others; a study's privacy is settled once: propose it under another contract"
                )
            cost = _cost(accounts, people, budget.delta, {study: releases})
            if not cost.epsilon <= budget.epsilon:  # nor what is no number
                before = _cost(accounts, people, budget.delta, {})
                told = cost.of(budget, max(release.honest_sites for release in releases))
                raise NotCovered(
                    "expected a study within this site's privacy budget, found epsilon after this "
                    f"study: {told}, before it: {words(before.epsilon)}; ask for more "
                    "noise, fewer steps or smaller batches, or go on without this site"
                )
            if known is None or known.ended or not people <= known.people:
                self._append(PLANNED, study, releases, people=sorted(people))
        return cost

    def reserve(
        self, study: str, question: str, request: str, releases: Sequence[Release], people: People
    ) -> None:
        """Write down an answer's releases; they are on the disk when this returns.

        Nothing of the answer may be computed before. The same request again costs nothing, since
        its answer has the same bits.

        Parameters
        ----------
        study : str
        question : str
            Which of the study's questions: ``"train 3"``.
        request : str
            Hash of all that was asked.
        releases : sequence of Release
        people : set of str
            Whom the answer is about.

        Raises
        ------
        NotCovered
            If the study was not planned, or not with these people; if the question was asked with
            other content before; or if this is more than was planned.
        """
        with self._alone():
            account = self.accounts().get(study)
            if account is None or account.ended:
                raise NotCovered(
                    f"expected a study that this site has planned, found {study[:12]}, which "
                    "it has not, or has ended; approve its contract first"
                )
            if not people <= account.people:
                raise NotCovered(
                    "expected the people that the study was planned with, found others too; "
                    "approve its contract again"
                )
            if account.questions.get(question, request) != request:
                raise NotCovered(
                    f"expected '{question}' as it was asked before, found another request; an "
                    "answer is repeated with the same bits only: go on with the next round"
                )
            if question in account.questions:
                return
            if not account.reserved + _counted(releases) <= account.planned:
                raise NotCovered(
                    f"expected '{question}' to be within what the study was planned with, found "
                    "more; ask for no more than the contract says"
                )
            self._append(RESERVED, study, releases, question=question, request=request)

    def release(self, study: str, request: str) -> None:
        """Note that an answer leaves, once it is made and before it is sent.

        Raises
        ------
        NotCovered
            If it was not reserved.
        """
        with self._alone():
            account = self.accounts().get(study, Account())
            if request not in account.questions.values():
                raise NotCovered(
                    "expected an answer that was reserved before it was made, found none; ask again"
                )
            if request not in account.released:
                self._append(RELEASED, study, request=request)

    def end(self, study: str) -> None:
        """Give back what a study planned and did not use; it can be planned again."""
        with self._alone():
            account = self.accounts().get(study)
            if account is not None and not account.ended:
                self._append(ENDED, study)

    def _append(
        self, event: str, study: str, releases: Sequence[Release] = (), **facts: object
    ) -> None:
        told = {"releases": [r.model_dump() for r in releases]} if releases else {}
        if not self.log.path.exists():
            _create(self.log.path)
        head = self.log.append({"event": event, "study": study, **told, **facts})
        with atomic_path(self.folder / HEAD) as temporary:
            temporary.write_text(json.dumps({"head": head}) + "\n")

    def _lines(self) -> list[dict[str, Any]]:
        """All lines, once they are found to be what was written."""
        lines = list(self.log.lines())
        noted = self._noted_head()
        if noted not in (self.log.head, BEGIN, *(line["previous"] for line in lines)):
            found = "that lines are gone" if lines else "none"
            raise ValueError(
                f"expected the ledger '{self.log.path}' with all that was written into it, found "
                f"{found}; nothing private is answered until it is restored from a backup"
            )
        return lines

    def _noted_head(self) -> str:
        path = self.folder / HEAD
        if not path.exists():
            return BEGIN
        try:
            return str(json.loads(path.read_text())["head"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ValueError(
                f"expected '{path}' to hold the hash of the ledger's last line, found "
                f"{plainly(error)}; restore it from a backup"
            ) from error

    @contextmanager
    def _alone(self) -> Iterator[None]:
        self.folder.mkdir(parents=True, exist_ok=True)
        with lone_writer(self.folder / LOCK, "the privacy ledger in", wait=True):
            yield


def _create(path: Path) -> None:
    """An empty file for its owner's eyes, on the disk, name and all."""
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600))
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _releases(line: Mapping[str, Any]) -> list[Release]:
    return [Release(**release) for release in line["releases"]]


def _times(counted: Counter[Release]) -> list[Release]:
    return [release.model_copy(update={"times": times}) for release, times in counted.items()]


def _counted(releases: Sequence[Release]) -> Counter[Release]:
    counted: Counter[Release] = Counter()
    for release in releases:
        counted[release.model_copy(update={"times": 1})] += release.times
    return counted


def _cost(
    accounts: Mapping[str, Account],
    people: People,
    delta: float,
    planned: Mapping[str, Sequence[Release]],
) -> Cost:
    """Of the most exposed person; what is planned is counted for everybody, and once."""
    others = {name: account for name, account in accounts.items() if name not in planned}
    new = [release for releases in planned.values() for release in releases]
    worst = Cost(0.0, 0.0, delta)
    for names in exposures(people, {name: account.people for name, account in others.items()}):
        spent = [*new, *(release for name in sorted(names) for release in others[name].spent)]
        alone = [release.alone for release in spent]
        epsilon = epsilon_of(spent, delta)
        without = epsilon if alone == spent else epsilon_of(alone, delta)
        worst = Cost(max(worst.epsilon, epsilon), max(worst.alone, without), delta)
    return worst
