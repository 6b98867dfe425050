"""A manager's decision on a contract: in force, and a line of the audit log."""

from __future__ import annotations

from brainjepa_client.approving.contracts import Contracts
from brainjepa_client.approving.membership import has_left
from brainjepa_client.approving.roster import require_in_roster
from brainjepa_client.consent.audit_log import APPROVED, REJECTED, audit_log, site_salt
from brainjepa_client.consent.participation import fingerprints
from brainjepa_client.guarding.policy import Refusal, require_study
from brainjepa_client.guarding.privacy_budget import set_aside
from brainjepa_client.settings import SiteSettings
from brainjepa_core.privacy.ledger import Ledger
from brainjepa_core.signals.storing.store import ScanStore
from brainjepa_core.wire.contract import Contract


def approve(site: SiteSettings, contract: Contract) -> None:
    """Answer a contract from now on, from the store as it is now.

    Raises
    ------
    ValueError
        If the contract is not for this site, asks more of its machine than the policy allows, or
        the site has withdrawn from it; or if the store cannot be opened.
    """
    contracts, store = Contracts(site.state), ScanStore.open(site.store)
    if has_left(site.state) or contracts.decision(contract.hash) == "withdrawn":
        raise ValueError(
            f"expected a contract that this site has not withdrawn from, found {contract.short}; "
            "that is for good: let the coordinator propose another study, after a new 'brainjepa "
            "site join' where the site has left the consortium"
        )
    try:
        require_in_roster(site, contract)
        require_study(site.policy, contract.assignment, len(store.atlas))
        set_aside(site, contract, store)
    except Refusal as refusal:
        raise ValueError(
            f"expected a contract that this site can answer, found that it would refuse: {refusal}"
        ) from refusal
    people = fingerprints((record.subject for record in store.records), site_salt(site.state))
    told = {"event": APPROVED, "contract": contract.hash, "store": store.fingerprint}
    audit_log(site.state).append(told)
    contracts.approve(contract, store.fingerprint, people)


def reject(site: SiteSettings, contract: Contract) -> None:
    """Answer a contract no more, until it is approved; training ends after the step at hand."""
    Contracts(site.state).reject(contract)
    audit_log(site.state).append({"event": REJECTED, "contract": contract.hash})
    Ledger(site.state).end(contract.hash)
