"""Two classes as a clinician asks of them: at a threshold, and whether probabilities hold.

Shapes: t tested rows.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from scipy import stats
from sklearn.metrics import brier_score_loss

from brainjepa_core.arrays import Float64
from brainjepa_core.evaluation.report.result_figures import (
    colors_of,
    legend_beside,
    short_name,
    unit_square,
)
from brainjepa_core.evaluation.scores.pooled import Pooled
from brainjepa_core.evaluation.scores.resampling import pooled_together
from brainjepa_core.evaluation.scores.results import Predictions
from brainjepa_core.evaluation.tasks.settings import TaskData
from brainjepa_core.pages.table import Cell, Table

BINS = 5  # of predicted probability, as many people in each
HEADINGS = ("model", "sensitivity", "specificity", "PPV", "NPV", "Brier score")


def clinical_table(data: TaskData, predictions: Sequence[Predictions]) -> Table | None:
    """Rates at each model's own threshold, with Wilson's intervals; None but for two classes.

    The second class is the one to find. A person who is tested in several repetitions counts once
    in the intervals.
    """
    if len(data.classes) != 2:
        return None
    rows = []
    for each in predictions:
        pool = pooled_together(data, each)
        has, told = pool.truth == 1, pool.values[:, 1] > pool.values[:, 0]
        chance = probability(pool)
        brier = "–" if chance is None else f"{brier_score_loss(pool.truth, chance):.3f}"
        rates = [_rate(pool, told, has), _rate(pool, ~told, ~has)]
        rates += [_rate(pool, has, told), _rate(pool, ~has, ~told)]
        rows.append((each.model, *rates, brier))
    return Table.of(HEADINGS, rows, ("name",))


def _rate(pool: Pooled, hit: np.ndarray, among: np.ndarray) -> Cell:
    """Share of hits among some rows; a dash where there is nobody."""
    if not among.any():
        return Cell("–")
    rate, people = float(hit[among].mean()), len(np.unique(pool.rows[among]))
    low, high = wilson(rate, people)
    return Cell(f"{rate:.2f}", below=(f"{low:.2f} to {high:.2f}",))


def wilson(rate: float, people: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a share (1927, doi:10.1080/01621459.1927.10502953)."""
    z = float(stats.norm.ppf(0.975))
    middle = (rate + z**2 / (2 * people)) / (1 + z**2 / people)
    reach = z / (1 + z**2 / people) * np.sqrt(rate * (1 - rate) / people + z**2 / (4 * people**2))
    return max(0.0, middle - reach), min(1.0, middle + reach)


def probability(pool: Pooled) -> Float64 | None:
    """Probability [t] of the second class; None where a model gives scores that are none."""
    values = pool.values
    if values.min() < 0 or not np.allclose(values.sum(1), 1.0, atol=1e-6):
        return None
    return np.asarray(values[:, 1], np.float64)


def calibration_figure(
    data: TaskData, predictions: Sequence[Predictions], reference: str | None = None
) -> Figure | None:
    """Of people who are given a probability, how many have the second class.

    None but for two classes and a model that gives probabilities. Models without are not drawn.
    """
    if len(data.classes) != 2:
        return None
    pools = {each.model: pooled_together(data, each) for each in predictions}
    known = {model: p for model, pool in pools.items() if (p := probability(pool)) is not None}
    if not known:
        return None
    across = f"predicted probability of {short_name(data.classes[1])}"
    figure, ax = unit_square(across, "share who have it", diagonal="perfect")
    colors = colors_of(pools, reference)  # as in the picture of all models
    for model, chance in known.items():
        told, found = reliability(chance, pools[model].truth)
        (line,) = ax.plot(told, found, "o-", color=colors[model], linewidth=1.4, markersize=4)
        line.set_label(short_name(model))
    legend_beside(figure)
    return figure


def reliability(chance: Float64, truth: Float64) -> tuple[Float64, Float64]:
    """Mean probability and share of the second class in each fifth of people by probability."""
    order = np.argsort(chance, kind="stable")
    parts = [part for part in np.array_split(order, BINS) if len(part)]
    told = np.array([chance[part].mean() for part in parts])
    return told, np.array([truth[part].mean() for part in parts])
