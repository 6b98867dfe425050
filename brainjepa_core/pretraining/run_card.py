"""The card of a model that was pretrained on one machine."""

from __future__ import annotations

from collections import Counter

from brainjepa_core.models.interface import ModelShape
from brainjepa_core.models.sharing.card import ModelCard, SiteData
from brainjepa_core.pretraining.settings import PretrainingSettings
from brainjepa_core.problems import counted, rounded_down
from brainjepa_core.signals.windows import Windows

ROUNDED_TO = 10  # people and scans of a site, as a site's policy rounds them by default


def run_card(
    name: str, windows: Windows, study: PretrainingSettings, sizes: ModelShape
) -> ModelCard:
    """What is told of a run; people and scans in tens."""
    names = [store.path.name for store in windows.stores]  # perhaps one of several
    people = Counter(person.store for person in windows.people)
    scans: Counter[int] = Counter()
    for person in windows.people:
        scans[person.store] += len(person.records)
    told = [[rounded_down(n, ROUNDED_TO) for n in (people[s], scans[s])] for s in people]
    sites = [SiteData(names[s], *counts) for s, counts in zip(people, told, strict=True)]
    return ModelCard(
        name=name,
        summary="A model of brain activity, pretrained without labels on the scans of "
        f"{counted(len(people), 'store')} pooled on one machine.",
        sites=tuple(sorted(sites, key=lambda site: site.name)),
        recipe=recipe_sentences(study, sizes),
        privacy=(
            "Scans were pooled on one machine, where the model was trained.",
            "Training had no differential privacy: weights may tell who was trained on.",
        ),
    )


def recipe_sentences(study: PretrainingSettings, sizes: ModelShape) -> tuple[str, ...]:
    """Family, sizes and schedule in words."""
    training, schedule = study.training, study.training.schedule
    return (
        f"{study.family}, size {study.preset}, recipe {study.recipe}: windows of {sizes.rois} "
        f"regions x {sizes.frames} frames, {sizes.tokens} tokens.",
        f"{counted(schedule.total_steps, 'optimiser step')} of "
        f"{counted(training.batch_size, 'person', 'people')}, seed {training.seed}.",
    )
