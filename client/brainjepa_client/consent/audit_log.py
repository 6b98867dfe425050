"""What happened to people's data at a site, a line an event, without a name: ``audit.jsonl``.

People appear as salted fingerprints. The salt is the site's secret (``salt``, in its state folder):
with it, and only with it, a label can be looked up.
"""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from brainjepa_core.files import room_for
from brainjepa_core.problems import plainly
from brainjepa_core.signals.storing.withdrawn import Fingerprint

AUDIT, SALT = "audit.jsonl", "salt"
REMOVED = "removed"


def site_salt(state: Path) -> str:
    """The site's secret salt, drawn the first time it is asked for; hexadecimal."""
    path = state / SALT
    state.mkdir(parents=True, exist_ok=True)
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        salt = path.read_text().strip()
        if len(salt) != 32:
            raise ValueError(
                f"expected 32 hexadecimal digits in '{path}', found {len(salt)} characters; "
                "restore the file, for without it nobody finds a person in the site's records"
            ) from None
        return salt
    salt = secrets.token_hex(16)
    with room_for(path), os.fdopen(descriptor, "w") as file:
        file.write(f"{salt}\n")
        file.flush()
        os.fsync(file.fileno())
    return salt


def write_event(state: Path, event: str, facts: Mapping[str, Any]) -> None:
    """Add a line to the audit log; it is on disk when this returns.

    Parameters
    ----------
    state : Path
        The site's state folder.
    event : str
    facts : mapping
        JSON can hold it; no name of a person, path or file.
    """
    now = datetime.now().astimezone().isoformat(timespec="seconds")
    path = state / AUDIT
    state.mkdir(parents=True, exist_ok=True)
    with room_for(path), path.open("a", encoding="utf-8") as file:
        file.write(json.dumps({"time": now, "event": event, **facts}) + "\n")
        file.flush()
        os.fsync(file.fileno())


def read_events(state: Path) -> list[dict[str, Any]]:
    """All lines of the audit log, oldest first; a last line torn by a kill is left out.

    Raises
    ------
    ValueError
        If a line is damaged.
    """
    path = state / AUDIT
    lines = path.read_text(encoding="utf-8").split("\n") if path.exists() else [""]
    events = []
    for number, line in enumerate(lines[:-1], start=1):
        try:
            events.append(dict(json.loads(line)))
        except (ValueError, TypeError) as error:
            raise ValueError(
                f"expected an event in line {number} of '{path}', found {plainly(error)}; restore "
                "the file: it says who has withdrawn"
            ) from error
    return events


def people_removed(state: Path) -> list[Fingerprint]:
    """Fingerprints of the people that ``site remove`` took out."""
    return [
        Fingerprint(event["salt"], event["person"])
        for event in read_events(state)
        if event["event"] == REMOVED
    ]
