"""What of a site's privacy budget is spent, by study: what ``brainjepa site budget`` shows."""

from __future__ import annotations

from typing import Any

from brainjepa_client.approving.contracts import Contracts
from brainjepa_client.settings import SiteSettings
from brainjepa_core.privacy.accounting import epsilon_of
from brainjepa_core.privacy.budget import words
from brainjepa_core.privacy.ledger import Account, Ledger
from brainjepa_core.problems import counted
from brainjepa_core.wire.contract import SHOWN


def spent(site: SiteSettings) -> dict[str, Any]:
    """The budget, what is spent and left of it, and each study's part, as plain values.

    Epsilons are of the person who has spent most. Those of studies add up to more than the whole:
    the distribution of the privacy loss adds up more slowly. ``left`` is what surely fits.
    ``spent_alone`` holds where no other site adds its share of a noise that sites share.

    Raises
    ------
    ValueError
        If the site has no budget, or its ledger is not what was written.
    """
    budget = site.policy.privacy_budget
    if budget is None:
        raise ValueError(
            "expected a privacy budget in the site's policy (policy.privacy_budget: {epsilon: 8}), "
            "found none; without one no study under protect: dp is answered: add it to keep one"
        )
    ledger = Ledger(site.state)
    accounts = ledger.accounts()
    everybody = frozenset().union(*(account.people for account in accounts.values()))
    cost = ledger.cost(everybody, budget.delta, {})
    names = {
        known.contract.hash: known.contract.assignment.study_id
        for known in Contracts(site.state).known()
    }
    return {
        "site": site.name,
        "epsilon": budget.epsilon,
        "delta": budget.delta,
        "spent": cost.epsilon,
        "spent_alone": cost.alone,
        "left": max(budget.epsilon - cost.epsilon, 0.0),
        "studies": [
            {
                "study": names.get(key),
                "contract": key if key in names else None,
                **_of(account, budget.delta),
            }
            for key, account in accounts.items()
        ],
    }


def _of(account: Account, delta: float) -> dict[str, Any]:
    return {
        "epsilon": epsilon_of(account.spent, delta),
        "by_now": epsilon_of(account.answered, delta),
        "rounds": len(account.questions),
        "people": len(account.people),
        "ended": account.ended,
    }


def spent_in_words(found: dict[str, Any]) -> list[str]:
    """A line for the budget, and one for each study."""
    lines = [
        f"{found['site']}: epsilon {words(found['spent'])} of {found['epsilon']:g} spent (delta "
        f"{found['delta']:g}), by the person who has spent most; {_down(found['left'])} left"
    ]
    if found["spent_alone"] > found["spent"]:
        alone = words(found["spent_alone"])
        lines.append(f"  sites share noise: epsilon {alone} if none but this one add their part")
    for study in found["studies"]:
        name = f"study '{study['study']}'" if study["study"] else "a study without a contract"
        contract = f", contract {study['contract'][:SHOWN]}" if study["contract"] else ""
        rest = "ended: the rest is given back" if study["ended"] else "the rest is set aside for it"
        lines.append(
            f"  {name}{contract}: epsilon {words(study['epsilon'])}, of which "
            f"{words(study['by_now'])} in {counted(study['rounds'], 'round')} by now; {rest}"
        )
    return [*lines, *([] if found["studies"] else ["  no study under protect: dp yet"])]


def _down(epsilon: float) -> str:
    """To two places, never more than there is."""
    return f"{int(epsilon * 100) / 100:g}"
