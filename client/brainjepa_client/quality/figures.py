"""Pictures of a site's quality for its data manager, and parts that those of scans share.

Shapes: R ROIs.
"""

from __future__ import annotations

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import Colormap, ListedColormap
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from brainjepa_core.arrays import Float32, Float64
from brainjepa_core.atlas import UNKNOWN, Atlas
from brainjepa_core.pages.brain import brain_views
from brainjepa_core.pages.palette import ABSENT, DIVERGING, GREY, SEQUENTIAL, styles

FEWEST_LABELLED = 0.035  # share of the ROIs that a network needs for its name beside a picture
MATRIX = 150  # rows and columns that are drawn at most; more are averaged
LEVELS = 13  # shades: fewer make files small, and nobody tells more apart
FC_LIMIT = 0.8  # ends of the scale of correlations, one for all pictures so that they compare
Place = tuple[float, float, float, float]  # left, bottom, width and height in a figure, shares


def mean_connectivity(fc: Float64, atlas: Atlas) -> Figure:
    """Mean correlations [R, R] of a site, ROIs by network with the networks' names."""
    figure = Figure(figsize=(7, 6.6))
    ax = figure.add_axes((0.16, 0.03, 0.82, 0.87))
    image = matrix(ax, fc, atlas)
    networks_beside(ax, atlas, names=True)
    color_bar(figure, image, (0.35, 0.935, 0.44, 0.013), "mean correlation")
    return figure


def roi_coverage(seen: Float64, centroids: Float64) -> Figure:
    """How much of each ROI the scans saw, at its place in three views of the brain.

    Parameters
    ----------
    seen : ndarray [R]
        Shares, 0 to 1.
    centroids : ndarray [R, 3]
        mm, MNI.
    """
    partly = np.where(seen < 1, seen, np.nan)
    return brain_views(
        {"": partly}, centroids, "mean coverage", colors=SEQUENTIAL, limits=(0.0, 1.0), neutral=1.0
    )


def matrix(ax: Axes, fc: Float64, atlas: Atlas) -> AxesImage:
    """Correlations [R, R] with ROIs ordered by network; unknown ones stay empty."""
    order = np.argsort(atlas.network_index, kind="stable")
    shown = fc[np.ix_(order, order)].astype(np.float32)
    np.fill_diagonal(shown, np.nan)
    for axis in (0, 1):
        shown = fewer(shown, MATRIX, axis)
    image = ax.imshow(
        shown, cmap=shades(DIVERGING), vmin=-FC_LIMIT, vmax=FC_LIMIT, aspect="auto",
        interpolation="nearest", extent=(-0.5, len(fc) - 0.5, len(fc) - 0.5, -0.5),
    )  # fmt: skip
    ax.set_xticks([])
    ax.spines[:].set_visible(False)
    for end in np.cumsum(_sizes(atlas))[:-1] - 0.5:
        ax.axhline(end, color="k", linewidth=0.3)
        ax.axvline(end, color="k", linewidth=0.3)
    return image


def networks_beside(ax: Axes, atlas: Atlas, names: bool) -> None:
    """A strip with a colour each network, and the larger ones' names."""
    ax.set_yticks([])
    if not atlas.has_networks:
        ax.set_ylabel(f"{len(atlas)} ROIs" if names else "", fontsize=8)
        return
    sizes = _sizes(atlas)
    ends = np.cumsum(sizes)
    for end, size, style in zip(ends, sizes, styles(len(sizes)), strict=True):
        strip = Rectangle((-0.022, end - size - 0.5), 0.016, size, color=style.color)
        strip.set(transform=ax.get_yaxis_transform(), clip_on=False, linewidth=0)
        ax.add_patch(strip)
    if names:
        networks = enumerate(dict.fromkeys(atlas.networks))
        large = [(i, n) for i, n in networks if sizes[i] >= FEWEST_LABELLED * len(atlas)]
        texts = ["no network" if name == UNKNOWN else name for _, name in large]
        ax.set_yticks([ends[i] - sizes[i] / 2 - 0.5 for i, _ in large], texts, fontsize=8)
        ax.tick_params(axis="y", length=0, pad=10)


def color_bar(figure: Figure, image: AxesImage, place: Place, label: str) -> None:
    """What the shades mean; values beyond the ends have the colours of the ends."""
    ax = figure.add_axes(place)
    extend = "max" if image.get_clim()[0] == 0 else "both"
    bar = figure.colorbar(image, cax=ax, orientation="horizontal", extend=extend)
    bar.ax.set_title(label, fontsize=8.5, pad=3)
    bar.ax.tick_params(labelsize=8, length=2, pad=1)
    bar.set_ticks(np.linspace(*image.get_clim(), 5).tolist())
    bar.outline.set(linewidth=0.4, edgecolor=GREY)


def _sizes(atlas: Atlas) -> NDArray[np.int64]:
    """ROIs of each network."""
    return np.bincount(atlas.network_index)


def fewer(values: Float32, most: int, axis: int) -> Float32:
    """Means of neighbours along an axis, so that at most `most` are left; NaN where all are."""
    count = values.shape[axis]
    if count <= most:
        return values
    starts = np.linspace(0, count, most, endpoint=False).astype(np.int64)
    known = np.isfinite(values)
    total = np.add.reduceat(np.where(known, values, 0), starts, axis=axis)
    number = np.add.reduceat(known.astype(np.float32), starts, axis=axis)
    return np.where(number > 0, total / np.maximum(number, 1), np.nan).astype(np.float32)


def shades(name: str) -> Colormap:
    """A colour map of few shades, sand-coloured where there is nothing."""
    found = ListedColormap(colormaps[name](np.linspace(0, 1, LEVELS)))
    return found.with_extremes(bad=ABSENT)
