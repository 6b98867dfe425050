"""Pictures of an evaluation: models with their intervals, and groups of people."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from brainjepa_core.evaluation.scores.metrics import STANDARDISED, lower_is_better, plain_metric
from brainjepa_core.evaluation.scores.results import Row
from brainjepa_core.pages.palette import BLUE, CATEGORIES, GREY, GRID, INK, ORANGE

OTHERS = tuple(color for color in CATEGORIES if color != ORANGE)  # orange is the reference
LABELS = {
    "auc": "AUC",
    "f1": "F1",
    "r": "Pearson r",
    "r2": "R²",
    "mse": "MSE",
    "mae": "MAE",
    STANDARDISED: "standardised MSE",
}
LONGEST_NAME = 58  # characters of a model beside a picture: rows of signals are whole


def metric_label(metric: str, unit: str = "") -> str:
    """As headings and axes call it, with its unit where it has one."""
    plain = plain_metric(metric)
    label = LABELS.get(plain, plain) + metric.removeprefix(plain)
    return f"{label} ({unit})" if unit else label


def units_of(rows: Sequence[Row]) -> dict[str, str]:
    """Unit by metric."""
    return {row.metric: row.unit for row in rows}


def forest(
    rows: Sequence[Row],
    metrics: Sequence[str],
    reference: str | None = None,
    subjects: Sequence[str] = (),
    chance: dict[str, float] | None = None,
) -> Figure:
    """Models down the side, a panel a metric: means with 95 % intervals.

    Parameters
    ----------
    rows : sequence of Row
        Of one task and protocol; models keep their order.
    metrics : sequence of str
        At least one.
    reference : str, optional
        Its mean and interval run through the panel.
    subjects : sequence of str
        Models in question, drawn in blue.
    chance : dict, optional
        Figure of knowing nothing, by metric.
    """
    chance, units = chance or {}, units_of(rows)
    models = list(dict.fromkeys(row.model for row in rows))
    figure = Figure(figsize=(11, 1.35 + 0.27 * len(models)), layout="constrained")
    panels = figure.subplots(1, len(metrics), sharey=True, squeeze=False)[0]
    found = {(row.model, row.metric): row for row in rows}
    for ax, metric in zip(panels, metrics, strict=True):
        of_metric = [found.get((model, metric)) for model in models]
        _reference(ax, found.get((reference or "", metric)))
        if metric in chance:
            ax.axvline(chance[metric], color=INK, linewidth=1, linestyle=":")
        for place, row in enumerate(of_metric):
            color = ORANGE if models[place] == reference else GREY
            _interval(ax, row, place, BLUE if models[place] in subjects else color)
        better = "←" if lower_is_better(metric) else "→"
        label = metric_label(metric, units.get(metric, ""))
        ax.set_xlabel(f"{label}\nbetter {better}", fontsize=9)
        _tidy(ax)
    panels[0].set_yticks(range(len(models)), [short_name(model) for model in models], fontsize=8.5)
    panels[0].set_ylim(len(models) - 0.4, -0.6)
    _key(figure, reference in models, any(model in subjects for model in models), bool(chance))
    return figure


def groups(
    rows: Sequence[Row], metric: str, models: Sequence[str], reference: str | None
) -> Figure:
    """Figures of groups of people with 95 % intervals, a colour a model.

    Parameters
    ----------
    rows : sequence of Row
        Of one task and protocol, with their ``group``.
    metric : str
    models : sequence of str
        Few enough to tell their colours apart: the first seven are drawn.
    reference : str, optional
        Drawn in orange.
    """
    rows = [row for row in rows if row.metric == metric]
    names = list(dict.fromkeys(row.group for row in rows))
    if not rows:
        raise ValueError(
            f"expected rows of {metric} of groups, found none; name a metric they have"
        )
    places = _spaced(names)
    models = models[: len(OTHERS) + 1]
    figure = Figure(figsize=(9, 1.3 + 0.3 * (1 + max(places.values()))), layout="constrained")
    ax = figure.subplots()
    colors, handles = colors_of(models, reference), []
    for i, (model, color) in enumerate(colors.items()):
        offset = 0.6 * ((i + 0.5) / len(models) - 0.5)
        for row in rows:
            if row.model == model and np.isfinite(row.mean):
                _interval(ax, row, places[row.group] + offset, color, size=4)
        handles.append(_handle(color, short_name(model)))
    known = {row.group for row in rows if np.isfinite(row.mean)}
    for name in names:
        if name not in known:
            _instead(ax, "too few people", places[name], GREY)
    counts = {row.group: row.n for row in rows}
    labels = [f"{short_name(name.replace('=', ': ', 1))}  (n = {counts[name]})" for name in names]
    ax.set_yticks([places[name] for name in names], labels, fontsize=8.5)
    ax.set_ylim(max(places.values()) + 0.6, -0.6)
    ax.set_xlabel(metric_label(metric, rows[0].unit), fontsize=9)
    _tidy(ax)
    figure.legend(handles=handles, loc="outside upper left", ncols=3, fontsize=8.5, frameon=False)
    return figure


def curves(
    rows: Sequence[Row], columns: dict[str, str], label: str, reference: str | None
) -> Figure:
    """A colour a model, over conditions: figures with 95 % intervals.

    Parameters
    ----------
    rows : sequence of Row
        Of one task and protocol.
    columns : dict of str to str
        What each condition is called, by the metric of its rows.
    label : str
        Of the axis.
    reference : str, optional
        Drawn in orange.
    """
    models = list(dict.fromkeys(row.model for row in rows))
    found = {(row.model, row.metric): row for row in rows}
    figure = Figure(figsize=(9, 4.4), layout="constrained")
    ax = figure.subplots()
    colors, handles = colors_of(models, reference), []
    for i, (model, color) in enumerate(colors.items()):
        offset = 0.5 * ((i + 0.5) / len(models) - 0.5)
        here = [(p + offset, found.get((model, m))) for p, m in enumerate(columns)]
        known = [(x, row) for x, row in here if row is not None and np.isfinite(row.mean)]
        ax.plot([x for x, _ in known], [row.mean for _, row in known], color=color, alpha=0.35)
        for x, row in known:
            ax.plot([x, x], [row.low, row.high], color=color, linewidth=1.7, alpha=0.85)
            ax.plot([x], [row.mean], "o", color=color, markersize=5)
        handles.append(_handle(color, short_name(model)))
    ax.set_xticks(range(len(columns)), [short_name(name) for name in columns.values()])
    ax.tick_params(axis="x", labelsize=8.5, rotation=30 if len(columns) > 6 else 0)
    ax.set_ylabel(label, fontsize=9)
    ax.grid(axis="y", color=GRID, linewidth=0.7)
    ax.set_axisbelow(True)
    ax.spines[["top", "right"]].set_visible(False)
    figure.legend(handles=handles, loc="outside upper left", ncols=2, fontsize=8.5, frameon=False)
    return figure


def colors_of(models: Iterable[str], reference: str | None) -> dict[str, str]:
    """Orange for the reference, a colour for each other model while there are some, then grey."""
    others = iter(OTHERS)
    return {model: ORANGE if model == reference else next(others, GREY) for model in models}


def unit_square(across: str, up: str, diagonal: str | None = None) -> tuple[Figure, Axes]:
    """Axes of two shares, with room for a legend, and what their diagonal is called there."""
    figure = Figure(figsize=(6.6, 3.9), layout="constrained")
    ax = figure.subplots()
    ax.plot([0, 1], [0, 1], color=INK, linewidth=0.8, linestyle=":", label=diagonal)
    ax.set(xlim=(0, 1), ylim=(0, 1.005))
    ax.set_aspect("equal")
    ax.set_xlabel(across, fontsize=9)
    ax.set_ylabel(up, fontsize=9)
    ax.tick_params(labelsize=8)
    ax.spines[["top", "right"]].set_visible(False)
    return figure, ax


def legend_beside(figure: Figure) -> None:
    """What is drawn, at the right of a `unit_square`."""
    figure.legend(loc="outside right upper", fontsize=8.5, frameon=False)


def _spaced(names: Sequence[str]) -> dict[str, float]:
    """Places down the side, with room between columns."""
    places, place, last = {}, 0.0, ""
    for name in names:
        column = name.split("=")[0]
        place += 0.5 if last not in ("", column) else 0.0
        places[name], last = place, column
        place += 1
    return places


def _reference(ax: Axes, row: Row | None) -> None:
    if row is None or not np.isfinite(row.mean):
        return
    if np.isfinite([row.low, row.high]).all():
        ax.axvspan(row.low, row.high, color=ORANGE, alpha=0.11, linewidth=0)
    ax.axvline(row.mean, color=ORANGE, linewidth=1.1, linestyle="--")


def _instead(ax: Axes, text: str, place: float, color: str) -> None:
    axes = ("axes fraction", "data")
    ax.annotate(text, (0.02, place), xycoords=axes, fontsize=7, color=color, va="center")


def _interval(ax: Axes, row: Row | None, place: float, color: str, size: float = 6) -> None:
    """A dot and its interval, or a note that there is no figure."""
    if row is None or not np.isfinite(row.mean):
        _instead(ax, "undefined", place, color)
        return
    if np.isfinite([row.low, row.high]).all():
        ax.plot([row.low, row.high], [place, place], color=color, linewidth=1.7, alpha=0.85)
    ax.plot([row.mean], [place], "o", color=color, markersize=size)


def _tidy(ax: Axes) -> None:
    ax.xaxis.set_major_locator(MaxNLocator(5))
    ax.tick_params(axis="x", labelsize=8)
    ax.tick_params(axis="y", length=0)
    ax.grid(axis="x", color=GRID, linewidth=0.7)
    ax.set_axisbelow(True)
    ax.spines[["top", "right", "left"]].set_visible(False)


def _key(figure: Figure, reference: bool, subjects: bool, chance: bool) -> None:
    handles = [_handle(BLUE, "pretrained model in question")] if subjects else []
    handles += [_handle(ORANGE, "functional connectivity, with its interval")] if reference else []
    handles.append(_handle(GREY, "other models"))
    if chance:
        handles.append(Line2D([], [], color=INK, linestyle=":", label="knowing nothing"))
    figure.legend(handles=handles, loc="outside upper left", ncols=4, fontsize=8.5, frameon=False)


def _handle(color: str, label: str) -> Line2D:
    return Line2D([], [], color=color, marker="o", markersize=5, linewidth=1.7, label=label)


def short_name(name: str) -> str:
    """A name that fits beside a picture and that matplotlib does not take for mathematics.

    Of a longer one the middle is left out: rows of a model differ by their ends.
    """
    name = "".join(c if c.isprintable() else " " for c in name).replace("$", r"\$")
    half = LONGEST_NAME // 2
    return name if len(name) <= LONGEST_NAME else f"{name[:half]}…{name[1 - half :]}"
