"""What a hospital asks beside the table: one question, a few conditions, a row a model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from brainjepa_core.evaluation.scores.metrics import headline
from brainjepa_core.evaluation.scores.resampling import Score, score_models
from brainjepa_core.evaluation.scores.results import Comparison, Predictions, Row
from brainjepa_core.evaluation.scores.statistics import compare
from brainjepa_core.evaluation.tasks.settings import TaskData

DRAWS = 1000  # of people, for an interval
PROTOCOL = "transfer"


@dataclass(frozen=True)
class Asked:
    """A section of the page, and its rows in the table of results.

    Attributes
    ----------
    title : str
        The question.
    told : str
        What was done, and what to make of it.
    metric : str
        What all rows are of.
    conditions : tuple of str
        In their order: ``25 labels``. A row's metric is ``auc, 25 labels``.
    rows : tuple of Row
    comparisons : tuple of Comparison
        With plain connectivity, on the same people.
    """

    title: str
    told: str
    metric: str
    conditions: tuple[str, ...]
    rows: tuple[Row, ...]
    comparisons: tuple[Comparison, ...] = ()

    def named(self, condition: str) -> str:
        """The metric under a condition."""
        return under(self.metric, condition)


def under(metric: str, condition: str) -> str:
    """What a metric is called under a condition."""
    return f"{metric}, {condition}"


def judged(
    data: TaskData, predictions: Sequence[Predictions], condition: str, reference: str
) -> tuple[list[Row], list[Comparison], Mapping[str, Score]]:
    """Rows of the metric that a task is judged by, under a condition, and scores by model.

    Repetitions are draws of who is labelled: means are over them, intervals over tested people.
    """
    task = data.task
    metric = headline(task.kind, task.within_site)
    found = score_models(data, predictions, DRAWS)
    scores = {model: {metric: each[metric]} for model, each in found.items()}
    rows = [each[metric].row(model, task, PROTOCOL, metric) for model, each in scores.items()]
    pairs = {model: reference for model in scores if model != reference}
    against = compare(scores, pairs, task, PROTOCOL)
    called = under(metric, condition)
    return (
        [replace(row, metric=called) for row in rows],
        [replace(one, metric=called) for one in against],
        {model: each[metric] for model, each in scores.items()},
    )
