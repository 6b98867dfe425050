"""With few labels: what 25, 50, 100 or 200 labelled people of those who train are enough for.

People are drawn many times over, the same for every model. Their hospitals' other scans are there
without labels: they centre the features of their hospitals, and the consensus is of all of them.

Shapes: n people, t labelled people.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from brainjepa_core.arrays import Float64
from brainjepa_core.evaluation.asked.yardstick import Asked, judged, under
from brainjepa_core.evaluation.methods.method import Method
from brainjepa_core.evaluation.methods.readout_methods import ReadOutMethod
from brainjepa_core.evaluation.scores.metrics import headline
from brainjepa_core.evaluation.scores.results import Comparison, Predictions, Row
from brainjepa_core.evaluation.tasks.protocols import Index, Split
from brainjepa_core.evaluation.tasks.settings import TaskData
from brainjepa_core.evaluation.tasks.strata import part

LABELS = (25, 50, 100, 200)
TIMES = 30
LEAST_LEFT = 5  # unlabelled people beside the drawn ones, without whom all draws are one
NONE = math.nan
SHARE = "share of draws above"


def few_labels(
    data: TaskData,
    split: Split,
    methods: Sequence[Method],
    reference: str,
    progress: Callable[[str], None] = lambda _: None,
) -> Asked | None:
    """Curves over how many people are labelled.

    Parameters
    ----------
    data : TaskData
    split : Split
    methods : sequence of Method
        The reference among them.
    reference : str
    progress : callable
        Called with a method's name after each number of labels.

    Returns
    -------
    Asked or None
        None where fewer people train than the smallest number asks for.
    """
    everybody = np.union1d(split.train, split.validation)
    rows: list[Row] = []
    comparisons: list[Comparison] = []
    conditions = []
    metric = headline(data.task.kind, data.task.within_site)
    for count in LABELS:
        if count > len(everybody) - LEAST_LEFT:
            continue
        splits = [
            Split(f"{count} labels, draw {i}", i, drawn, drawn[:0], split.test)
            for i, drawn in enumerate(_draws(data, everybody, count))
        ]
        predictions = []
        for method in methods:
            values = _predict(method, data, splits, everybody)
            predictions.append(Predictions(method.name, splits, values))
            progress(f"{method.name}, {count} labels")
        condition = f"{count} labels"
        mine, against, scores = judged(data, predictions, condition, reference)
        rows += mine
        comparisons += against
        plain = scores[reference].repetitions
        for row in mine:
            if row.model != reference:
                own = scores[row.model].repetitions
                share = float(((own > plain) + 0.5 * (own == plain)).mean())
                called = under(f"{SHARE} {reference}", condition)
                rows.append(
                    replace(row, metric=called, mean=share, unit="", sd=NONE, low=NONE, high=NONE)
                )
        conditions.append(condition)
    if not conditions:
        return None
    told = (
        f"{TIMES} draws of people of the training hospitals whose label is known, the same for "
        "every row; scans of the others serve without their labels. Means are over draws, "
        "intervals and differences over the people tested (paired); they hold for these draws."
    )
    return Asked(
        "With few labels", told, metric, tuple(conditions), tuple(rows), tuple(comparisons)
    )


def _draws(data: TaskData, everybody: Index, count: int) -> list[Index]:
    """Labelled people of each draw, with shares of the classes as they are."""
    return [part(data, everybody, count / len(everybody), seed)[1] for seed in range(TIMES)]


def _predict(
    method: Method, data: TaskData, splits: Sequence[Split], everybody: Index
) -> list[Float64]:
    if isinstance(method, ReadOutMethod):
        return method.predict_labelled(data, splits, everybody)
    return [method.predict(data, split) for split in splits]
