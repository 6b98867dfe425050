"""For whom a model works: figures by site, sex, age band and the like, and the gaps between them.

The best of several groups is always better than the worst, so a gap stands beside the one that
groups of the same sizes show when people are put into them at random. A repetition tests few
people of a small group, so predictions of all repetitions are scored together.

Shapes: n people of a task, G groups, D draws, P random groupings.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainjepa_core.arrays import Float64
from brainjepa_core.evaluation.scores.metrics import lower_is_better, metric_unit
from brainjepa_core.evaluation.scores.pooled import Pooled
from brainjepa_core.evaluation.scores.resampling import (
    DRAWS,
    Score,
    draw_scores,
    percentile_interval,
    pooled_together,
    tested_people,
)
from brainjepa_core.evaluation.scores.results import Gap, Predictions, Row
from brainjepa_core.evaluation.tasks.settings import TaskData
from brainjepa_core.signals.tables.cells import is_missing

Groups = dict[str, NDArray[np.bool_]]

FLOOR = 10  # people; smaller groups tell more of chance, and of single people
CLASS_FLOOR = 5  # people of each class that an AUC needs
AGE_BANDS = (30.0, 45.0, 60.0)  # years
MOST_VALUES = 6  # numbers with more values are cut into thirds
RANDOM_GROUPINGS = 200
METRICS = {"regression": ("r", "mae"), "classification": ("auc", "balanced accuracy")}


def groups_of(data: TaskData, column: str, floor: int = FLOOR) -> Groups:
    """The people of each value of a column, or of each band of a number.

    Parameters
    ----------
    data : TaskData
    column : str
        ``site``, or a phenotype. Ages fall into bands with limits at 30, 45 and 60 years if that
        makes two groups of `floor` people, like other numbers into thirds if not. People whose
        value is not known are in no group.
    floor : int

    Returns
    -------
    dict of ndarray of bool [n]
        By name, ``sex=F``; empty where nobody's value is known.
    """
    if column == "site":
        values: list[Any] = list(data.sites)
    else:
        values = [_known(facts.get(column)) for facts in data.facts]
    numbers = np.array([v if isinstance(v, float) else np.nan for v in values], np.float64)
    some = {value for value in values if value is not None}
    if some and all(isinstance(v, float) for v in some) and len(some) > MOST_VALUES:
        return _bands(column, numbers, floor)
    names = [None if v is None else f"{v:g}" if isinstance(v, float) else str(v) for v in values]
    return {
        f"{column}={name}": np.array([each == name for each in names])
        for name in sorted({name for name in names if name is not None})
    }


def score_subgroups(
    data: TaskData,
    predictions: Sequence[Predictions],
    protocol: str,
    *,
    floor: int = FLOOR,
    draws: int = DRAWS,
    seed: int = 0,
) -> tuple[list[Row], list[Gap]]:
    """Figures of every group of the task's subgroups, and the gap of each column.

    Parameters
    ----------
    data : TaskData
    predictions : sequence of Predictions
        With the same splits.
    protocol : str
        As the rows name it.
    floor : int
        Groups with fewer tested people have rows with NaN, and no part in gaps. So has an AUC
        with fewer than 5 people of a class.
    draws, seed : int

    Returns
    -------
    list of Row, list of Gap
        Columns with fewer than two groups of tested people are left out.
    """
    models = {each.model: pooled_together(data, each) for each in predictions}
    tested = tested_people([next(iter(models.values()))])
    rows: list[Row] = []
    gaps: list[Gap] = []
    for i, column in enumerate(data.task.subgroups):
        groups = {
            name: chosen
            for name, chosen in groups_of(data, column, floor).items()
            if chosen[tested].any()
        }
        if len(groups) < 2:
            continue
        scores = _group_scores(data, models, groups, floor, draws, [seed, 1 + i])
        for (model, metric, group), score in scores.items():
            rows.append(score.row(model, data.task, protocol, metric, group))
        for model, pool in models.items():
            for metric in METRICS[data.task.kind]:
                found = {group: scores[model, metric, group] for group in groups}
                rng = np.random.default_rng([seed, 1 + i])
                gap = _gap(data, pool, groups, metric, found, rng)
                if gap is not None:
                    unit = metric_unit(metric, data.task.target_unit)
                    gaps.append(Gap(model, data.task.name, protocol, metric, column, *gap, unit))
    return rows, gaps


def _group_scores(
    data: TaskData,
    models: dict[str, Pooled],
    groups: Groups,
    floor: int,
    draws: int,
    seed: Sequence[int],
) -> dict[tuple[str, str, str], Score]:
    """By model, metric and group; without draws or figures where there are too few people."""
    scores = {}
    people = tested_people([next(iter(models.values()))])
    for number, (group, chosen) in enumerate(groups.items()):
        members = people[chosen[people]]
        inside = {model: [pool.of(chosen)] for model, pool in models.items()}
        # Groups need draws of their own: the gap between two is one of independent people.
        enough = len(members) >= max(floor, 1)
        drawn = draw_scores(data, inside, draws, [*seed, number]) if enough else {}
        for model, (pool,) in inside.items():
            once = pool.once() if enough else {}
            for metric in METRICS[data.task.kind]:
                usable = enough and not (metric == "auc" and _lacks_a_class(data, members))
                figures = np.array([once[metric]]) if usable else np.empty(0)
                parts = drawn[model][metric] if usable else np.empty(0)
                scores[model, metric, group] = Score(figures, np.empty(0), parts, len(members))
    return scores


def _gap(
    data: TaskData,
    pool: Pooled,
    groups: Groups,
    metric: str,
    scores: dict[str, Score],
    rng: np.random.Generator,
) -> tuple[str, str, float, float, float, float, float] | None:
    """Best, worst, gap, low, high, chance and p; None with fewer than two groups of a figure."""
    sign = -1 if lower_is_better(metric) else 1
    known = sorted(
        (g for g, s in scores.items() if np.isfinite(s.mean)), key=lambda g: sign * scores[g].mean
    )
    if len(known) < 2:
        return None
    worst, best = known[0], known[-1]
    gap = sign * (scores[best].mean - scores[worst].mean)
    low, high = percentile_interval(sign * (scores[best].draws - scores[worst].draws))
    random = _random_gaps(data, pool, [groups[group] for group in known], metric, rng)
    random = random[np.isfinite(random)]
    larger = (1 + (random >= gap - 1e-12).sum()) / (1 + len(random))
    chance = float(random.mean()) if len(random) else np.nan
    return best, worst, gap, low, high, chance, float(larger)


def _random_gaps(
    data: TaskData,
    pool: Pooled,
    groups: Sequence[NDArray[np.bool_]],
    metric: str,
    rng: np.random.Generator,
) -> Float64:
    """Gaps [P] when the groups' people change places, within their class for classification."""
    label = np.full(len(data), -1)
    for number, chosen in enumerate(groups):
        label[chosen] = number
    strata = data.target if data.task.kind == "classification" else np.zeros(len(data))
    labels = np.tile(label, (RANDOM_GROUPINGS, 1))
    tested = np.isin(np.arange(len(data)), pool.rows) & (label >= 0)
    for stratum in np.unique(strata):
        members = np.flatnonzero(tested & (strata == stratum))
        labels[:, members] = rng.permuted(labels[:, members], axis=1)
    pool = pool.of(tested)
    labels = labels[:, pool.rows]
    figures = [
        pool.scores((labels == number).astype(np.float64))[metric] for number in range(len(groups))
    ]
    found: Float64 = np.max(figures, axis=0) - np.min(figures, axis=0)
    return found


