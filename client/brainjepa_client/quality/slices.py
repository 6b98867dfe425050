"""The atlas on a scan: outlines of its regions over slices of the mean image."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from numpy.typing import NDArray

from brainjepa_core.atlas import Atlas
from brainjepa_core.pages.palette import GREY, ORANGE, SKY
from brainjepa_core.signals.scan import Slice

LEFT, RIGHT, BOTTOM, TALL = 0.02, 0.985, 0.015, 0.235  # of the figure
BORDER = ListedColormap([SKY])


def draw_slices(figure: Figure, slices: Sequence[Slice], atlas: Atlas) -> None:
    """Draw slices in a row at the foot of a figure.

    Parameters
    ----------
    figure : Figure
    slices : sequence of Slice
    atlas : Atlas
        For the title.
    """
    high = max(float(np.quantile(one.image, 0.995)) for one in slices) or 1.0
    widths = [one.image.shape[1] / (one.image.shape[0] * one.aspect) for one in slices]
    grid = figure.add_gridspec(
        1, len(slices), left=LEFT, right=RIGHT, bottom=BOTTOM, top=BOTTOM + TALL,
        width_ratios=widths, wspace=0.02,
    )  # fmt: skip
    for place, one in enumerate(slices):
        ax = figure.add_subplot(grid[0, place])
        ax.imshow(one.image, cmap="gray", vmin=0, vmax=high, aspect=one.aspect)
        ax.imshow(borders(one.rois), cmap=BORDER, aspect=one.aspect, alpha=0.45)
        if 0 < (inside := one.rois > 0).sum() < inside.size:
            ax.contour(inside, [0.5], colors=[ORANGE], linewidths=1.1)
        ax.set_anchor("N")
        ax.set_axis_off()
    figure.text(
        LEFT, BOTTOM + TALL + 0.008, f"mean image and outlines of {atlas.name}: its rim (orange) "
        "should follow the brain", fontsize=8.5, color=GREY,
    )  # fmt: skip


def borders(rois: NDArray[np.int32]) -> NDArray[np.float64]:
    """1 where one region touches another [rows, columns], to the right or below; NaN elsewhere."""
    inside = np.pad(rois, ((0, 1), (0, 1)))
    found = np.full(rois.shape, np.nan)
    for other in (inside[:-1, 1:], inside[1:, :-1]):
        found[(rois > 0) & (other > 0) & (other != rois)] = 1.0
    return found
