"""What a model looks at, as pictures: matrices between networks. Shapes: G networks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray

from brainjepa_core.pages.brain import color_bar, reach_of
from brainjepa_core.pages.palette import DIVERGING, PALE


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
    reach = reach_of([values - centre for values in arrays.values()])
    colors = colormaps[DIVERGING].with_extremes(bad=PALE)
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
    color_bar(figure, image, label)
    return figure
