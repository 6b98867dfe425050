"""Commands that set up a consortium and say who takes part in it."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from brainjepa_core.command.print_config import ReadBy
from brainjepa_core.command.terminal import (
    Json,
    console,
    errors_in_one_line,
    folder_to_write,
    print_json,
)
from brainjepa_core.extras import require
from brainjepa_core.version import VERSION

Folder = Annotated[Path, typer.Argument(metavar="DIR", help="Folder of the consortium.")]
FolderOption = Annotated[Path, typer.Option("--dir", help="Folder of the consortium.")]


def _say(text: str) -> None:
    console.print(escape(text), highlight=False, soft_wrap=True)


def init(
    folder: Annotated[
        Path,
        typer.Argument(
            metavar="DIR", help="Folder of the consortium, new or not.", callback=folder_to_write
        ),
    ],
    host: Annotated[
        list[str] | None,
        typer.Option(help="Name or IP address that sites use; several times, the kit's first."),
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="Of the consortium; the first host by default.")
    ] = None,
    port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="That sites use; 443 by default.")
    ] = None,
) -> None:
    """Set up a consortium, or renew its certificate; writes DIR/kit for sites, DIR/study.yaml."""
    with errors_in_one_line():
        require("cryptography")
        from brainjepa_server.consortium.consortium_folder import ConsortiumFolder, set_up

        now = datetime.now(UTC)
        new = not ConsortiumFolder(folder).authority.exists()
        if new and not host and sys.stdin.isatty():
            host = [typer.prompt("By which name or IP address do sites reach this machine?")]
        done = set_up(folder, host or (), name=name, port=port, now=now)
        study = None
        if new:
            from brainjepa_server.consortium.first_study import write_first_study  # with torch

            study = write_first_study(folder)
        _say(f"Consortium '{done.kit.consortium}' at {done.kit.address}")
        made = (*done.made, *(() if study is None else (f"a study to begin with: {study}",)))
        for line in made or ("nothing: all is there and in force",):
            _say(f"  made: {line}")
        _say(
            f"  the server's certificate, for {', '.join(done.hosts)}, ends in "
            f"{(done.ends - now).days} days; call this again in its last 60"
        )
        _say(f"  for sites: {ConsortiumFolder(folder).kit}, by any way; nothing in it is secret")
        _say(
            f"  keep secret: {ConsortiumFolder(folder).authority_key}, and a copy in a safe place; "
            "it cannot be made again"
        )
        _say("Fingerprint, to read out on the telephone and never to send with the kit:")
        _say(f"  {done.kit.fingerprint}")


def admit(
    requests: Annotated[list[Path], typer.Argument(metavar="REQUEST...", help="Sites' requests.")],
    folder: FolderOption,
) -> None:
    """Admit the sites whose requests these are; compare each fingerprint on the telephone."""
    with errors_in_one_line():
        require("cryptography")
        from brainjepa_server.consortium.admission import admit
        from brainjepa_server.consortium.consortium_folder import ConsortiumFolder

        consortium, refused = ConsortiumFolder.open(folder), []
        for path in requests:
            try:
                admission = admit(consortium, path)
            except ValueError as error:  # one bad request keeps no other out
                refused.append(str(error))
                continue
            site, version = admission.request.site, admission.request.version
            done = "admitted" if admission.new else "is admitted already, nothing changed"
            _say(f"Site '{site}' {done}; its key, to compare on the telephone:")
            _say(f"  {admission.request.fingerprint}")
            if version != VERSION:
                _say(f"  it has brainjepa-federated {version}, this machine {VERSION}")
        if refused:
            raise ValueError("\n".join(refused))


def revoke(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Of the site.")],
    folder: FolderOption,
) -> None:
    """Take a site out; its key is not admitted again."""
    with errors_in_one_line():
        require("cryptography")
        from brainjepa_server.consortium.admission import revoke
        from brainjepa_server.consortium.consortium_folder import ConsortiumFolder

        revoke(ConsortiumFolder.open(folder), name)
        _say(f"Site '{name}' revoked; to come back it needs a new key, and a request with it")


def sites(folder: Folder, as_json: Json = False) -> None:
    """List the admitted sites with the fingerprints of their keys."""
    with errors_in_one_line():
        require("cryptography")
        from brainjepa_core.consortium.fingerprints import of_key
        from brainjepa_server.consortium.admission import admitted_sites
        from brainjepa_server.consortium.consortium_folder import ConsortiumFolder

        found = admitted_sites(ConsortiumFolder.open(folder))
        if as_json:
            print_json({name: of_key(key) for name, key in found.items()})
            return
        for name, key in found.items():
            _say(f"{name}  {of_key(key)}")
        if not found:
            _say("No site is admitted yet (brainjepa server admit REQUEST --dir DIR)")


def propose(
    study: Annotated[
        Path,
        typer.Argument(metavar="STUDY.yaml", help="The study.", exists=True, dir_okay=False),
        ReadBy("brainjepa_server.settings:StudySettings"),
    ],
    folder: FolderOption,
) -> None:
    """Make the contract of a study for the admitted sites; prints its hash."""
    with errors_in_one_line():
        require("cryptography")
        from brainjepa_core.settings import read_settings
        from brainjepa_core.wire.groups import groups_in_words
        from brainjepa_server.consortium.consortium_folder import ConsortiumFolder
        from brainjepa_server.consortium.proposing import propose
        from brainjepa_server.settings import StudySettings

        settings = read_settings(study, StudySettings)
        contract, path = propose(ConsortiumFolder.open(folder), settings)
        _say(f"Contract of study '{settings.name}' with {', '.join(contract.roster)}:")
        _say(f"  {contract.hash}")
        if settings.sums and settings.sums.groups is not None:
            _say(f"  {groups_in_words(len(contract.roster), settings.sums.groups)}")
        _say(
            f"Sites are shown it when the study begins, or before by its file: {path}; each "
            "manager reviews and approves it (brainjepa site review, site approve)"
        )
