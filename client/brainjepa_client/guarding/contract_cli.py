"""Commands by which a data manager decides what a site answers: review, approve, reject."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from brainjepa_client.using.cli import SiteFile
from brainjepa_core.terminal import console, errors_in_one_line

Beginning = Annotated[
    str, typer.Argument(metavar="HASH", help="Of the contract; its first 12 characters will do.")
]


def _say(text: str) -> None:
    console.print(escape(text), highlight=False, soft_wrap=True)


def review(
    site: SiteFile,
    contract: Annotated[
        Path | None,
        typer.Option(help="File of a contract that the coordinator has sent.", exists=True),
    ] = None,
) -> None:
    """Contracts that this site was shown: what each asks, how often, and what is unusual."""
    from brainjepa_client.guarding.contracts import Contracts
    from brainjepa_client.guarding.review import review
    from brainjepa_client.settings import SiteSettings
    from brainjepa_core.settings import read_settings
    from brainjepa_core.signals.storing.store import ScanStore

    with errors_in_one_line():
        settings = read_settings(site, SiteSettings)
        contracts = Contracts(settings.state)
        if contract is not None:
            contracts.propose_file(contract)
        store, known = ScanStore.open(settings.store), contracts.known()
        for one in known:
            for line in review(settings, one, store):
                _say(line)
        if not known:
            _say("no contract was proposed to this site yet")


def approve(site: SiteFile, contract: Beginning) -> None:
    """Answer a contract from now on, from the store as it is now."""
    from brainjepa_client.guarding.contracts import Contracts
    from brainjepa_client.guarding.deciding import approve
    from brainjepa_client.settings import SiteSettings
    from brainjepa_core.settings import read_settings

    with errors_in_one_line():
        settings = read_settings(site, SiteSettings)
        found = Contracts(settings.state).find(contract).contract
        approve(settings, found)
        _say(f"approved: {found.hash}, with the store as it is now")


def reject(site: SiteFile, contract: Beginning) -> None:
    """Answer a contract no more, from the next request on."""
    from brainjepa_client.guarding.contracts import Contracts
    from brainjepa_client.guarding.deciding import reject
    from brainjepa_client.settings import SiteSettings
    from brainjepa_core.settings import read_settings

    with errors_in_one_line():
        settings = read_settings(site, SiteSettings)
        found = Contracts(settings.state).find(contract).contract
        reject(settings, found)
        _say(f"rejected: {found.hash}; what was answered before stays answered")
