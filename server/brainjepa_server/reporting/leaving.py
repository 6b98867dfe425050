"""What left the sites of a study, how often, under what, and what was refused: for an ethics board.

Counted from the coordinator's log of answers, which has a line for each and for each that did not
come. What it made of them is in the rounds' records.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from brainjepa_core.chained_log import ChainedLog
from brainjepa_core.pages.page import write_page
from brainjepa_core.pages.table import Table
from brainjepa_core.problems import counted
from brainjepa_core.wire.messages import GRADIENTS, TRAIN
from brainjepa_server.record.history import RunHistory
from brainjepa_server.reporting.protections import protections
from brainjepa_server.reporting.words import bytes_in_words
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
WITH_COSKEWNESS = "mean connectivity and mean co-skewness of its people, once a study"
NOISED = (
    "the sum of its people's gradients of one step, each clipped, with the site's part of noise"
)
SHOWN_REASONS = 50


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
    refused: Counter[tuple[str, ...]] = Counter()
    problem = "" if (folder / RECEIVED).exists() else f"Not known: {RECEIVED} is not there."
    try:
        for line in ChainedLog(folder / RECEIVED).lines():
            of_round = line["kind"] if not line["step"] else f"{line['kind']}, {line['step']}"
            if line["refusal"]:
                refused[line["site"], of_round, line["refusal"]] += 1
                continue
            kind, size = kinds.setdefault(of_round, _Kind()), sum(line["arrays"].values())
            kind.sites.add(line["site"])
            kind.answers, kind.total = kind.answers + 1, kind.total + size
            kind.largest = max(kind.largest, size)
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        problem = f"{RECEIVED} cannot be read to its end: figures are of what comes before."
    rows = [
        (
            name, _what(name, history), len(kind.sites), kind.answers, _size(kind.largest),
            _size(kind.total),
        )
        for name, kind in kinds.items()
    ]  # fmt: skip
    headings = ("question", "what leaves", "sites", "answers", "largest", "all together")
    left_out: Counter[tuple[str, ...]] = Counter(
        item for record in history.rounds for item in record.rejected.items()
    )
    return {
        "never": NEVER,
        "problem": problem,
        "answers": Table.of(headings, rows, ("text", "name")),
        "protections": Table.of(
            ("protection", "in this study"), _protections(history), ("text", "long")
        ),
        "refused": _most_frequent(refused, "site", "question"),
        "rounds": len(history.rounds),
        "left_out": _most_frequent(left_out, "site"),
    }


def _most_frequent(reasons: Counter[tuple[str, ...]], *headings: str) -> dict[str, Any] | None:
    """How many in all, and a table of the most frequent ones; None where there are none."""
    if not reasons:
        return None
    rows = [(*key, count) for key, count in reasons.most_common(SHOWN_REASONS)]
    kinds = (*("text" for _ in headings), "long")
    return {"all": reasons.total(), "table": Table.of((*headings, "reason", "times"), rows, kinds)}


def write_leaving(
    folder: Path, history: RunHistory, left: Mapping[str, Any], people: Table | None
) -> Path:
    """Write FOLDER/privacy.html, which can be sent by itself: of `leaving` and `people_table`."""
    sites = counted(len(history.site_names), "site")
    return write_page(
        folder / PAGE,
        "brainjepa_server.reporting",
        "privacy.html",
        title=f"What left the sites of {history.name or 'the study'}",
        subtitle=f"{sites} · {counted(len(history.rounds), 'round')}",
        leaving=left,
        people=people,
    )


def people_table(history: RunHistory) -> Table | None:
    """People and scans of each site as it told them; None where none has."""
    if not history.told:
        return None
    rows = [(site, told.people, told.scans) for site, told in history.told.items()]
    return Table.of(("site", "people", "scans"), rows, ("text",))


def _size(arrays: int) -> str:
    """Of arrays; numbers beside them are few, and not in the log."""
    return bytes_in_words(arrays) if arrays else "a few numbers"


def _what(name: str, history: RunHistory) -> str:
    kind, _, step = name.partition(", ")
    told = NOISED if kind == TRAIN and history.shares_noise else WHAT.get(kind, kind)
    if kind == GRADIENTS and history.settings.get("coskewness"):
        told = WITH_COSKEWNESS
    if step == MASKED:
        return f"{told}, under masks: only the sum over sites can be read"
    return "keys and signatures of a secure sum" if step else told


def _protections(history: RunHistory) -> Iterator[tuple[str, str]]:
    if history.contract:
        yield "text that each site's manager approved", f"SHA-256 {history.contract}"
    for name, sentences in protections(history).items():
        yield name, " ".join(sentences) or "not recorded"
    yield (
        "floors of each site",
        "its own policy, which a contract cannot lower; it stays at the site and is shown by "
        "brainjepa site dry-run",
    )
