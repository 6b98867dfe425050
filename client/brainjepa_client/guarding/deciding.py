"""A manager's decision on a contract: in force, and a line of the audit log."""

from __future__ import annotations

from brainjepa_client.consent.audit_log import APPROVED, REJECTED, audit_log
from brainjepa_client.guarding.contracts import Contracts
from brainjepa_client.settings import SiteSettings
from brainjepa_core.signals.storing.store import ScanStore
from brainjepa_core.wire.contract import Contract


def approve(site: SiteSettings, contract: Contract) -> None:
    """Answer a contract from now on, from the store as it is now.

    Raises
    ------
    ValueError
        If the site is not in the roster, or its store cannot be opened.
    """
    if site.name not in contract.roster:
        raise ValueError(
            f"expected this site, '{site.name}', in the contract's roster, found "
            f"{', '.join(contract.roster)}; let the coordinator admit it and propose again"
        )
    store = ScanStore.open(site.store).fingerprint
    audit_log(site.state).append({"event": APPROVED, "contract": contract.hash, "store": store})
    Contracts(site.state).approve(contract, store)


def reject(site: SiteSettings, contract: Contract) -> None:
    """Answer a contract no more, from the next request on."""
    Contracts(site.state).reject(contract)
    audit_log(site.state).append({"event": REJECTED, "contract": contract.hash})
