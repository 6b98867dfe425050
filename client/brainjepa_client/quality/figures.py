"""Pictures of scans and of a site's quality, for its data manager.

Shapes: R ROIs, F frames as measured, F' frames after cleaning.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import Colormap, ListedColormap
from matplotlib.figure import Figure
from matplotlib.gridspec import GridSpec
from matplotlib.image import AxesImage
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from brainjepa_client.quality.slices import draw_slices
from brainjepa_core.arrays import Float32, Float64
from brainjepa_core.atlas import UNKNOWN, Atlas
from brainjepa_core.files import atomic_path
from brainjepa_core.pages.brain import brain_views
from brainjepa_core.pages.palette import (
    ABSENT,
    BLUE,
    DIVERGING,
    GREY,
    ORANGE,
    SEQUENTIAL,
    VERMILLION,
    styles,
)
from brainjepa_core.signals.cleaning.dvars import dvars
from brainjepa_core.signals.scaling import zscore
from brainjepa_core.signals.scan import RawScan
from brainjepa_core.usable import live_rois

FEWEST_LABELLED = 0.035  # share of the ROIs that a network needs for its name beside a picture
CARPET, MATRIX = (117, 235), 150  # rows and columns that are drawn at most; more are averaged
LEVELS = 13  # shades: fewer make files small, and nobody tells more apart
FC_LIMIT = 0.8  # ends of the scale of correlations, one for all pictures so that they compare
LEAST_DVARS = 1.0  # %, top of its axis at least: small changes look small
CARPET_LIMIT = 2.0  # standard deviations, likewise


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
    """Draw one scan: motion, DVARS and global signal over the carpet; connectivity, atlas.

    Parameters
    ----------
    path : Path
        Of the PNG file, 1000 x 600 pixels; 1000 x 800 where it is known how the atlas lies.
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
    figure, above, change, between, below, beside = _panels(atlas_below=bool(raw.slices))
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
    _networks_beside(below, atlas, names=True)
    image = _matrix(beside, _correlation(cleaned), atlas)
    _networks_beside(beside, atlas, names=False)
    top, tall = _top(figure), beside.get_position().y1
    bars = (0.64, top - 0.055, 0.28, 0.015), (0.64, tall + 0.035, 0.28, 0.015)
    _bar(figure, signals, bars[0], "left: signal, standard deviations from an ROI's mean")
    _bar(figure, image, bars[1], "below: correlation between ROIs")
    figure.text(0.02, top + 0.04, title, fontsize=11, fontweight="bold")
    figure.text(0.985, top + 0.04, _in_short(quality, len(cleaned)), fontsize=8.5, ha="right")
    if raw.slices:
        draw_slices(figure, raw.slices, atlas)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=100, format="png")
    return path


def _panels(atlas_below: bool) -> tuple[Figure, Axes, Axes, Axes, Axes, Axes]:
    """Figure, and axes of motion, DVARS, global signal, carpet, and connectivity beside that."""
    figure = Figure(figsize=(10, 8 if atlas_below else 6))
    grid = GridSpec(
        4, 2, figure, left=0.1, right=0.985, bottom=0.34 if atlas_below else 0.075,
        top=_top(figure), height_ratios=(0.8, 0.5, 0.5, 2.9), width_ratios=(4.6, 3.75), hspace=0.1,
        wspace=0.06,
    )  # fmt: skip
    above, change, between, below = (figure.add_subplot(grid[row, 0]) for row in range(4))
    return figure, above, change, between, below, figure.add_subplot(grid[3, 1])


def _top(figure: Figure) -> float:
    return 1 - 0.66 / float(figure.get_figheight())


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
        told = "DVARS is not known: the signals have no mean"
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


