"""Small tasks of people without scans, for tests of methods that read features."""

from __future__ import annotations

import numpy as np

from brainjepa_core.evaluation.tasks.protocols import Split
from brainjepa_core.evaluation.tasks.settings import TaskData, TaskSettings

NOBODY = np.array([], np.int64)


def make_task(target, classes=(), sites=None, covariates=None, facts=None) -> TaskData:
    """A task of people 0 .. n - 1: classification where classes are named."""
    target = np.asarray(target, np.float64)
    n = len(target)
    kind = "classification" if classes else "regression"
    return TaskData(
        task=TaskSettings(name="made_up", column="outcome", kind=kind),
        people=np.arange(n),
        sites=np.array(["A", "B"])[np.arange(n) % 2] if sites is None else np.asarray(sites),
        target=target,
        classes=tuple(classes),
        covariates=np.zeros((n, 0)) if covariates is None else np.asarray(covariates, np.float64),
        facts=tuple({} for _ in range(n)) if facts is None else tuple(facts),
    )


def one_split(n: int, seed: int = 0, validation: bool = True) -> Split:
    """A quarter tested, a fifth of the rest for validation (or none)."""
    order = np.random.default_rng(seed).permutation(n)
    test, rest = np.sort(order[: n // 4]), order[n // 4 :]
    chosen = np.sort(rest[: len(rest) // 5]) if validation else NOBODY
    return Split("one", 0, np.setdiff1d(rest, chosen), chosen, test)


def folds_of_task(data: TaskData, seed: int, folds: int = 5) -> list[Split]:
    """Folds whose tested parts are everybody; nobody validates."""
    fold = np.random.default_rng(seed).permutation(len(data)) % folds
    return [
        Split(f"fold {k}", seed, np.flatnonzero(fold != k), NOBODY, np.flatnonzero(fold == k))
        for k in range(folds)
    ]


def site_splits(data: TaskData) -> list[Split]:
    """Each site tested by all others."""
    return [
        Split(f"without {s}", 0, np.flatnonzero(data.sites != s), NOBODY, np.flatnonzero(rows))
        for s in np.unique(data.sites)
        for rows in [data.sites == s]
    ]


def held_out(method, data: TaskData, splits: list[Split]) -> np.ndarray:
    """Predictions of everybody, [n] or the second class's scores [n]."""
    scores = np.full(len(data), np.nan)
    for split in splits:
        found = method.predict(data, split)
        scores[split.test] = found[:, 1] if data.classes else found
    return scores