def _lacks_a_class(data: TaskData, members: NDArray[np.int64]) -> bool:
    counts = np.bincount(data.target[members].astype(np.int64), minlength=len(data.classes))
    return bool(counts.min() < CLASS_FLOOR)


def _known(value: Any) -> Any:
    """A float, a text, or None where nothing is known."""
    if value is None or (isinstance(value, str) and is_missing(value)):
        return None
    if isinstance(value, bool | str | np.bool_):
        return str(value)
    number = float(value)
    return number if np.isfinite(number) else None


def _bands(column: str, numbers: Float64, floor: int) -> Groups:
    if column == "age":
        fixed = dict(_banded(column, numbers, AGE_BANDS))
        if sum(int(chosen.sum()) >= floor for chosen in fixed.values()) > 1:
            return fixed
    limits = np.unique(np.quantile(numbers[np.isfinite(numbers)], [1 / 3, 2 / 3]))
    return dict(_banded(column, numbers, tuple(float(f"{limit:.3g}") for limit in limits)))


def _banded(
    column: str, numbers: Float64, limits: Sequence[float]
) -> Iterator[tuple[str, NDArray[np.bool_]]]:
    """Groups with anybody in them, from the lowest band up; a limit belongs to the upper one."""
    band = np.where(np.isfinite(numbers), np.digitize(numbers, limits), -1)
    for i in range(len(limits) + 1):
        if i == 0:
            name = f"below {limits[0]:g}"
        elif i == len(limits):
            name = f"{limits[-1]:g} or more"
        else:
            name = f"{limits[i - 1]:g} to {limits[i]:g}"
        if (band == i).any():
            yield f"{column}={name}", band == i