def _carpet(ax: Axes, series: Float32, tr: float) -> AxesImage:
    """z-scored signals, one line an ROI; ROIs without a signal stay empty."""
    shown = _fewer(_fewer(series, CARPET[0], 0), CARPET[1], 1)
    shades = _shades("gray")
    extent = (-0.5, series.shape[1] - 0.5, len(series) - 0.5, -0.5)
    image = ax.imshow(
        shown, cmap=shades, vmin=-CARPET_LIMIT, vmax=CARPET_LIMIT, aspect="auto",
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


def _matrix(ax: Axes, fc: Float64, atlas: Atlas) -> AxesImage:
    """Correlations [R, R] with ROIs ordered by network; unknown ones stay empty."""
    order = np.argsort(atlas.network_index, kind="stable")
    shown = fc[np.ix_(order, order)].astype(np.float32)
    np.fill_diagonal(shown, np.nan)
    for axis in (0, 1):
        shown = _fewer(shown, MATRIX, axis)
    image = ax.imshow(
        shown, cmap=_shades(DIVERGING), vmin=-FC_LIMIT, vmax=FC_LIMIT, aspect="auto",
        interpolation="nearest", extent=(-0.5, len(fc) - 0.5, len(fc) - 0.5, -0.5),
    )  # fmt: skip
    ax.set_xticks([])
    ax.spines[:].set_visible(False)
    for end in np.cumsum(_sizes(atlas))[:-1] - 0.5:
        ax.axhline(end, color="k", linewidth=0.3)
        ax.axvline(end, color="k", linewidth=0.3)
    return image


def _bar(
    figure: Figure, image: AxesImage, place: tuple[float, float, float, float], label: str
) -> None:
    """What the shades mean; values beyond the ends have the colours of the ends."""
    ax = figure.add_axes(place)
    bar = figure.colorbar(image, cax=ax, orientation="horizontal", extend="both")
    bar.ax.set_title(label, fontsize=8.5, pad=3)
    bar.ax.tick_params(labelsize=8, length=2, pad=1)
    bar.set_ticks(np.linspace(*image.get_clim(), 5).tolist())
    bar.outline.set_visible(False)


def mean_connectivity(fc: Float64, atlas: Atlas) -> Figure:
    """Mean correlations [R, R] of a site, ROIs by network with the networks' names."""
    figure = Figure(figsize=(7, 6.6))
    ax = figure.add_axes((0.16, 0.03, 0.82, 0.87))
    image = _matrix(ax, fc, atlas)
    _networks_beside(ax, atlas, names=True)
    _bar(figure, image, (0.35, 0.935, 0.44, 0.013), "mean correlation")
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


def _correlation(series: NDArray[np.floating]) -> Float64:
    """Correlations [R, R]; NaN where an ROI has no signal."""
    fc = np.full((len(series), len(series)), np.nan)
    usable = np.flatnonzero(live_rois(series))
    if usable.size > 1:
        fc[np.ix_(usable, usable)] = np.corrcoef(np.asarray(series[usable], np.float64))
    return fc


def _networks_beside(ax: Axes, atlas: Atlas, names: bool) -> None:
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


def _sizes(atlas: Atlas) -> NDArray[np.int64]:
    """ROIs of each network."""
    return np.bincount(atlas.network_index)


def _fewer(values: Float32, most: int, axis: int) -> Float32:
    """Means of neighbours along an axis, so that at most `most` are left; NaN where all are."""
    count = values.shape[axis]
    if count <= most:
        return values
    starts = np.linspace(0, count, most, endpoint=False).astype(np.int64)
    known = np.isfinite(values)
    total = np.add.reduceat(np.where(known, values, 0), starts, axis=axis)
    number = np.add.reduceat(known.astype(np.float32), starts, axis=axis)
    return np.where(number > 0, total / np.maximum(number, 1), np.nan).astype(np.float32)


def _shades(name: str) -> Colormap:
    """A colour map of few shades, sand-coloured where there is nothing."""
    shades = ListedColormap(colormaps[name](np.linspace(0, 1, LEVELS)))
    return shades.with_extremes(bad=ABSENT)
