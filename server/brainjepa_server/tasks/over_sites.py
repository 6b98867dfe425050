"""What sites say of a task, each of its own people: means over sites and how sure they are."""

from __future__ import annotations

from collections.abc import Mapping

from brainjepa_core.problems import counted
from brainjepa_core.wire.messages import CONNECTIVITY, NO_MODELS, NOTHING
from brainjepa_server.record.over_sites import OverSites

JUDGED = ("auc", "r", "balanced accuracy", "r2")  # the first that is known

Scores = Mapping[str, Mapping[str, Mapping[str, float | None]]]  # by site, model and metric


def judged_by(scores: Scores) -> str | None:
    """The metric that the task is judged by; None where no site told one."""
    known = {metric for site in scores.values() for model in site.values() for metric in model}
    return next((metric for metric in JUDGED if metric in known), None)


def models_of(scores: Scores) -> list[str]:
    """Models in the order of the sites' answers, plain connectivity first of those that learn."""
    return list(dict.fromkeys(model for site in scores.values() for model in site))


def values_of(scores: Scores, model: str, metric: str) -> dict[str, float]:
    """A model's known figures by site."""
    found = {site: told.get(model, {}).get(metric) for site, told in scores.items()}
    return {site: value for site, value in found.items() if value is not None}


def verdict(scores: Scores, metric: str, label: str) -> list[str]:
    """Whether the model tells more than plain connectivity does, at how many sites."""
    plain = values_of(scores, CONNECTIVITY, metric)
    sentences, better = [], []
    for model in models_of(scores):
        values = values_of(scores, model, metric)
        if not values:
            continue
        over = "mean over " if len(values) > 1 else ""
        told = f"{model}: {label} {OverSites.of([*values.values()])}, {over}"
        told += counted(len(values), "site")
        both = sorted(values.keys() & plain.keys()) if model not in (NOTHING, CONNECTIVITY) else []
        if both:
            gain = OverSites.of([values[site] - plain[site] for site in both])
            ahead = sum(values[site] > plain[site] for site in both)
            told += f"; less connectivity {gain}, ahead at {ahead} of {len(both)} sites"
            if gain.low is not None and gain.low > 0 and model not in NO_MODELS:
                better.append(model)
        sentences.append(f"{told}.")
    if not plain or all(name in NO_MODELS for name in models_of(scores)):
        return ["Whether the model tells more than connectivity is not known.", *sentences]
    if better:
        pools = ", ".join(f"“{pool}”" for pool in better)
        return [f"The model tells more than connectivity, read from {pools}.", *sentences]
    return ["The model does not clearly tell more than connectivity.", *sentences]
