"""What models said of each person against the truth: points, ROC curves or confusion matrices."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from sklearn.metrics import confusion_matrix, roc_curve

from brainjepa_core.evaluation.report.result_figures import (
    colors_of,
    legend_beside,
    short_name,
    unit_square,
)
from brainjepa_core.evaluation.scores.pooled import Pooled
from brainjepa_core.evaluation.scores.resampling import mean_score, pooled_together
from brainjepa_core.evaluation.scores.results import Predictions
from brainjepa_core.evaluation.tasks.settings import TaskData
from brainjepa_core.pages.palette import INK, SEQUENTIAL

MOST = 4  # models


def truth_figure(
    data: TaskData, predictions: Sequence[Predictions], reference: str | None = None
) -> Figure:
    """Tested people of all splits: predicted against true values, or how classes come apart.

    Parameters
    ----------
    data : TaskData
    predictions : sequence of Predictions
        The first four are drawn.
    reference : str, optional
        Drawn in orange.

    Returns
    -------
    Figure
        Regression: a scatter plot a model. Two classes: their ROC curves, with the AUC of the
        table. More: a confusion matrix a model, in shares of the true class.
    """
    predictions = predictions[:MOST]
    pools = {each.model: pooled_together(data, each) for each in predictions}
    colors = colors_of(pools, reference)
    if len(data.classes) == 2:
        areas = {each.model: mean_score(data, each, "auc") for each in predictions}
        return _roc(pools, areas, colors, data.classes[1])
    figure = Figure(figsize=(2.75 * len(pools) + 0.4, 3.1), layout="constrained")
    panels = figure.subplots(1, len(pools), sharex=True, sharey=True, squeeze=False)[0]
    for ax, (model, pool) in zip(panels, pools.items(), strict=True):
        if data.classes:
            _confusion(ax, pool, data.classes)
        else:
            _scatter(ax, pool, colors[model], data.task.target_unit)
        ax.set_title(short_name(model), fontsize=8.5)
        ax.tick_params(labelsize=8)
    predicted = f"predicted ({data.task.target_unit})"
    panels[0].set_ylabel("true class" if data.classes else predicted, fontsize=9)
    return figure


def _roc(
    pools: dict[str, Pooled], areas: dict[str, float], colors: dict[str, str], positive: str
) -> Figure:
    up = f"sensitivity for {short_name(positive)} (true positive rate)"
    figure, ax = unit_square("1 − specificity (false positive rate)", up)
    for model, pool in pools.items():
        false, true, _ = roc_curve(pool.truth, pool.values[:, 1] - pool.values[:, 0])
        label = f"{short_name(model)}, AUC {areas[model]:.2f}"
        ax.plot(false, true, color=colors[model], linewidth=1.4, label=label)
    legend_beside(figure)
    return figure


def _scatter(ax: Axes, pool: Pooled, color: str, unit: str) -> None:
    ax.scatter(pool.truth, pool.values, s=9, color=color, alpha=0.45, linewidths=0)
    ends = [pool.truth.min(), pool.truth.max()]
    ax.plot(ends, ends, color=INK, linewidth=0.8, linestyle=":")
    ax.set_xlabel(f"true ({unit})", fontsize=9)
    ax.spines[["top", "right"]].set_visible(False)


def _confusion(ax: Axes, pool: Pooled, classes: Sequence[str]) -> None:
    labels = np.arange(len(classes))
    table = confusion_matrix(pool.truth, pool.values.argmax(1), labels=labels)
    shares = table / np.maximum(table.sum(1, keepdims=True), 1)
    ax.imshow(shares, cmap=SEQUENTIAL, vmin=0, vmax=1)
    for (true, told), share in np.ndenumerate(shares):
        color = "black" if share > 0.5 else "white"
        ax.text(told, true, f"{share:.2f}", ha="center", va="center", fontsize=8, color=color)
    names = [short_name(name) for name in classes]
    ax.set_xticks(labels, names, rotation=30, ha="right")
    ax.set_yticks(labels, names)
    ax.set_xlabel("predicted class", fontsize=9)
