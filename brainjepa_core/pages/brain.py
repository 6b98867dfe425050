"""Values of ROIs on outlines of the brain: nilearn's glass brain, with dots of our own.

`nilearn.plotting.plot_markers` draws no ROI without a value and no rings, hence only its outlines.
Shapes: R ROIs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray

from brainjepa_core.arrays import Float64
from brainjepa_core.pages.palette import BLACK, DIVERGING, GREY, PALE

# What nilearn calls the view, axes of the MNI space to the right and up, and its title.
VIEWS = (
    ("l", 1, 2, "left side"),
    ("y", 0, 2, "from behind"),
    ("z", 0, 1, "from above"),
    ("r", 1, 2, "right side"),
)
SMALL, LARGE = 10, 60  # areas of dots, points²


def brain_views(
    panels: Mapping[str, ArrayLike],
    centroids: ArrayLike,
    label: str,
    *,
    colors: str = DIVERGING,
    limits: tuple[float, float] | None = None,
    neutral: float = 0.0,
    marked: Mapping[str, NDArray[np.bool_]] | None = None,
) -> Figure:
    """ROI values at their place in four views of the brain, one row of views a panel.

    Parameters
    ----------
    panels : mapping of str to array [R]
        By title, all on one scale; NaN is a small pale dot.
    centroids : array [R, 3]
        mm, MNI.
    label : str
        Of the colours.
    colors : str
        A colour map of the palette.
    limits : tuple of float, optional
        Ends of the colours; two-sided around `neutral` by default.
    neutral : float
        The further from it, the larger the dot and the more in front.
    marked : mapping of str to ndarray of bool [R], optional
        ROIs to draw a ring around, by title.
    """
    places = np.asarray(centroids, np.float64)
    arrays = {title: np.asarray(values, np.float64) for title, values in panels.items()}
    reach = reach_of([values - neutral for values in arrays.values()])
    low, high = limits or (neutral - reach, neutral + reach)
    scale = ScalarMappable(Normalize(low, high), colors)
    figure = Figure(figsize=(11, 2.9 * len(arrays) + 0.2), layout="constrained")
    grid = figure.subplots(len(arrays), len(VIEWS), squeeze=False)
    for row, (title, values) in zip(grid, arrays.items(), strict=True):
        share = np.abs(values - neutral) / max(high - neutral, neutral - low)
        ringed = (marked or {}).get(title, np.zeros(len(values), bool))
        for ax, (direction, across, up, view) in zip(row, VIEWS, strict=True):
            here = _hemisphere(places, direction)
            _dots(ax, values[here], places[here][:, [across, up]], share[here], ringed[here], scale)
            _outline(ax, direction, places[:, [across, up]])
            ax.set_title(view, fontsize=8, color=GREY)
        row[0].set_ylabel(title, fontsize=9)
    _one_scale(figure.axes)
    color_bar(figure, scale, label, beyond=limits is None)
    return figure


def _hemisphere(places: Float64, direction: str) -> NDArray[np.bool_]:
    """ROIs that a view shows; those in the middle are on both sides."""
    if direction == "l":
        return places[:, 0] <= 0
    return places[:, 0] >= 0 if direction == "r" else np.ones(len(places), bool)


def _dots(
    ax: Axes,
    values: Float64,
    places: Float64,
    share: Float64,
    ringed: NDArray[np.bool_],
    scale: ScalarMappable,
) -> None:
    known = np.isfinite(values)
    across, up = places.T
    ax.scatter(across[~known], up[~known], s=SMALL, color=PALE, linewidths=0)
    order = np.flatnonzero(known)
    order = order[np.lexsort((share[order], ringed[order]))]  # what matters on top
    low, high = scale.get_clim()
    ax.scatter(
        across[order], up[order], c=values[order], cmap=scale.cmap, vmin=low, vmax=high,
        s=SMALL + (LARGE - SMALL) * share[order].clip(0, 1),
        edgecolors=np.where(ringed[order], BLACK, GREY).tolist(),
        linewidths=np.where(ringed[order], 1.6, 0.3).tolist(),
    )  # fmt: skip


def _outline(ax: Axes, direction: str, places: Float64) -> None:
    """The brain behind the dots, with room for ROIs of an atlas that is larger."""
    from nilearn.plotting.glass_brain import plot_brain_schematics  # takes a second to import

    left, right, bottom, top = plot_brain_schematics(
        ax, direction, edgecolor=PALE, linewidth=0.8, zorder=0
    )
    (low, below), (high, above) = places.min(0) - 4, places.max(0) + 4
    ends = min(left, low), max(right, high)
    ax.set_xlim(*(reversed(ends) if direction == "l" else ends))  # the face to the left
    ax.set_ylim(min(bottom, below), max(top, above))
    ax.set(xticks=[], yticks=[])
    ax.spines[:].set_visible(False)
    if direction in "yz":
        for place, letter in ((0.03, "L"), (0.97, "R")):
            ax.text(place, 0.93, letter, fontsize=8, ha="center", transform=ax.transAxes)


def _one_scale(views: list[Axes]) -> None:
    """As many millimetres an inch in each view."""
    tall = max(np.ptp(ax.get_ylim()) for ax in views)
    for ax in views:
        middle = np.mean(ax.get_ylim())
        ax.set_ylim(middle - tall / 2, middle + tall / 2)
        ax.set_aspect("equal")
    spec = views[0].get_gridspec()
    assert spec is not None
    spec.set_width_ratios([np.ptp(ax.get_xlim()) for ax in views[: len(VIEWS)]])


def reach_of(arrays: Sequence[Float64]) -> float:
    """Largest magnitude of all arrays, less a few outliers; 1 where all are zero."""
    values = np.abs(np.concatenate([array.ravel() for array in arrays]))
    values = values[np.isfinite(values)]
    reach = float(np.quantile(values, 0.99)) if values.size else 0.0
    return reach or float(values.max(initial=0.0)) or 1.0


def color_bar(figure: Figure, scale: ScalarMappable, label: str, beyond: bool = True) -> None:
    """What the colours mean; `beyond` where some values lie past its ends."""
    bar = figure.colorbar(
        scale, ax=figure.axes, shrink=0.7, aspect=25, extend="both" if beyond else "neither"
    )
    bar.set_label(label, fontsize=8)
    bar.ax.tick_params(labelsize=8)
    bar.outline.set_visible(False)
