"""What left the sites of a study, how often, under what, and what was refused: for an ethics board.

Counted from the coordinator's log of answers, which has a line for each.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from brainjepa_core.pages.page import write_page
from brainjepa_core.pages.table import Table
from brainjepa_core.problems import counted
from brainjepa_server.record.history import RunHistory
from brainjepa_server.record.verdict import promise
from brainjepa_server.record.words import bytes_in_words
from brainjepa_server.rounds.received import MASKED, RECEIVED

PAGE = "privacy.html"
NEVER = (
    "No scan, time series, phenotype, person's name, date or path leaves a site. What leaves is "
    "computed over people, where they are as many as the site's own floors ask."
)
WHAT = {
    "describe": "what a site is: versions, atlas, people and scans rounded down",
    "gradients": "mean connectivity of its people, once a study",
    "train": "weights after its own training steps",
    "evaluate": "sums or scores over its people of what the model tells",
}
SHOWN_REFUSALS = 50


@dataclass
class _Kind:
    """Answers of one kind."""

    sites: set[str] = field(default_factory=set)
    answers: int = 0
    total: int = 0
    largest: int = 0


def leaving(folder: Path, history: RunHistory) -> dict[str, Any]:
    """Tables and sentences for the template ``leaving.html``."""
    kinds: dict[str, _Kind] = {}
    refused: dict[tuple[str, str, str], int] = {}
    problem = "" if (folder / RECEIVED).exists() else f"Not known: {RECEIVED} is not there."
    try:
        for line in _lines(folder / RECEIVED):
            of_round = line["kind"] if not line["step"] else f"{line['kind']}, {line['step']}"
            if line["refusal"]:
                key = (line["site"], of_round, line["refusal"])
                refused[key] = refused.get(key, 0) + 1
                continue
            kind, size = kinds.setdefault(of_round, _Kind()), sum(line["arrays"].values())
            kind.sites.add(line["site"])
            kind.answers, kind.total = kind.answers + 1, kind.total + size
            kind.largest = max(kind.largest, size)
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        problem = f"{RECEIVED} cannot be read to its end: figures are of what comes before."
    rows = [
        (
            name, _what(name), len(kind.sites), kind.answers, _size(kind.largest),
            _size(kind.total),
        )
        for name, kind in kinds.items()
    ]  # fmt: skip
    headings = ("question", "what leaves", "sites", "answers", "largest", "all together")
    worst = sorted(refused.items(), key=lambda item: -item[1])
    refusals = [(*key, count) for key, count in worst[:SHOWN_REFUSALS]]
    return {
        "never": NEVER,
        "problem": problem,
        "answers": Table.of(headings, rows, ("text", "name")),
        "protections": Table.of(
            ("protection", "in this study"), _protections(history), ("text", "long")
        ),
        "refusals": Table.of(
            ("site", "question", "reason", "times"), refusals, ("text", "text", "long")
        ),
        "refused": sum(refused.values()),
        "known": not problem,
    }


def write_leaving(folder: Path, history: RunHistory) -> Path:
    """Write FOLDER/privacy.html, which can be sent by itself."""
    sites = counted(len(history.site_names), "site")
    return write_page(
        folder / PAGE,
        "brainjepa_server.record",
        "privacy.html",
        title=f"What left the sites of {history.name or 'the study'}",
        subtitle=f"{sites} · {counted(len(history.rounds), 'round')}",
        leaving=leaving(folder, history),
        people=people_table(history),
    )


def people_table(history: RunHistory) -> Table | None:
    """People and scans of each site as it told them; None where none has."""
    if not history.told:
        return None
    rows = [(site, told.people, told.scans) for site, told in history.told.items()]
    return Table.of(("site", "people", "scans"), rows, ("text",))


def _lines(path: Path) -> Iterator[Mapping[str, Any]]:
    if not path.exists():
        return
    with path.open(encoding="utf-8") as file:
        yield from map(json.loads, file)


def _size(arrays: int) -> str:
    """Of arrays; numbers beside them are few, and not in the log."""
    return bytes_in_words(arrays) if arrays else "a few numbers"


def _what(name: str) -> str:
    kind, _, step = name.partition(", ")
    if step == MASKED:
        return f"{WHAT.get(kind, kind)}, under masks: only the sum over sites can be read"
    return "keys and signatures of a secure sum" if step else WHAT.get(kind, kind)


def _protections(history: RunHistory) -> Iterator[tuple[str, str]]:
    settings = history.settings
    yield (
        "contract",
        f"{history.contract}: each site's data manager approved this text, and a site answers "
        "nothing else"
        if history.contract
        else "none: virtual sites on one machine were asked, nobody had to approve",
    )
    protect = settings.get("protect")
    yield (
        "secure sums",
        "on: the coordinator gets sums over sites, and of one site nothing"
        if isinstance(protect, Mapping)
        else "off: the coordinator sees each site's answer",
    )
    yield (
        "differential privacy",
        " ".join(promise(history))
        if history.is_private
        else "off: no bound is promised on what weights tell of one person",
    )
    floors = settings.get("floors") or {}
    told = {"sites": "sites", "subjects_per_site": "people a site", "subjects": "people in all"}
    known = [f"{floors[name]} {what}" for name, what in told.items() if name in floors]
    yield (
        "floors of the study",
        f"no consensus of fewer than {', '.join(known)}" if known else "not recorded",
    )
    yield (
        "floors of each site",
        "its own policy, which a contract cannot lower; it stays at the site and is shown by "
        "brainjepa site dry-run",
    )
