"""A method's figures: predictions pooled within repetitions, scored, and resampled over people.

People are drawn with all their predictions of all repetitions, stratified by class, and the same
draws serve every model, so that differences between models are paired. The draws tell how far
the figure would move with other tested people; what other training people would change shows in
the spread over repetitions. People of a site are alike in what the site does to them: sites are
drawn whole as well, which tells how far the figure would move with other sites.

Shapes: n people, t tested rows of a repetition, Q repetitions, b draws of a chunk, D draws.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from brainjepa_core.arrays import Float64
from brainjepa_core.evaluation.scores.metrics import metric_unit
from brainjepa_core.evaluation.scores.pooled import Index, Pooled
from brainjepa_core.evaluation.scores.results import Predictions, Row
from brainjepa_core.evaluation.tasks.settings import TaskData, TaskSettings

Seed = int | Sequence[int]

DRAWS = 2000
LEAST_SITES = 3  # of which drawing sites can tell anything
CELLS = 1_000_000  # weights that are held at a time


@dataclass(frozen=True)
class Score:
    """A metric of a model.

    Attributes
    ----------
    repetitions : ndarray [Q]
    splits : ndarray
        Each split by itself.
    draws : ndarray [D]
        Mean over repetitions of every bootstrap draw of people.
    n : int
        Tested people.
    site_draws : ndarray [D]
        The same of every draw of whole sites; empty of fewer than `LEAST_SITES`.
    """

    repetitions: Float64
    splits: Float64
    draws: Float64
    n: int
    site_draws: Float64 = field(default_factory=lambda: np.empty(0))

    @property
    def mean(self) -> float:
        return _mean(self.repetitions)

    @property
    def sd(self) -> float:
        parts = self.repetitions if len(self.repetitions) > 1 else self.splits
        known = parts[np.isfinite(parts)]
        return float(known.std(ddof=1)) if len(known) > 1 else np.nan

    @property
    def interval(self) -> tuple[float, float]:
        """95 %, by percentiles."""
        return percentile_interval(self.draws)

    def row(
        self, model: str, task: TaskSettings, protocol: str, metric: str, group: str = ""
    ) -> Row:
        """As it stands in the table."""
        low, high = self.interval
        unit = metric_unit(metric, task.target_unit)
        return Row(
            model, task.name, protocol, metric, self.mean, self.sd, low, high, self.n, group, unit
        )


def score_models(
    data: TaskData, predictions: Sequence[Predictions], draws: int = DRAWS, seed: Seed = 0
) -> dict[str, dict[str, Score]]:
    """Every metric of every model, from the same draws of people.

    Parameters
    ----------
    data : TaskData
    predictions : sequence of Predictions
        Of one protocol: all have the same splits.
    draws : int
    seed : int

    Returns
    -------
    dict
        `Score` by model and metric.

    Raises
    ------
    ValueError
        If models share a name or differ in their splits, a repetition tests somebody twice, or
        predictions have a wrong shape or are not finite.
    """
    _check_models(data, predictions)
    repetitions = {p.model: pooled_repetitions(data, p) for p in predictions}
    drawn = draw_scores(data, repetitions, draws, seed)
    drawn_sites = draw_sites(data, repetitions, draws, seed)
    scores: dict[str, dict[str, Score]] = {}
    for each in predictions:
        pools = repetitions[each.model]
        alone = [_pool(data, each, [i]).once() for i in range(len(each.splits))]
        whole = [pool.once() for pool in pools]
        scores[each.model] = {
            metric: Score(
                np.array([figures[metric] for figures in whole]),
                np.array([figures[metric] for figures in alone]),
                drawn[each.model][metric],
                len(tested_people(pools)),
                drawn_sites[each.model].get(metric, np.empty(0)),
            )
            for metric in whole[0]
        }
    return scores


def mean_score(data: TaskData, predictions: Predictions, metric: str) -> float:
    """A metric as `score_models` has it: of each repetition, and then their mean."""
    return _mean(np.array([p.once()[metric] for p in pooled_repetitions(data, predictions)]))


def pooled_repetitions(data: TaskData, predictions: Predictions) -> list[Pooled]:
    """The predictions of each repetition's splits together, [Q]."""
    numbers = [split.repetition for split in predictions.splits]
    pools = []
    for number in sorted(set(numbers)):
        pool = _pool(data, predictions, [i for i, n in enumerate(numbers) if n == number])
        if len(np.unique(pool.rows)) < len(pool.rows):
            raise ValueError(
                f"task {data.task.name}: expected each person tested at most once in repetition "
                f"{number}, found {len(pool.rows)} tests of {len(np.unique(pool.rows))} people; "
                "number repetitions so that splits of one test different people"
            )
        pools.append(pool)
    return pools


def pooled_together(data: TaskData, predictions: Predictions) -> Pooled:
    """The predictions of all splits together; several repetitions test a person several times."""
    return _pool(data, predictions, range(len(predictions.splits)))


def tested_people(pools: Sequence[Pooled]) -> Index:
    """Rows of everybody whom any repetition tests, sorted."""
    return np.unique(np.concatenate([pool.rows for pool in pools]))


