"""What an evaluation found of a model, in a card that is there already."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import yaml

from brainjepa_core.models.sharing.card import (
    CARD,
    INDEX,
    Figure,
    hub_results,
    template,
    yaml_text,
)

FENCE = "---\n"  # above and below a card's head
MEASURED, NEXT = "\n## What was measured\n", "\n## "
NOTHING = "- Nothing.\n"
TABLE = "figures.md"


@dataclass(frozen=True)
class Measured:
    """Figures of one evaluation.

    Attributes
    ----------
    whose : str
        Of which people, such as ``687 people, leave_one_site_out``.
    figures : tuple of Figure
        At least one.
    own : frozenset of str
        What `figures` call the model whose card it is; theirs are in the head too.
    """

    whose: str
    figures: tuple[Figure, ...]
    own: frozenset[str]

    @property
    def heading(self) -> str:
        """Above the figures; a card has one evaluation of a heading."""
        return f"### {self.figures[0].outcome}, {self.whose}"


def with_figures(text: str, measured: Measured) -> str:
    """A card with the figures of an evaluation, in the place of those under the same heading.

    Raises
    ------
    ValueError
        If it is no card in the form of `card`.
    """
    if not text.startswith(FENCE) or text.count(FENCE) < 2 or MEASURED not in text:
        raise ValueError(
            f"expected a {CARD} with a head between two lines of --- and the heading "
            f"'{MEASURED.strip()}', found one without; leave --results out, or correct the card"
        )
    _, head, body = text.split(FENCE, 2)
    before, rest = body.split(MEASURED, 1)
    section, mark, after = rest.partition(NEXT)
    parts = [part.strip("\n") for part in section.replace(NOTHING, "").split("\n### ")]
    kept = [parts[0], *(f"### {part}" for part in parts[1:])]
    kept = [part for part in kept if part and part.split("\n", 1)[0] != measured.heading]
    table = template(TABLE).render(figures=measured.figures).strip("\n")
    section = "\n\n".join([*kept, f"{measured.heading}\n\n{table}"])
    body = f"{before}{MEASURED}\n{section}\n{mark}{after}"
    return f"{FENCE}{_head(head, body, measured)}{FENCE}{body}"


def _head(head: str, body: str, measured: Measured) -> str:
    """The card's head with the figures as results of the Hub's ``model-index``."""
    told: dict[str, Any] = yaml.safe_load(head)
    title = next(line[2:] for line in body.splitlines() if line.startswith("# "))
    (index,) = told.setdefault(INDEX, [{"name": title, "results": []}])
    results = hub_results([f for f in measured.figures if f.model in measured.own], measured.whose)
    replaced = {result["dataset"]["name"] for result in results}
    index["results"] = [r for r in index["results"] if r["dataset"]["name"] not in replaced]
    index["results"] += results
    if not index["results"]:
        del told[INDEX]
    return yaml_text(told)
