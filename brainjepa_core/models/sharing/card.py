"""A model's card: ``README.md`` beside its weights, in the form of the Hugging Face Hub.

A YAML head for programs, and below it what somebody who is handed the model has to know.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from jinja2 import Environment, PackageLoader, StrictUndefined, Template

from brainjepa_core.files import atomic_path
from brainjepa_core.models.checkpoint import Description, read_description

CARD = "README.md"
TEXT = "card.md"
INDEX = "model-index"
UNKNOWN = "not known"
# In the Hub's list of licences, "unknown" is a word of its own.
NO_LICENCE = "unknown"
UNSTATED = (
    "Not stated. Weights made from data are under the terms of the data: whoever hands this model "
    "on states them here, and in the head above."
)
LIMITS = (
    "For research. It is not fit for decisions about a person.",
    "Nothing is promised of people, scanners or illnesses unlike those above: evaluate it on your "
    "own (`brainjepa evaluate`, `brainjepa site evaluate`).",
    "Signals have to be of the regions of its atlas, by name, and cleaned as those that it learned "
    "from.",
)
_IDENTIFIER = re.compile(r"[a-z0-9][a-z0-9.+-]*")


@dataclass(frozen=True)
class SiteData:
    """How many people and scans of a site a model was trained on; None where it is not known."""

    name: str
    people: int | None = None
    scans: int | None = None


@dataclass(frozen=True)
class Figure:
    """One number that was measured, with its 95 % interval and people where they are known."""

    model: str
    outcome: str
    metric: str
    value: float | None
    low: float | None = None
    high: float | None = None
    people: int | None = None


@dataclass(frozen=True, kw_only=True)
class ModelCard:
    """What a card says beside what the model's folder knows of itself.

    Attributes
    ----------
    name, summary : str
    use : str
        Of using it, in Markdown, beside what is true of every model.
    sites : tuple of SiteData
    data, recipe, privacy, measured, limits : tuple of str
        Sentences.
    figures : tuple of Figure
        Those of `own` are in the head too.
    own : str
        What `figures` call the model that this is the card of.
    """

    name: str
    summary: str
    use: str = ""
    sites: tuple[SiteData, ...] = ()
    data: tuple[str, ...] = ()
    recipe: tuple[str, ...] = ()
    privacy: tuple[str, ...] = ()
    figures: tuple[Figure, ...] = ()
    own: str = ""
    measured: tuple[str, ...] = ()
    limits: tuple[str, ...] = field(default=LIMITS)


def card_text(card: ModelCard, described: Description) -> str:
    """A card in Markdown, its licence not stated."""
    told = described.provenance
    return template(TEXT).render(
        card=card,
        family=described.family.name,
        settings=described.settings,
        told=told,
        signals=", ".join(f"{name} {value}" for name, value in told.signals.items()),
        licence=NO_LICENCE,
        unstated=UNSTATED,
        results=_results(card),
    )


def write_card(folder: str | Path, card: ModelCard) -> None:
    """Write ``FOLDER/README.md`` of a model's folder, replacing it in one step."""
    text = card_text(card, read_description(folder))
    with atomic_path(Path(folder) / CARD) as temporary:
        temporary.write_text(text, encoding="utf-8")


def read_card(folder: str | Path, name: str) -> str:
    """The card in a model's folder; where it has none, what the folder says of itself."""
    path = Path(folder) / CARD
    if path.is_file():
        return path.read_text(encoding="utf-8", errors="replace")
    return card_text(
        ModelCard(name=name, summary="A model of brain activity."), read_description(folder)
    )


def with_licence(text: str, licence: str) -> str:
    """A card that states the licence of the data.

    Parameters
    ----------
    text : str
        The card.
    licence : str
        A word such as ``cc-by-nc-sa-3.0``, as the Hub's list has it, or any other in words.

    Raises
    ------
    ValueError
        If there is no licence, or the card states one.
    """
    licence = " ".join(licence.split())
    if not licence:
        raise ValueError(
            "expected the licence of the data, such as cc-by-nc-sa-3.0, found none; leave the "
            "option out where it is not known"
        )
    if UNSTATED not in text:
        raise ValueError(
            f"expected a card that does not state the licence of its data, found a {CARD} that "
            "does; leave the option out, or correct the card"
        )
    word = licence.lower()
    head = f"license: {word}"
    if not _IDENTIFIER.fullmatch(word):
        head = f"license: other\nlicense_name: {re.sub('[^a-z0-9]+', '-', word).strip('-')}"
    text = text.replace(f"license: {NO_LICENCE}", head, 1)
    return text.replace(UNSTATED, f"{_line(licence)}. The weights are under the same terms.", 1)


@cache
def template(name: str) -> Template:
    """A text beside this file, with what makes figures and names of others fit for Markdown."""
    found = Environment(
        loader=PackageLoader("brainjepa_core.models.sharing", "."),
        autoescape=False,  # Markdown; what comes from elsewhere goes through `_line` and `_cell`
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    helpers = {"line": _line, "cell": _cell, "known": _known, "number": _number}
    found.globals |= helpers | {"interval": _interval}
    return found.get_template(name)


def _results(card: ModelCard) -> str:
    """The Hub's ``model-index`` of the model's own figures, as YAML; empty without any."""
    own = [figure for figure in card.figures if figure.model == card.own]
    results = hub_results(own, "people of the sites")
    if not results:
        return ""
    return yaml_text({INDEX: [{"name": _line(card.name), "results": results}]})


def hub_results(figures: Sequence[Figure], whose: str) -> list[dict[str, Any]]:
    """What is known of figures, as results of the Hub's ``model-index``."""
    return [
        {
            "task": {"type": "feature-extraction"},
            "dataset": {"type": "other", "name": f"{_line(f.outcome)}, {whose}"},
            "metrics": [{"type": _line(f.metric), "value": round(f.value, 4)}],
        }
        for f in figures
        if f.value is not None
    ]


def yaml_text(head: dict[str, Any]) -> str:
    """Of a card's head."""
    return str(yaml.safe_dump(head, sort_keys=False, allow_unicode=True))


def _line(text: object) -> str:
    """One line; names and reasons come from other machines, and bring no HTML."""
    shown = "".join(c if c.isprintable() else " " for c in str(text))
    return " ".join(shown.split()).replace("<", "&lt;")


def _cell(text: object) -> str:
    return _line(text).replace("|", "\\|")


def _known(value: Any) -> str:
    return UNKNOWN if value is None else str(value)


def _number(value: float | None) -> str:
    return UNKNOWN if value is None else f"{value:.3f}"


def _interval(figure: Figure) -> str:
    if figure.low is None or figure.high is None:
        return UNKNOWN
    return f"{figure.low:.3f} to {figure.high:.3f}"
