"""Slices of a scan: outlines of the atlas' regions on the mean image, and tSNR within them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import ListedColormap, Normalize
from matplotlib.figure import Figure
from numpy.typing import NDArray

from brainjepa_core.atlas import Atlas
from brainjepa_core.pages.palette import GREY, ORANGE, SEQUENTIAL, SKY
from brainjepa_core.signals.scan import Slice

LEFT, RIGHT = 0.02, 0.985  # of the figure
FOOT, TALLEST, TITLE = 0.12, 1.88, 0.42  # inches: below the last row, of a row, above a row
BORDER = ListedColormap([SKY])
TSNR_LIMIT = 100.0  # end of the scale of tSNR, one for all pictures so that they compare
UNKNOWN_TSNR = "; tSNR is not known: the image has no mean"
Draw = Callable[[Axes, Slice], None]


def height_of(slices: Sequence[Slice], width: float, *, tsnr: bool) -> float:
    """Inches that rows of slices take at the foot of a figure, as `draw_slices` draws them."""
    return (1 + tsnr) * (_tall(slices, width) + TITLE) if slices else 0.0


def draw_slices(figure: Figure, slices: Sequence[Slice], atlas: Atlas, *, tsnr: bool) -> None:
    """Draw slices at the foot of a figure: the mean image, and below it tSNR where it is known.

    Parameters
    ----------
    figure : Figure
    slices : sequence of Slice
    atlas : Atlas
        For the title.
    tsnr : bool
        Whether it is known.
    """
    told = f"mean image and outlines of {atlas.name}: its rim (orange) should follow the brain"
    tall = _tall(slices, figure.get_figwidth())
    foot = FOOT + tall + TITLE if tsnr else FOOT
    _row(figure, slices, foot, told + ("" if tsnr else UNKNOWN_TSNR), _borders_within)
    if tsnr:
        told = "tSNR of the atlas' voxels; grey within the rim: voxels that do not count"
        _row(figure, slices, FOOT, told, _tsnr_within)
        _bar(figure, FOOT + tall + 0.09)


def _widths(slices: Sequence[Slice]) -> list[float]:
    """Of each slice, over its height."""
    return [one.image.shape[1] / (one.image.shape[0] * one.aspect) for one in slices]


def _tall(slices: Sequence[Slice], width: float) -> float:
    """Height of a row of slices that fills a figure, in inches as the figure's width."""
    return min(TALLEST, (RIGHT - LEFT) * width / sum(_widths(slices)))


def _row(figure: Figure, slices: Sequence[Slice], foot: float, told: str, draw: Draw) -> None:
    inches, tall = figure.get_figheight(), _tall(slices, figure.get_figwidth())
    high = max(float(np.quantile(one.image, 0.995)) for one in slices) or 1.0
    grid = figure.add_gridspec(
        1, len(slices), left=LEFT, right=RIGHT, bottom=foot / inches, top=(foot + tall) / inches,
        width_ratios=_widths(slices), wspace=0.02,
    )  # fmt: skip
    for place, one in enumerate(slices):
        ax = figure.add_subplot(grid[0, place])
        ax.imshow(one.image, cmap="gray", vmin=0, vmax=high, aspect=one.aspect)
        draw(ax, one)
        if 0 < (inside := one.rois > 0).sum() < inside.size:
            ax.contour(inside, [0.5], colors=[ORANGE], linewidths=1.1)
        ax.set_anchor("N")
        ax.set_axis_off()
    figure.text(LEFT, (foot + tall + 0.06) / inches, told, fontsize=8.5, color=GREY)


def _borders_within(ax: Axes, one: Slice) -> None:
    ax.imshow(borders(one.rois), cmap=BORDER, aspect=one.aspect, alpha=0.45)


def _tsnr_within(ax: Axes, one: Slice) -> None:
    ax.imshow(one.tsnr, cmap=SEQUENTIAL, vmin=0, vmax=TSNR_LIMIT, aspect=one.aspect)


def _bar(figure: Figure, bottom: float) -> None:
    """What the colours of tSNR mean, right of the row's title."""
    inches = figure.get_figheight()
    ax = figure.add_axes((0.745, bottom / inches, 0.2, 0.1 / inches))
    scale = ScalarMappable(Normalize(0, TSNR_LIMIT), SEQUENTIAL)
    bar = figure.colorbar(scale, cax=ax, orientation="horizontal", extend="max")
    bar.ax.xaxis.set_ticks_position("top")
    bar.ax.tick_params(labelsize=8, length=2, pad=1)
    bar.outline.set(linewidth=0.4, edgecolor=GREY)


def borders(rois: NDArray[np.int32]) -> NDArray[np.float64]:
    """1 where one region touches another [rows, columns], to the right or below; NaN elsewhere."""
    inside = np.pad(rois, ((0, 1), (0, 1)))
    found = np.full(rois.shape, np.nan)
    for other in (inside[:-1, 1:], inside[1:, :-1]):
        found[(rois > 0) & (other > 0) & (other != rois)] = 1.0
    return found
