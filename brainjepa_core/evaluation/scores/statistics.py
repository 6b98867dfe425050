"""Whether one model does better than another on the same people, and by how much.

Shapes: Q repetitions, D draws of people.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import t as student

from brainjepa_core.arrays import Float64
from brainjepa_core.evaluation.scores.metrics import metric_unit
from brainjepa_core.evaluation.scores.resampling import (
    DRAWS,
    Score,
    percentile_interval,
    score_models,
)
from brainjepa_core.evaluation.scores.results import (
    Comparison,
    OverSites,
    Predictions,
    Results,
)
from brainjepa_core.evaluation.scores.subgroups import score_subgroups
from brainjepa_core.evaluation.tasks.settings import TaskData, TaskSettings


def evaluate_predictions(
    data: TaskData,
    predictions: Sequence[Predictions],
    protocol: str,
    reference: str | None = None,
    controls: Mapping[str, str] | None = None,
    *,
    draws: int = DRAWS,
    seed: int = 0,
) -> Results:
    """Everything the tables hold, from what the models predicted.

    Parameters
    ----------
    data : TaskData
    predictions : sequence of Predictions
        One or more models, with the same splits.
    protocol : str
        Its name in the tables.
    reference : str, optional
        Model that all others are compared with: the connectivity baseline.
    controls : mapping of str to str, optional
        By model, what it must beat to have learned anything: the same with random weights.
    draws : int
        Bootstrap draws of people.
    seed : int

    Raises
    ------
    ValueError
        See `brainjepa_core.evaluation.scores.resampling.score_models` and `compare`.
    """
    scores = score_models(data, predictions, draws, seed)
    comparisons: list[Comparison] = []
    for pairs in (
        {model: reference for model in scores if reference not in (None, model)},
        controls or {},
    ):
        repeated = corrected_share(predictions[0]) if pairs else None
        comparisons += compare(scores, pairs, data.task, protocol, repeated)
    subgroups, gaps = score_subgroups(data, predictions, protocol, draws=draws, seed=seed)
    rows = [
        score.row(model, data.task, protocol, metric)
        for model, metrics in scores.items()
        for metric, score in metrics.items()
    ]
    over_sites = _over_sites(scores, comparisons, data, predictions[0], protocol)
    return Results(
        tuple(rows), tuple(subgroups), tuple(comparisons), tuple(gaps), tuple(over_sites)
    )


def _over_sites(
    scores: dict[str, dict[str, Score]],
    comparisons: Sequence[Comparison],
    data: TaskData,
    tested: Predictions,
    protocol: str,
) -> Iterator[OverSites]:
    """Every figure, and every difference that is compared, with its interval over sites."""
    task, rows = data.task, np.unique(np.concatenate([split.test for split in tested.splits]))
    sites = len(np.unique(data.sites[rows]))
    pairs = [(model, "") for model in scores] + [(c.model, c.against) for c in comparisons]
    for model, against in dict.fromkeys(pairs):
        for metric, score in scores[model].items():
            value, draws = score.mean, score.site_draws
            if against:
                value = value - scores[against][metric].mean
                draws = draws - scores[against][metric].site_draws
            if len(draws):
                unit = metric_unit(metric, task.target_unit)
                bounds = percentile_interval(draws)
                names = (model, task.name, protocol, metric)
                yield OverSites(*names, value, *bounds, sites, against, unit)


def compare(
    scores: dict[str, dict[str, Score]],
    pairs: Mapping[str, str],
    task: TaskSettings,
    protocol: str,
    repeated: float | None = None,
) -> list[Comparison]:
    """Each model less the one it is compared with, by the paired bootstrap over people.

    p values invert the interval: twice the smaller share of draws on either side of no
    difference, with one draw added to each so that none is 0 [1]_. Holm's correction takes the
    pairs of one metric as a family.

    Parameters
    ----------
    scores : dict
        Of `brainjepa_core.evaluation.scores.resampling.score_models`.
    pairs : mapping of str to str
        By model, the one it is compared with.
    task : TaskSettings
    protocol : str
        Its name in the tables.
    repeated : float, optional
        Tested people for each trained one in a repeated hold-out, see `corrected_share`.

    Raises
    ------
    ValueError
        If one of the models was not scored.

    References
    ----------
    .. [1] Davison and Hinkley (1997), Bootstrap Methods and their Application, 4.
    """
    for model in (*pairs, *pairs.values()):
        if model not in scores:
            raise ValueError(
                f"task {task.name}: expected one of the models {sorted(scores)} to compare, found "
                f"{model!r}; choose one of them or add it to the evaluation"
            )
    found = []
    for metric in next(iter(scores.values())):
        both = [(scores[model][metric], scores[other][metric]) for model, other in pairs.items()]
        p = [bootstrap_p(score.draws - base.draws) for score, base in both]
        unit = metric_unit(metric, task.target_unit)
        parts = zip(pairs.items(), both, p, holm(p), strict=True)
        for (model, other), (score, base), p_one, p_all in parts:
            low, high = percentile_interval(score.draws - base.draws)
            by_seed = score.repetitions - base.repetitions
            t_test = np.nan if repeated is None else corrected_resampled_p(by_seed, repeated)
            difference = score.mean - base.mean
            found.append(
                Comparison(
                    model, other, task.name, protocol, metric, difference, low, high, p_one,
                    float(p_all), t_test, unit,
                )
            )  # fmt: skip
    return found


def bootstrap_p(differences: Float64) -> float:
    """Two-sided p value [0, 1] of no difference, from draws [D] of the difference.

    NaN where no draw is finite.
    """
    known = differences[np.isfinite(differences)]
    if not len(known):
        return np.nan
    fewer = min((known <= 0).sum(), (known >= 0).sum())
    return float(min(1.0, 2 * (fewer + 1) / (len(known) + 1)))


def holm(p: ArrayLike) -> Float64:
    """Correct p values for their number by Holm's step-down method (1979).

    Parameters
    ----------
    p : array_like
        NaN stays NaN and does not count.
    """
    values = np.asarray(p, np.float64)
    order = np.argsort(values)[: np.isfinite(values).sum()]  # NaN is sorted last
    corrected = np.full(values.shape, np.nan)
    steps = values[order] * np.arange(len(order), 0, -1)
    corrected[order] = np.minimum(1, np.maximum.accumulate(steps))
    return corrected


def corrected_share(predictions: Predictions) -> float | None:
    """Tested people for each trained one, where every repetition is a split of its own.

    None where the corrected t-test does not apply: one repetition, several splits in one, or the
    same people tested in all.
    """
    splits = predictions.splits
    apart = len({split.repetition for split in splits}) == len(splits) > 1
    if not apart or len({tuple(sorted(split.test.tolist())) for split in splits}) == 1:
        return None
    trained = sum(len(split.train) + len(split.validation) for split in splits)
    return sum(len(split.test) for split in splits) / trained


def corrected_resampled_p(differences: Float64, share: float) -> float:
    """Two-sided p value over repetitions whose training parts overlap.

    Parameters
    ----------
    differences : ndarray [Q]
    share : float
        Tested people for each trained one: the variance is taken as 1/Q + share of the spread,
        since repetitions are not independent.

    Returns
    -------
    float
        NaN with fewer than two repetitions or without any spread.

    References
    ----------
    Nadeau and Bengio (2003), Inference for the generalization error, Machine Learning 52.
    """
    count = len(differences)
    spread = differences.var(ddof=1) if count > 1 else np.nan
    if not spread > 0:
        return np.nan
    statistic = differences.mean() / np.sqrt((1 / count + share) * spread)
    return float(2 * student.sf(abs(statistic), count - 1))
