"""A picture of a scan, for a site's data manager.

Shapes: R ROIs, F frames as measured, F' frames after cleaning.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.gridspec import GridSpec
from matplotlib.image import AxesImage
from numpy.typing import NDArray

from brainjepa_client.quality.figures import (
    MATRIX,
    Place,
    color_bar,
    fewer,
    matrix,
    networks_beside,
    shades,
)
from brainjepa_client.quality.slices import draw_slices, height_of
from brainjepa_core.arrays import Float32, Float64
from brainjepa_core.atlas import Atlas
from brainjepa_core.files import atomic_path
from brainjepa_core.pages.palette import BLUE, GREY, ORANGE, SEQUENTIAL, VERMILLION
from brainjepa_core.signals.cleaning.dvars import dvars
from brainjepa_core.signals.cleaning.roi_tsnr import roi_tsnr
from brainjepa_core.signals.scaling import zscore
from brainjepa_core.signals.scan import RawScan
from brainjepa_core.usable import live_rois

WIDTH = 10.0  # inches
HEAD, FOOT = 0.66, 0.45  # inches above and below the carpet's column, without slices
CARPET = (117, 235)  # rows and columns that are drawn at most; more are averaged
# Ends of scales, one for all pictures so that they compare.
CARPET_LIMIT = 2.0  # standard deviations
ROI_TSNR_LIMIT = 300.0
LEAST_DVARS = 1.0  # %, top of its axis at least: small changes look small


def draw_scan(
    path: Path,
    raw: RawScan,
    cleaned: NDArray[np.floating],
    atlas: Atlas,
    quality: Mapping[str, float],
    *,
    title: str = "",
    fd_threshold: float | None = None,
) -> Path:
    """Draw one scan: motion, DVARS and global signal over the carpet; connectivity, atlas, tSNR.

    Parameters
    ----------
    path : Path
        Of the PNG file, 1000 x 600 pixels, and more where the scan has slices.
    raw : RawScan
    cleaned : ndarray [R, F']
        F' is F, or the number of frames that are not censored.
    atlas : Atlas
        Its networks order the ROIs.
    quality : mapping
        Numbers of the scan's row in the table (`brainjepa_client.quality.table.NUMBERS`), so that
        picture and table tell the same.
    title : str
    fd_threshold : float, optional
        mm; drawn as a line.

    Returns
    -------
    Path
    """
    known = "tsnr" in quality
    room = height_of(raw.slices, WIDTH, tsnr=known)
    figure, above, change, between, below, beside = _panels(room)
    frames = raw.series.shape[1]
    keep = np.ones(frames, bool) if raw.keep is None else raw.keep
    _motion(above, raw, keep, quality, fd_threshold)
    _change(change, raw)
    _global_signal(between, raw)
    order = np.argsort(atlas.network_index, kind="stable")
    series = zscore(cleaned)[order]
    if series.shape[1] == keep.sum() < frames:  # frames that were left out stay empty
        whole = np.full((len(series), frames), np.nan, np.float32)
        whole[:, keep] = series
        series = whole
    signals = _carpet(below, series, raw.tr)
    networks_beside(below, atlas, names=True)
    image = matrix(beside, _correlation(cleaned), atlas)
    networks_beside(beside, atlas, names=False)
    top, tall = _top(figure), beside.get_position().y1
    bars = (0.64, top - 0.055, 0.28, 0.015), (0.64, tall + 0.035, 0.28, 0.015)
    color_bar(figure, signals, bars[0], "left: signal, standard deviations from an ROI's mean")
    color_bar(figure, image, bars[1], "below: correlation between ROIs")
    figure.text(0.02, top + 0.04, title, fontsize=11, fontweight="bold")
    figure.text(0.985, top + 0.04, _in_short(quality, len(cleaned)), fontsize=8.5, ha="right")
    if raw.slices:
        draw_slices(figure, raw.slices, atlas, tsnr=known)
    else:
        _roi_tsnr(figure, beside, raw.series[order], (0.64, (top + tall) / 2 - 0.007, 0.28, 0.015))
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=100, format="png")
    return path


def _panels(room: float) -> tuple[Figure, Axes, Axes, Axes, Axes, Axes]:
    """Figure, and axes of motion, DVARS, global signal, carpet, and connectivity beside that.

    `room` is left below, in inches.
    """
    figure = Figure(figsize=(WIDTH, 6 + room))
    grid = GridSpec(
        4, 2, figure, left=0.1, right=0.985, bottom=(FOOT + room) / (6 + room), top=_top(figure),
        height_ratios=(0.8, 0.5, 0.5, 2.9), width_ratios=(4.6, 3.75), hspace=0.1,
        wspace=0.06,
    )  # fmt: skip
    above, change, between, below = (figure.add_subplot(grid[row, 0]) for row in range(4))
    return figure, above, change, between, below, figure.add_subplot(grid[3, 1])


def _top(figure: Figure) -> float:
    return 1 - HEAD / float(figure.get_figheight())


def _in_short(quality: Mapping[str, float], rois: int) -> str:
    parts = [f"{quality['seconds'] / 60:.1f} min", f"TR {quality['tr']:g} s"]
    parts += [f"tSNR {quality['tsnr']:.0f}"] if "tsnr" in quality else []
    silent = quality["missing_rois"] + quality["dead_rois"]
    return ", ".join([*parts, f"{silent:.0f} of {rois} ROIs without a signal"])


def _motion(
    ax: Axes,
    raw: RawScan,
    keep: NDArray[np.bool_],
    quality: Mapping[str, float],
    threshold: float | None,
) -> None:
    """Framewise displacement, with the frames that are censored."""
    frames = len(keep)
    ax.set(xlim=(-0.5, frames - 0.5), xticks=[], ylabel="FD (mm)")
    ax.spines[["top", "right", "bottom"]].set_visible(False)
    ax.tick_params(labelsize=8)
    ax.yaxis.label.set_fontsize(8)
    known = "mean_fd" in quality
    told = f"mean FD {quality['mean_fd']:.3f} mm" if known else "motion is not known"
    if raw.fd is None or not np.isfinite(raw.fd).any():
        ax.set(yticks=[], ylabel="")
        ax.spines["left"].set_visible(False)
        told += "; that of each frame is not known" if known else ""
        ax.text(0.5, 0.5, told, transform=ax.transAxes, ha="center", color=GREY)
        return
    top = max(1.15 * float(np.nanmax(raw.fd)), 1.3 * (threshold or 0.0), 0.3)
    for frame in np.flatnonzero(~keep):
        ax.axvspan(frame - 0.5, frame + 0.5, color=ORANGE, alpha=0.45, linewidth=0)
    ax.plot(raw.fd, color=BLUE, linewidth=0.9)
    ax.set_ylim(0, top)
    notes = [told]
    if threshold is not None:
        ax.axhline(threshold, color=VERMILLION, linewidth=0.8, linestyle="--")
    if not keep.all():
        notes.append(f"{(~keep).sum()} of {frames} frames censored (shaded)")
    elif "censored" not in quality:
        notes.append("censoring is not known")
    ax.set_title(", ".join(notes), fontsize=8.5, loc="right", pad=3)


def _change(ax: Axes, raw: RawScan) -> None:
    """DVARS of the ROIs' signals before cleaning, from 0, so that heights compare."""
    ax.set(xlim=(-0.5, raw.series.shape[1] - 0.5), xticks=[], ylabel="DVARS\n(%)")
    ax.yaxis.label.set_fontsize(8)
    ax.tick_params(labelsize=8)
    ax.spines[["top", "right", "bottom"]].set_visible(False)
    found = dvars(raw.series)
    if found is None:
        ax.set(yticks=[], ylabel="")
        ax.spines["left"].set_visible(False)
        these = "DVARS is" if raw.slices else "DVARS and tSNR are"
        told = f"{these} not known: the signals have no mean"
        ax.text(0.5, 0.4, told, transform=ax.transAxes, ha="center", color=GREY, fontsize=8.5)
        return
    ax.plot(found, color=BLUE, linewidth=0.9)
    ax.set_ylim(0, 1.1 * max(float(np.nanmax(found)), LEAST_DVARS))


def _global_signal(ax: Axes, raw: RawScan) -> None:
    """Mean signal over the ROIs before cleaning, in standard deviations."""
    frames = raw.series.shape[1]
    ax.set(xlim=(-0.5, frames - 0.5), xticks=[], yticks=[], ylabel="global\nsignal")
    ax.yaxis.label.set_fontsize(8)
    ax.spines[:].set_visible(False)
    seen = raw.series[np.isfinite(raw.series).all(1)]
    if len(seen) and np.ptp(signal := seen.mean(0)) > 0:
        ax.plot((signal - signal.mean()) / signal.std(), color=GREY, linewidth=0.9)
        ax.set_ylim(-4, 4)


def _carpet(ax: Axes, series: Float32, tr: float) -> AxesImage:
    """z-scored signals, one line an ROI; ROIs without a signal stay empty."""
    shown = fewer(fewer(series, CARPET[0], 0), CARPET[1], 1)
    extent = (-0.5, series.shape[1] - 0.5, len(series) - 0.5, -0.5)
    image = ax.imshow(
        shown, cmap=shades("gray"), vmin=-CARPET_LIMIT, vmax=CARPET_LIMIT, aspect="auto",
        interpolation="nearest", extent=extent,
    )  # fmt: skip
    ax.tick_params(labelsize=8)
    minutes = series.shape[1] * tr / 60
    step = next(s for s in (0.5, 1, 2, 5, 10, 20, 60, 1e9) if minutes / s <= 8)
    ticks = np.arange(0, minutes, step)
    ax.set_xticks(ticks * 60 / tr - 0.5, [f"{tick:g}" for tick in ticks])
    ax.set_xlabel("minutes (sand: no data)", fontsize=8)
    ax.spines[:].set_visible(False)
    return image


def _correlation(series: NDArray[np.floating]) -> Float64:
    """Correlations [R, R]; NaN where an ROI has no signal."""
    fc = np.full((len(series), len(series)), np.nan)
    usable = np.flatnonzero(live_rois(series))
    if usable.size > 1:
        fc[np.ix_(usable, usable)] = np.corrcoef(np.asarray(series[usable], np.float64))
    return fc


def _roi_tsnr(figure: Figure, ax: Axes, series: Float64, place: Place) -> None:
    """Draw tSNR of each ROI's signal [R, F] as a strip left of the matrix, in its order."""
    ratios = roi_tsnr(series)
    if ratios is None:
        return
    strip = ax.inset_axes((-0.062, 0, 0.032, 1))
    shown = fewer(ratios[:, None].astype(np.float32), MATRIX, 0)
    image = strip.imshow(shown, cmap=shades(SEQUENTIAL), vmin=0, vmax=ROI_TSNR_LIMIT, aspect="auto")
    strip.set(xticks=[], yticks=[])
    strip.spines[:].set_visible(False)
    color_bar(figure, image, place, "strip between: tSNR of an ROI's signal")
