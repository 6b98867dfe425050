"""Tasks of made-up people and models that know as much of them as a test wants."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainjepa_core.evaluation.scores.results import Predictions
from brainjepa_core.evaluation.tasks.protocols import Split
from brainjepa_core.evaluation.tasks.settings import TaskData, TaskSettings

SITES = ("Leuven", "NYU", "Trinity")
NOBODY = np.empty(0, np.int64)


def task_data(
    classes: tuple[str, ...] = (), people: int = 60, seed: int = 0, **settings: Any
) -> TaskData:
    """People of three sites; regression of age unless there are classes."""
    rng = np.random.default_rng(seed)
    age = rng.uniform(10, 70, people)
    target = rng.permutation(np.arange(people) % len(classes)) if classes else age
    kind = "classification" if classes else "regression"
    column = "diagnosis" if classes else "age"
    sexes = rng.choice(["F", "M"], people)
    facts = [{"age": float(a), "sex": str(s)} for a, s in zip(age, sexes, strict=True)]
    return TaskData(
        TaskSettings(name=column, column=column, kind=kind, **settings),
        np.arange(people),
        np.array(SITES)[rng.integers(3, size=people)],
        target.astype(np.float64),
        classes,
        np.empty((people, 0)),
        tuple(facts),
    )


def sites_in_turn(data: TaskData, repetition: int = 0) -> list[Split]:
    return [
        Split(
            f"without {site}",
            repetition,
            np.flatnonzero(data.sites != site),
            NOBODY,
            np.flatnonzero(data.sites == site),
        )
        for site in np.unique(data.sites)
    ]


def holdouts(data: TaskData, seeds: int = 4) -> list[Split]:
    """6:2:2."""
    splits = []
    for seed in range(seeds):
        order = np.random.default_rng(seed).permutation(len(data))
        cuts = [int(0.6 * len(data)), int(0.8 * len(data))]
        splits.append(Split(f"seed {seed}", seed, *np.split(order, cuts)))
    return splits


def predictions(
    model: str, data: TaskData, splits: list[Split], knows: float = 1.0, seed: int = 1
) -> Predictions:
    """Truth times `knows` plus noise of the truth's size."""
    rng = np.random.default_rng(seed)
    values = [_values(data, data.target[split.test], knows, rng) for split in splits]
    return Predictions(model, splits, values)


def _values(
    data: TaskData, truth: NDArray[np.float64], knows: float, rng: np.random.Generator
) -> NDArray[np.float64]:
    if data.classes:
        noise = rng.normal(size=(len(truth), len(data.classes)))
        return noise + knows * np.eye(len(data.classes))[truth.astype(int)]
    mean, sd = data.target.mean(), data.target.std()
    return mean + knows * (truth - mean) + sd * rng.normal(size=len(truth))
