"""The cards of a study's models, from what the study has recorded so far."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Any

from brainjepa_core.models.sharing.card import Figure, ModelCard, SiteData, write_card
from brainjepa_core.problems import counted
from brainjepa_server.record.history import FEDERATED, RunHistory, is_alone, read_history
from brainjepa_server.record.methods import basis_in_words
from brainjepa_server.record.protections import protections
from brainjepa_server.record.verdict import Comparison, verdict
from brainjepa_server.study_folder import BEST, FINAL


def write_cards(folder: str | Path) -> None:
    """Write ``README.md`` into the model folders that a study's folder holds, in the place of old.

    Raises
    ------
    ValueError
        If the study's record is damaged.
    """
    folder = Path(folder)
    history = read_history(folder)
    for name in (FINAL, BEST):
        if (folder / name).is_dir():
            write_card(folder / name, study_card(folder, history, name))


def study_card(folder: Path, history: RunHistory, which: str) -> ModelCard:
    """What is told of a study's `which` model, ``final`` or ``best``."""
    used = history.used_sites
    comparison = Comparison.of(history)
    same = which == BEST or comparison.round in (None, len(history.rounds))
    return ModelCard(
        name=f"{history.name}, {'the last round' if which == FINAL else 'the best round'}",
        summary="A model of brain activity, pretrained without labels by "
        f"{counted(len(used), 'site')} together; scans stayed at their sites.",
        sites=tuple(_site(history, name) for name in used),
        data=(f"The basis is of {whose}.",) if (whose := basis_in_words(history)) else (),
        recipe=tuple(_recipe(history)),
        privacy=tuple(chain.from_iterable(protections(history).values())),
        figures=(*_yardstick(comparison), *_tasks(folder, which)),
        own=FEDERATED if same else "",
        measured=tuple(verdict(history)[1:]),
    )


def _site(history: RunHistory, name: str) -> SiteData:
    told = history.told.get(name)
    return SiteData(name) if told is None else SiteData(name, told.people, told.scans)


def _recipe(history: RunHistory) -> Iterator[str]:
    pretraining = history.settings.get("pretraining", {})
    rounds, training = history.settings.get("rounds", {}), pretraining.get("training", {})
    known = {
        name: pretraining[name] for name in ("family", "preset", "recipe") if name in pretraining
    }
    if known:
        yield ", ".join(f"{name} {value}" for name, value in known.items())
    if "local_steps" in rounds:
        yield (
            f"{counted(len(history.rounds), 'round')} of {rounds['local_steps']} optimiser steps "
            f"at each site, batch {training.get('batch_size')}, seed {training.get('seed')}"
        )
    if (how := history.settings.get("aggregation", {}).get("combine")) is not None:
        yield f"updates combined by {how}"
    if history.settings.get("start_from") is not None:
        yield "it began with the weights of an earlier model, whose data are not in the table above"


def _yardstick(comparison: Comparison) -> Iterator[Figure]:
    """Rows of the pools that the verdict is about; of sites alone it tells the mean."""
    for row in comparison.rows:
        if row.pool == comparison.pool_of(row.outcome) and not is_alone(row.model):
            yield Figure(row.model, f"{row.outcome}, by {row.pool}", "r2", row.r2)


def _tasks(folder: Path, which: str) -> Iterator[Figure]:
    for path in sorted(folder.glob("task-*.json")):
        try:
            report = json.loads(path.read_text("utf-8"))
            asked_of = report["made_from"]["model"]
            rows = [_task_row(path.stem.removeprefix("task-"), row) for row in report["rows"]]
        except (OSError, ValueError, TypeError, KeyError, AttributeError):
            continue  # the page says that it cannot be read
        if asked_of == which:
            yield from rows


def _task_row(task: str, row: Mapping[str, Any]) -> Figure:
    unit = f", {row['unit']}" if row["unit"] else ""
    value, people = row["mean"], row["n"]
    return Figure(row["model"], task, f"{row['metric']}{unit}", value, people=people)
