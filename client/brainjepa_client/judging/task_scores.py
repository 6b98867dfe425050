"""Metrics of methods on a site's own people, by a protocol within the site."""

from __future__ import annotations

import numpy as np

from brainjepa_client.guarding.policy import Refusal
from brainjepa_client.settings import PolicySettings
from brainjepa_core.arrays import Float64
from brainjepa_core.evaluation.features.adjustment import target_of_covariates
from brainjepa_core.evaluation.methods.method import Method
from brainjepa_core.evaluation.scores.site_metrics import metrics_of
from brainjepa_core.evaluation.tasks.protocols import Split
from brainjepa_core.evaluation.tasks.settings import TaskData


def cross_validated(
    method: Method, data: TaskData, splits: list[Split], policy: PolicySettings
) -> dict[str, float]:
    """Metrics of each repetition's tested people together, averaged over repetitions.

    For a regression they are of what covariates do not tell.

    Raises
    ------
    Refusal
        If fewer people of a class are tested than the policy lets scores be of.
    """
    found: dict[str, list[float]] = {}
    for repetition in sorted({split.repetition for split in splits}):
        target, predicted = [], []
        for split in (s for s in splits if s.repetition == repetition):
            told = np.zeros(len(data))
            if not data.classes:
                training = np.union1d(split.train, split.validation)
                told = target_of_covariates(data, training)
            target.append((data.target - told)[split.test])
            values = method.predict(data, split).reshape(len(split.test), -1)
            predicted.append(values - told[split.test, None])
        tested = np.concatenate(target)
        _require_tested(data, tested, policy)
        kind = data.task.kind
        for name, value in metrics_of(kind, tested, np.concatenate(predicted)).items():
            found.setdefault(name, []).append(value)
    return {name: float(np.mean(values)) for name, values in found.items()}


def _require_tested(data: TaskData, tested: Float64, policy: PolicySettings) -> None:
    fewest = len(tested)
    if data.classes:
        fewest = int(np.bincount(tested.astype(np.int64), minlength=len(data.classes)).min())
    if fewest < policy.min_people_a_class:
        raise Refusal(
            f"this site's policy asks for at least {policy.min_people_a_class} tested people in "
            "each class (policy.min_people_a_class), and the protocol tests fewer; use kfold"
        )
