"""The cards of a study's models, from what the study has recorded so far."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from pathlib import Path

from brainjepa_core.models.sharing.card import Figure, ModelCard, SiteData, write_card
from brainjepa_core.problems import counted
from brainjepa_server.record.history import FEDERATED, RunHistory, is_alone, read_history
from brainjepa_server.reporting.methods import basis_in_words
from brainjepa_server.reporting.protections import protections
from brainjepa_server.reporting.verdict import Comparison, verdict
from brainjepa_server.study_folder import BEST, FINAL
from brainjepa_server.tasks.report_file import task_of, task_reports


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
    for path, report in task_reports(folder).items():
        if report is not None and report.made_from.get("model") == which:
            for row in report.rows:
                metric = f"{row.metric}{f', {row.unit}' if row.unit else ''}"
                yield Figure(row.model, task_of(path), metric, row.mean, people=row.n)
