"""A site leaves a contract, or its consortium, for good: nothing is answered from then on.

What had left before is elsewhere, and nobody can call it back. Here, optimiser states, aligned
scans and all else that is made of people go, which were of use for the next round alone. What says
who was behind each answer stays, and the log: without them the site could tell no person any more
which rounds they were in.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from brainjepa_client.approving.contracts import Contracts
from brainjepa_client.approving.membership import KIT, has_left, leave
from brainjepa_client.computing.state import remove_states
from brainjepa_client.consent.audit_log import ANSWERED, WITHDREW, audit_log
from brainjepa_client.consent.made_of_people import forget_made_of_people
from brainjepa_client.consent.participation import ranges
from brainjepa_client.settings import SiteSettings
from brainjepa_core.privacy.ledger import Ledger
from brainjepa_core.problems import counted
from brainjepa_core.signals.storing.kept_aligned import ALIGNED
from brainjepa_core.wire.contract import Contract
from brainjepa_core.wire.messages import GRADIENTS, TRAIN


def withdraw_from_contract(site: SiteSettings, contract: Contract) -> int:
    """Answer a contract no more, ever; how many optimiser states were removed."""
    contracts = Contracts(site.state)
    contracts.withdraw(contract)
    audit_log(site.state).append({"event": WITHDREW, "contract": contract.hash})
    Ledger(site.state).end(contract.hash)
    study = contract.assignment.study_id
    others = [k for k in contracts.known() if k.decision == "approved"]
    if any(other.contract.assignment.study_id == study for other in others):
        return 0
    return _forget(site.state, [site.state / study])


def withdraw_from_consortium(site: SiteSettings) -> int:
    """Answer nothing any more, until the site joins anew; how many states were removed.

    Raises
    ------
    ValueError
        If the site belongs to no consortium.
    """
    if has_left(site.state) or not (site.state / KIT).exists():
        found = "that it has withdrawn already" if has_left(site.state) else "that it never joined"
        raise ValueError(
            f"expected a site that belongs to a consortium, found {found}; there is nothing to "
            "withdraw from (one contract: brainjepa site withdraw SITE.yaml HASH)"
        )
    leave(site.state)  # first: from here on nothing is answered
    Contracts(site.state).withdraw_from_all()
    audit_log(site.state).append({"event": WITHDREW, "contract": ""})
    ledger = Ledger(site.state)
    for study in ledger.accounts():
        ledger.end(study)
    return _forget(site.state, {path.parent for path in site.state.glob("*/round-*")})


def _forget(state: Path, studies: Iterable[Path]) -> int:
    forget_made_of_people(state)
    shutil.rmtree(state / ALIGNED, ignore_errors=True)
    return sum(remove_states(folder) for folder in studies)


@dataclass
class _Left:
    """What has left in a study."""

    trained: set[int] = field(default_factory=set)
    sums: int = 0
    answers: int = 0
    bytes: int = 0

    def add(self, line: Mapping[str, Any]) -> None:
        self.answers += 1
        self.bytes += sum(line["arrays"].values())
        if line.get("step") not in (None, "", "masked"):
            return  # keys and shares of a secure sum
        if line["kind"] == TRAIN:
            self.trained.add(line["round"])
        elif line["arrays"] or line["kind"] == GRADIENTS:
            self.sums += 1


def what_left(state: Path, contract: str | None = None) -> list[str]:
    """What has left this site, by contract or by all, a line a study.

    Parameters
    ----------
    state : Path
        The site's state folder.
    contract : str, optional
        Its hash; all contracts by default.
    """
    found: dict[str, _Left] = {}
    for line in audit_log(state).lines():
        if line["event"] == ANSWERED and line["contract"] and contract in (None, line["contract"]):
            found.setdefault(line["study"], _Left()).add(line)
    return [
        f"study '{study}': "
        + (f"weights of {ranges(sorted(left.trained))}, " if left.trained else "")
        + f"{counted(left.sums, 'answer')} with sums over people; {left.bytes} bytes in "
        f"{counted(left.answers, 'answer')} in all"
        for study, left in found.items()
    ] or ["nothing"]
