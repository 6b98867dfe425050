"""Tasks of made-up people for tests of what learns from labels."""

from __future__ import annotations

import numpy as np

from brainjepa_core.evaluation.tasks.protocols import Split
from brainjepa_core.evaluation.tasks.settings import TaskData, TaskSettings


def task_of(target, *, classes: tuple[str, ...] = (), covariates=None, people=None) -> TaskData:
    """Everybody's data of a task; classes make it a classification."""
    target = np.asarray(target, np.float64)
    n = len(target)
    return TaskData(
        TaskSettings(
            name="made-up", column="y", kind="classification" if classes else "regression"
        ),
        np.arange(n) if people is None else np.asarray(people),
        np.array(["here"] * n),
        target,
        classes,
        np.zeros((n, 0)) if covariates is None else np.asarray(covariates, np.float64),
        tuple({} for _ in range(n)),
    )


def split_of(n: int, seed: int = 0, repetition: int = 0, validation: float = 0.2) -> Split:
    """60 % train (and what validation leaves), 20 % test."""
    order = np.random.default_rng(seed).permutation(n)
    test, chosen = n // 5, int(validation * n)
    parts = order[test + chosen :], order[test : test + chosen], order[:test]
    return Split("seed 0", repetition, *parts)
