"""Commands of a site that takes part in a consortium."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from brainjepa_client.using.cli import SiteFile
from brainjepa_core.command.terminal import Json, console, errors_in_one_line, print_json
from brainjepa_core.command.waiting import waiting
from brainjepa_core.extras import require
from brainjepa_core.problems import counted

if TYPE_CHECKING:
    from brainjepa_client.settings import SiteSettings
    from brainjepa_core.consortium.kit import Kit


def _say(text: str) -> None:
    console.print(escape(text), highlight=False, soft_wrap=True)


def join(
    kit: Annotated[Path, typer.Argument(metavar="KIT", help="The file of the coordinator.")],
    site: SiteFile,
    fingerprint: Annotated[
        str | None, typer.Option(help="As it was told on the telephone; asked for without.")
    ] = None,
) -> None:
    """Join a consortium: make the site's key, and NAME.request here to send to the coordinator."""
    with errors_in_one_line():
        require("cryptography")
        from brainjepa_client.deploying.joining import join, was_compared
        from brainjepa_core.consortium.kit import read_kit

        offered = read_kit(kit)  # before the site's YAML: who exchanges the two is told so
        settings = _settings(site)
        compared = was_compared(offered, settings.state, datetime.now(UTC))
        _say(f"Consortium '{offered.consortium}' at {offered.address}; fingerprint of its kit:")
        _say(f"  {offered.fingerprint}")
        _require_compared(offered, fingerprint, compared=compared)
        joined = join(offered, settings.name, settings.state, Path.cwd())
        made = "made" if joined.new_key else "kept"
        _say(f"The site's key was {made}, and stays here; to compare on the telephone:")
        _say(f"  {joined.request.fingerprint}")
        _say(f"Send to the coordinator: {joined.path}")


def _require_compared(kit: Kit, told: str | None, *, compared: bool) -> None:
    """Go on only with a fingerprint that the coordinator has told, not the kit alone."""
    from brainjepa_core.consortium.fingerprints import compare

    if told is not None:
        compare(told, kit.fingerprint)
        _say("It is the one that was told.")
    elif compared:
        _say("It is the one that was compared when this site joined.")
    elif not sys.stdin.isatty():
        raise ValueError(
            "expected the fingerprint that the coordinator tells on the telephone, found neither "
            "--fingerprint nor a terminal to ask at; give --fingerprint"
        )
    elif not typer.confirm("Is this what the coordinator read out to you on the telephone?"):
        raise ValueError(
            "expected the fingerprint that was told, found another by your answer; nothing was "
            "made: ask the coordinator for the kit again"
        )


def start(site: SiteFile) -> None:
    """Take part: run the SuperNode and the worker in the foreground, until stopped."""
    with errors_in_one_line():
        require("flwr", "cryptography")
        from brainjepa_client.deploying.running import run

        run(site, _settings(site), _say)


def stop(site: SiteFile) -> None:
    """End a start of this site after the optimiser step at hand; its state is kept."""
    with errors_in_one_line():
        from brainjepa_client.deploying.control import stop
        from brainjepa_client.deploying.run_folder import RunFolder

        settings = _settings(site)
        _say("stopped" if stop(RunFolder(settings.state)) else "nothing of this site ran")


def status(
    site: SiteFile,
    as_json: Json = False,
) -> None:
    """What runs of this site, and whether the coordinator answers; exit 1 where nothing runs."""
    with errors_in_one_line():
        from brainjepa_client.deploying.control import status
        from brainjepa_client.deploying.run_folder import RunFolder

        settings = _settings(site)
        found = status(RunFolder(settings.state))
        if as_json:
            print_json({"site": settings.name, **found})
        elif not found["running"]:
            _say(f"{settings.name} does not run; start it (brainjepa site start)")
        else:
            _say(f"{settings.name} runs (process {found.get('pid', 'unknown')})")
            _say(f"  since {found.get('since', 'now')}, for {found.get('coordinator', 'nobody')}")
            for name, part in found.get("parts", {}).items():
                again = f" (started anew {part['ends']} times)" if part["ends"] else ""
                _say(f"  {name}: {part['state']}{again}")
        if not found["running"]:
            raise typer.Exit(1)


def preflight(site: SiteFile, as_json: Json = False) -> None:
    """Look at all that a start needs, a row a check with how to mend it; exit 1 if one fails."""
    with errors_in_one_line():
        require("flwr", "cryptography")
        from brainjepa_client.deploying.preflight import preflight

        settings = _settings(site)
        with waiting(console, "Looking at all that a start needs"):
            rows = list(preflight(settings))
        failed = sum(bool(row.mend) for row in rows)
        if as_json:
            print_json(rows)
        else:
            table = Table("check", "found", "how to mend", title=escape(settings.name))
            for row in rows:
                table.add_row(row.check, escape(row.found), escape(row.mend))
            console.print(table)
        if failed:
            _say(f"{counted(failed, 'check')} failed")
            raise typer.Exit(1)
        _say("ready to start (brainjepa site start)")


def _settings(site: Path) -> SiteSettings:
    from brainjepa_client.settings import SiteSettings
    from brainjepa_core.settings import read_settings

    return read_settings(site, SiteSettings)
