"""What a model looks at, as pictures: matrices between networks, and ROIs on the brain.

Shapes: R ROIs, G networks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray

from brainjepa_core.arrays import Float64

COLORS = "PuOr_r"  # two-sided, told apart by all kinds of colour vision; orange is more
MISSING = "#e4e4e4"
# Axes of the MNI space to the right and up, where one looks from, and what is below.
VIEWS = (
    (1, 2, "from the right", "back – front"),
    (0, 2, "from behind", "left – right"),
    (0, 1, "from above", "left – right"),
)


def draw_networks(
    panels: Mapping[str, ArrayLike],
    names: Sequence[str],
    label: str,
    *,
    centre: float = 0.0,
    marked: Mapping[str, NDArray[np.bool_]] | None = None,
) -> Figure:
    """Matrices between networks side by side, on one scale.

    Parameters
    ----------
    panels : mapping of str to array [G, G]
        By title; row: from, column: to. NaN is grey.
    names : sequence of str
        G names.
    label : str
        Of the colours.
    centre : float
        Value without colour.
    marked : mapping of str to ndarray of bool [G, G], optional
        Cells to put a dot into, by title.
    """
    count, size = len(panels), len(names)
    side = 1.2 + 0.19 * max(size, 10)
    figure = Figure(figsize=(side * count + 1.4, side + 1.0), layout="constrained")
    arrays = {title: np.asarray(values, np.float64) for title, values in panels.items()}
    reach = _reach([values - centre for values in arrays.values()])
    colors = colormaps[COLORS].with_extremes(bad=MISSING)
    axes = figure.subplots(1, count, squeeze=False)[0]
    for ax, (title, values) in zip(axes, arrays.items(), strict=True):
        image = ax.imshow(values, cmap=colors, vmin=centre - reach, vmax=centre + reach)
        rows, columns = np.nonzero((marked or {}).get(title, np.zeros_like(values, bool)))
        ax.scatter(columns, rows, s=16, color="k", edgecolors="w", linewidths=0.8)
        ax.set_title(title, fontsize=9)
        ax.set_xticks(range(size), names, rotation=90, fontsize=7)
        ax.set_yticks(range(size), names if ax is axes[0] else [], fontsize=7)
        ax.tick_params(length=0)
        ax.set_xlabel("to", fontsize=8)
        ax.spines[:].set_visible(False)
    axes[0].set_ylabel("from", fontsize=8)
    _bar(figure, image, label)
    return figure


def draw_rois(
    panels: Mapping[str, ArrayLike],
    centroids: ArrayLike,
    label: str,
    *,
    marked: Mapping[str, NDArray[np.bool_]] | None = None,
) -> Figure:
    """ROI values at their place in three views of the brain, one row of views a panel.

    Parameters
    ----------
    panels : mapping of str to array [R]
        By title, all on one scale; NaN is grey.
    centroids : array [R, 3]
        mm, MNI.
    label : str
        Of the colours; 0 has none.
    marked : mapping of str to ndarray of bool [R], optional
        ROIs to draw a ring around, by title.
    """
    places = np.asarray(centroids, np.float64)
    arrays = {title: np.asarray(values, np.float64) for title, values in panels.items()}
    reach = _reach(list(arrays.values()))
    figure = Figure(figsize=(9, 2.9 * len(arrays) + 0.2), layout="constrained")
    grid = figure.subplots(len(arrays), 3, squeeze=False)
    for row, (title, values) in zip(grid, arrays.items(), strict=True):
        ringed = (marked or {}).get(title, np.zeros(len(values), bool))
        for ax, (across, up, view, below) in zip(row, VIEWS, strict=True):
            dots = _view(ax, values, places[:, [across, up]], reach, ringed)
            ax.set_title(view, fontsize=8, color="#555555")
            ax.set_xlabel(below, fontsize=7, color="#555555")
        row[0].set_ylabel(title, fontsize=9)
    extent = 1.08 * np.ptp(places, axis=0).max() / 2
    middle = (places.max(0) + places.min(0)) / 2
    for row in grid:  # one scale in millimetres
        for ax, (across, up, *_) in zip(row, VIEWS, strict=True):
            ax.set_xlim(middle[across] - extent, middle[across] + extent)
            ax.set_ylim(middle[up] - extent, middle[up] + extent)
    _bar(figure, dots, label)
    return figure


def _view(
    ax: Axes, values: Float64, places: Float64, reach: float, ringed: NDArray[np.bool_]
) -> ScalarMappable:
    known = np.isfinite(values)
    across, up = places.T
    ax.scatter(across[~known], up[~known], s=14, color=MISSING, linewidths=0)
    order = np.flatnonzero(known)
    order = order[np.lexsort((np.abs(values[order]), ringed[order]))]  # what matters on top
    share = (np.abs(values[order]) / reach).clip(0, 1)
    dots = ax.scatter(
        across[order], up[order], c=values[order], s=10 + 60 * share, cmap=COLORS, vmin=-reach,
        vmax=reach, edgecolors=np.where(ringed[order], "k", "#999999").tolist(),
        linewidths=np.where(ringed[order], 1.6, 0.3).tolist(),
    )  # fmt: skip
    ax.set_aspect("equal")
    ax.set(xticks=[], yticks=[])
    ax.spines[:].set_visible(False)
    return dots


def _reach(arrays: Sequence[Float64]) -> float:
    """Largest magnitude of all arrays, less a few outliers; 1 where all are zero."""
    values = np.abs(np.concatenate([array.ravel() for array in arrays]))
    values = values[np.isfinite(values)]
    reach = float(np.quantile(values, 0.99)) if values.size else 0.0
    return reach or float(values.max(initial=0.0)) or 1.0


def _bar(figure: Figure, colored: ScalarMappable, label: str) -> None:
    bar = figure.colorbar(colored, ax=figure.axes, shrink=0.7, aspect=25, extend="both")
    bar.set_label(label, fontsize=8)
    bar.ax.tick_params(labelsize=8)
    bar.outline.set_visible(False)
