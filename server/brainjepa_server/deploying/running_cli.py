"""Commands that start a consortium's server, stop it, and say what it does."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from brainjepa_core.command.print_config import ReadBy
from brainjepa_core.command.terminal import AGAIN, Json, console, errors_in_one_line, print_json
from brainjepa_core.command.waiting import waiting
from brainjepa_core.extras import require
from brainjepa_core.wire.flower_environment import use_flower_environment
from brainjepa_server.consortium.cli import Folder

SUPERLINK_PORT = 8000


def _say(text: str) -> None:
    console.print(escape(text), highlight=False, soft_wrap=True)


def start(
    folder: Folder,
    study: Annotated[
        Path | None,
        typer.Argument(
            metavar="[STUDY]",
            help="YAML of the study; without it, the one that has not ended.",
            dir_okay=False,
        ),
        ReadBy("brainjepa_server.settings:StudySettings"),
    ] = None,
    no_proxy: Annotated[
        bool, typer.Option("--no-proxy", help="Your own Caddy or nginx is in front.")
    ] = False,
    superlink_port: Annotated[
        int, typer.Option(min=1, max=65535, metavar="PORT", help="Of the SuperLink, loopback.")
    ] = SUPERLINK_PORT,
) -> None:
    """Serve the consortium's sites, and run or continue a study; ends with it."""
    with errors_in_one_line(AGAIN):
        require("flwr", "cryptography")
        use_flower_environment()
        from brainjepa_server.consortium.consortium_folder import ConsortiumFolder
        from brainjepa_server.consortium.studies import (
            is_finished,
            place_study,
            require_proposed,
            unfinished_study,
        )
        from brainjepa_server.deploying.starting import Server

        consortium = ConsortiumFolder.open(folder)
        name = place_study(consortium, study) if study else unfinished_study(consortium)
        if name is not None and is_finished(consortium, name):
            _say(f"Study '{name}' has ended: {consortium.studies / name / 'final'}")
            return
        if name is not None:
            require_proposed(consortium, name)
        code = Server(consortium, superlink_port, not no_proxy, _say).run(name)
        if code:
            raise typer.Exit(code)
        if name is not None:
            _say(f"Study '{name}' has ended: {consortium.studies / name / 'final'}")


def stop(
    folder: Folder,
    now: Annotated[
        bool, typer.Option("--now", help="At once; the round under way is done again later.")
    ] = False,
) -> None:
    """Stop the server after the current round, and wait until it has stopped."""
    with errors_in_one_line("the server stops all the same"):
        require("cryptography")
        from brainjepa_server.consortium.consortium_folder import ConsortiumFolder
        from brainjepa_server.deploying.running import RunningFolder

        running = RunningFolder(ConsortiumFolder.open(folder).path)
        with waiting(console, "Stopping" if now else "Stopping after the current round"):
            there = running.ask_to_stop(now=now)
        _say("Stopped" if there else "No server of this consortium runs")


def status(
    folder: Folder,
    as_json: Json = False,
) -> None:
    """Say which sites are connected, how far the study is, and who is left out and why."""
    with errors_in_one_line():
        require("flwr", "cryptography")
        use_flower_environment()
        from brainjepa_server.consortium.consortium_folder import ConsortiumFolder
        from brainjepa_server.deploying.status import server_status, status_in_words

        found = server_status(ConsortiumFolder.open(folder))
        if as_json:
            print_json(found)
            return
        for line in status_in_words(found):
            _say(line)


def log(
    folder: Folder,
    verify: Annotated[
        bool, typer.Option("--verify", help="Only check that no line was changed.")
    ] = False,
    as_json: Json = False,
) -> None:
    """What came from which site: time, question, round, arrays, or why not."""
    with errors_in_one_line():
        require("cryptography")
        from brainjepa_core.problems import counted
        from brainjepa_server.consortium.consortium_folder import ConsortiumFolder
        from brainjepa_server.consortium.studies import study_names
        from brainjepa_server.rounds.received import ReceivedLog, line_in_words

        consortium = ConsortiumFolder.open(folder)
        names = study_names(consortium)
        if not names and not as_json:
            _say("no study of this consortium has begun")
        found = {}
        for name in names:
            kept = ReceivedLog(consortium.studies / name, name).log
            lines = list(kept.lines())
            shown = [] if verify else lines
            found[name] = {"lines": shown, "head": kept.head}
            if as_json:
                continue
            for line in shown:
                _say(line_in_words(line))
            _say(
                f"Study '{name}': {counted(len(lines), 'line')}, each vouched for by the next; "
                f"note the hash of the last one: {kept.head}"
            )
        if as_json:
            print_json(found)
