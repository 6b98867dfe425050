"""Whether a contract is of this site's consortium, and names this site with its own key."""

from __future__ import annotations

from brainjepa_client.approving.membership import KEY, KIT
from brainjepa_client.guarding.policy import Refusal
from brainjepa_client.settings import SiteSettings
from brainjepa_core.wire.contract import Contract


def require_in_roster(site: SiteSettings, contract: Contract) -> None:
    """Refuse a contract that is not this site's; one that has joined nothing has its name alone.

    Parameters
    ----------
    site : SiteSettings
    contract : Contract

    Raises
    ------
    Refusal
    """
    name = f"contract {contract.short}"
    if site.name not in contract.roster:
        raise Refusal(f"this site is not in the roster of {name}; propose the study again")
    if not (site.state / KEY).exists() or not (site.state / KIT).exists():
        return
    from brainjepa_core.consortium.fingerprints import of_key
    from brainjepa_core.consortium.keys import load_key
    from brainjepa_core.consortium.kit import read_kit

    consortium = read_kit(site.state / KIT).consortium
    if contract.consortium != consortium:
        raise Refusal(
            f"this site has joined consortium '{consortium}', and {name} is of "
            f"'{contract.consortium}'; propose the study in the consortium that it has joined"
        )
    key = load_key(site.state / KEY, "remove it and join again").public_key()
    if contract.roster[site.name] != of_key(key):
        raise Refusal(
            f"{name} has another key under this site's name; admit the site's own request, and "
            "propose the study again"
        )
