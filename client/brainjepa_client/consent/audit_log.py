"""What happened to people's data at a site, a line an event, without a name: ``audit.jsonl``.

Lines are chained (`brainjepa_core.chained_log`), so that none can be changed unseen. People appear
as salted fingerprints. The salt is the site's secret (``salt``, in its state folder): with it, and
only with it, a label can be looked up.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from brainjepa_core.chained_log import ChainedLog
from brainjepa_core.files import room_for
from brainjepa_core.problems import counted
from brainjepa_core.signals.storing.withdrawn import Fingerprint

AUDIT, SALT = "audit.jsonl", "salt"
REMOVED, ANSWERED, REFUSED = "removed", "answered", "refused"
FOREIGN = "did not open"  # a bundle that is not this package's envelope
APPROVED, REJECTED, WITHDREW = "approved", "rejected", "withdrew"


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


def audit_log(state: Path) -> ChainedLog:
    """The site's log of events: questions and answers, and people who were removed.

    Parameters
    ----------
    state : Path
        The site's state folder.
    """
    return ChainedLog(state / AUDIT)


def people_removed(state: Path) -> list[Fingerprint]:
    """Fingerprints of the people that ``site remove`` took out."""
    return [
        Fingerprint(event["salt"], event["person"])
        for event in audit_log(state).lines()
        if event["event"] == REMOVED
    ]


def line_in_words(line: Mapping[str, Any]) -> str:
    """A line of the log for people: when, what, and how much left."""
    when = f"{line['time']}  {line['event']}"
    if line["event"] == REMOVED:
        studies = ", ".join(line["studies"]) or "no study"
        return f"{when} a person (fingerprint {line['person'][:12]}), who was in {studies}"
    if line["event"] == FOREIGN:
        return f"{when} a message's bundle from elsewhere (sha256 {line['bundle']})"
    if line["event"] in (APPROVED, REJECTED):
        return f"{when} contract {line['contract'][:12]}"
    if line["event"] == WITHDREW:
        contract = line["contract"][:12]
        return f"{when} from {f'contract {contract}' if contract else 'the consortium'}, for good"
    kind = line["kind"]
    if line.get("step"):
        masked = " (numbers under masks)" if line["step"] == "masked" else ""
        kind = f"step '{line['step']}'{masked} of the secure sum of {kind}"
    what = f"{when} {kind} of study '{line['study']}', round {line['round']}"
    if line["event"] == REFUSED:
        return f"{what}: {line['refusal']}"
    arrays, numbers = line["arrays"], len(line["numbers"])
    size = sum(arrays.values())
    return f"{what}: {counted(len(arrays), 'array')} of {size} bytes, {counted(numbers, 'number')}"


def on_removed(scans: int) -> list[str]:
    """A sentence on scans that were found of people who were removed; none where there are none."""
    return [f"{counted(scans, 'scan')} of people who were removed left out"] if scans else []
