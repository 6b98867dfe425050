"""Commands by which a data manager decides what a site answers: review to withdraw."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from brainjepa_client.using.cli import SiteFile
from brainjepa_core.command.terminal import Json, console, errors_in_one_line, print_json

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
    from brainjepa_client.approving.contracts import Contracts
    from brainjepa_client.approving.review import review
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


def budget(
    site: SiteFile,
    as_json: Json = False,
) -> None:
    """What of the site's privacy budget is spent, by study, and what is left."""
    from brainjepa_client.approving.spent import spent, spent_in_words
    from brainjepa_client.settings import SiteSettings
    from brainjepa_core.settings import read_settings

    with errors_in_one_line():
        found = spent(read_settings(site, SiteSettings))
        if as_json:
            print_json(found)
            return
        for line in spent_in_words(found):
            _say(line)


def approve(site: SiteFile, contract: Beginning) -> None:
    """Answer a contract from now on, from the store as it is now."""
    from brainjepa_client.approving.contracts import Contracts
    from brainjepa_client.approving.deciding import approve
    from brainjepa_client.settings import SiteSettings
    from brainjepa_core.settings import read_settings

    with errors_in_one_line():
        settings = read_settings(site, SiteSettings)
        found = Contracts(settings.state).find(contract).contract
        approve(settings, found)
        _say(f"approved: {found.hash}, with the store as it is now")


def reject(site: SiteFile, contract: Beginning) -> None:
    """Answer a contract no more, until it is approved after all."""
    from brainjepa_client.approving.contracts import Contracts
    from brainjepa_client.approving.deciding import reject
    from brainjepa_client.settings import SiteSettings
    from brainjepa_core.settings import read_settings

    with errors_in_one_line():
        settings = read_settings(site, SiteSettings)
        found = Contracts(settings.state).find(contract).contract
        reject(settings, found)
        _say(f"rejected: {found.hash}; what was answered before stays answered")


def withdraw(
    site: SiteFile,
    contract: Annotated[
        str | None,
        typer.Argument(metavar="[HASH]", help="Of one contract; without it, of all there are."),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Without asking.")] = False,
) -> None:
    """Leave the consortium, or one contract, for good; says what has left before."""
    from brainjepa_client.approving import leaving
    from brainjepa_client.approving.contracts import Contracts
    from brainjepa_client.deploying.run_folder import RunFolder
    from brainjepa_client.settings import SiteSettings
    from brainjepa_core.problems import counted
    from brainjepa_core.settings import read_settings

    with errors_in_one_line():
        settings = read_settings(site, SiteSettings)
        found = Contracts(settings.state).find(contract).contract if contract else None
        what = f"contract {found.hash}" if found else "the consortium and all of its contracts"
        _require_meant(what, yes=yes)
        if found is None:
            removed = leaving.withdraw_from_consortium(settings)
        else:
            removed = leaving.withdraw_from_contract(settings, found)
        _say(f"withdrawn from {what}, for good")
        _say("what has left this site before, and cannot be called back by anybody:")
        for line in leaving.what_left(settings.state, None if found is None else found.hash):
            _say(f"  {line}")
        _say(f"removed here: {counted(removed, 'state')} of training, and embeddings of people")
        _say("kept here: the scans, the log, and who was behind each answer")
        if found is None:
            _say(
                f"the coordinator has to revoke this site: brainjepa server revoke {settings.name}"
            )
            _say("to take part again, join anew, with a new key: brainjepa site join")
        if RunFolder(settings.state).is_running():
            _say("this site runs, and tells the coordinator at the next question; then end it:")
            _say(f"  brainjepa site stop {site}")
        else:
            _say("this site does not run: tell the coordinator yourself")


def _require_meant(what: str, *, yes: bool) -> None:
    """Go on only where the manager says so."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise ValueError(
            f"expected --yes, or a terminal to ask at, found neither; withdrawing from {what} is "
            "for good: give --yes"
        )
    if not typer.confirm(f"Withdraw from {what}, for good?"):
        raise ValueError("expected yes, found another answer; nothing was changed")