def draw_scores(
    data: TaskData, models: dict[str, list[Pooled]], draws: int, seed: Seed
) -> dict[str, dict[str, Float64]]:
    """Metrics [D], means over repetitions, of resampled people.

    Parameters
    ----------
    data : TaskData
    models : dict of list of Pooled
        Repetitions of models that test the same people.
    draws : int
    seed : int or sequence of int
    """
    people = tested_people(next(iter(models.values())))
    strata = data.target[people] if data.task.kind == "classification" else np.zeros(len(people))
    return _scores_under(models, people, resamples(strata, draws, seed))


def draw_sites(
    data: TaskData, models: dict[str, list[Pooled]], draws: int, seed: Seed
) -> dict[str, dict[str, Float64]]:
    """As `draw_scores`, with sites drawn instead of people, each with all that are tested there.

    Nothing of fewer than `LEAST_SITES` sites. Few sites make such intervals too narrow: of six
    there are 462 different draws.
    """
    people = tested_people(next(iter(models.values())))
    names, sites = np.unique(data.sites[people], return_inverse=True)
    if len(names) < LEAST_SITES:
        return {model: {} for model in models}
    drawn = resamples(np.zeros(len(names)), draws, seed)
    return _scores_under(models, people, (w[:, sites] for w in drawn), copies=True)


def _scores_under(
    models: dict[str, list[Pooled]], people: Index, weights: Iterable[Float64], copies: bool = False
) -> dict[str, dict[str, Float64]]:
    """Metrics [D] by model and metric under weights [b, people], means over repetitions."""
    chunks: dict[str, list[dict[str, Float64]]] = {model: [] for model in models}
    for part in weights:
        for model, pools in models.items():
            found = [p.scores(part[:, np.searchsorted(people, p.rows)], copies) for p in pools]
            means = {name: mean_of_known([f[name] for f in found]) for name in found[0]}
            chunks[model].append(means)
    return {
        model: {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        for model, parts in chunks.items()
    }


def resamples(strata: NDArray[np.generic], draws: int, seed: Seed) -> Iterator[Float64]:
    """How often each of n people is drawn, with replacement within their stratum: [b, n]."""
    rng = np.random.default_rng(seed)
    size = len(strata)
    groups = [np.flatnonzero(strata == stratum) for stratum in np.unique(strata)]
    chunk = max(1, CELLS // max(size, 1))
    for first in range(0, draws, chunk):
        count = min(chunk, draws - first)
        drawn = [group[rng.integers(len(group), size=(count, len(group)))] for group in groups]
        cells = np.hstack(drawn) + size * np.arange(count)[:, None]
        counts = np.bincount(cells.ravel(), minlength=count * size)
        yield counts.reshape(count, size).astype(np.float64)


def percentile_interval(draws: Float64) -> tuple[float, float]:
    """The middle 95 % of what is finite; NaN where nothing is."""
    known = draws[np.isfinite(draws)]
    if not len(known):
        return np.nan, np.nan
    low, high = np.quantile(known, [0.025, 0.975])
    return float(low), float(high)


def mean_of_known(values: Sequence[Float64]) -> Float64:
    """Mean over the first axis of what is not NaN; NaN where nothing is."""
    stacked = np.stack(values)
    known = np.isfinite(stacked)
    total, count = np.where(known, stacked, 0).sum(0), known.sum(0)
    found: Float64 = np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)
    return found


def _mean(values: Float64) -> float:
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else np.nan


def _pool(data: TaskData, predictions: Predictions, chosen: Sequence[int]) -> Pooled:
    splits = [predictions.splits[i] for i in chosen]
    rows = np.concatenate([split.test for split in splits])
    units = [np.full(len(split.test), data.target[split.train].std() or np.nan) for split in splits]
    names, sites = np.unique(data.sites, return_inverse=True)
    # An AUC over sites also asks whether one site's scores can be compared with another's.
    within = data.task.within_site or (bool(data.classes) and len(names) > 1)
    return Pooled(
        rows,
        data.target[rows],
        np.concatenate([predictions.values[i] for i in chosen]),
        np.concatenate(units),
        sites[rows] if within else None,
    )


def _check_models(data: TaskData, predictions: Sequence[Predictions]) -> None:
    task = f"task {data.task.name}"
    names = [each.model for each in predictions]
    if not names or len(set(names)) < len(names):
        raise ValueError(
            f"{task}: expected one or more models with different names, found {sorted(names)}; "
            "rename them"
        )
    tests = [[(s.repetition, s.test.tolist()) for s in each.splits] for each in predictions]
    for each, test in zip(predictions, tests, strict=True):
        if test != tests[0] or not test:
            raise ValueError(
                f"{task}: expected the same splits of all models, found that {each.model} differs "
                f"from {names[0]}; predict them in one evaluation"
            )
        _check_values(data, each)


def _check_values(data: TaskData, predictions: Predictions) -> None:
    classes = len(data.classes)
    for split, values in zip(predictions.splits, predictions.values, strict=True):
        shape = (len(split.test), classes) if classes else (len(split.test),)
        if values.shape != shape:
            raise ValueError(
                f"task {data.task.name}: expected predictions of shape {shape} of "
                f"{predictions.model} in {split.name}, found {values.shape}; mend the method"
            )
        wrong = int((~np.isfinite(values)).sum())
        if wrong:
            raise ValueError(
                f"task {data.task.name}: expected finite predictions, found {wrong} of "
                f"{values.size} that are not by {predictions.model} in {split.name}; a lower "
                "learning rate or more regularisation may mend it"
            )
