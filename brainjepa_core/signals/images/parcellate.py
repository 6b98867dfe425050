"""From a 4D image to ROI signals in one pass: few frames in memory, honest about what was seen.

A voxel counts if it is inside the brain mask, finite in every frame and not zero in all of them
(images are filled with 0 or NaN outside the field of view). Such filling adds nothing to a sum, so
one pass is enough unless a voxel fails in some of its frames only.

Shapes: R ROIs, F frames, f frames of a block, V labelled voxels, v of them inside the mask.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainjepa_core.arrays import Float64
from brainjepa_core.signals.images.label_image import Index, LabelImage
from brainjepa_core.signals.images.nifti_stream import (
    BLOCK,
    NiftiHeader,
    load_nifti,
    read_header,
    read_values,
    stream_voxels,
)
from brainjepa_core.signals.problems import ScanProblem
from brainjepa_core.signals.scan import Mask

LEAST_COVERAGE = 0.5
SAME_GRID_MM = 1e-3


@dataclass(frozen=True)
class Parcellated:
    """ROI signals of one scan, in atlas order.

    Attributes
    ----------
    series : ndarray of float64 [R, F]
        Mean over the voxels that count; NaN where they are less than half of the ROI.
    coverage : ndarray of float64 [R]
        Voxels that count over all voxels of the ROI, those outside the field of view included.
    tsnr : float
        Median over the voxels that count of mean over standard deviation (over F) in time; NaN
        if unknown.
    tr : float
        Seconds; NaN where the header gives none.
    voxel_tsnr : ndarray of float64 [V]
        That of each labelled voxel of a volume, in the order of `LabelImage.on_grid`; NaN where a
        voxel does not count or vary. Empty for what is no volume.
    """

    series: Float64
    coverage: Float64
    tsnr: float
    tr: float
    voxel_tsnr: Float64 = field(default_factory=lambda: np.empty(0))


class VoxelStatistics:
    """Mean, spread and largest size in time of each voxel [v], block by block."""

    def __init__(self, voxels: int) -> None:
        self._frames = 0
        self._mean, self._squares = np.zeros(voxels), np.zeros(voxels)
        self._finite = np.ones(voxels, np.bool_)
        self._largest = np.zeros(voxels)

    def add(self, block: Float64) -> None:
        """Take frames [f, v] into account; NaN and infinity in them are set to 0.

        Means and squares are joined as by Chan et al. (1979), doi:10.1007/978-3-642-51461-6_3:
        differences of large sums would lose a small spread around a large mean.
        """
        largest = _largest(block)
        finite = np.isfinite(largest)
        if not finite.all():
            self._finite &= finite
            block[~np.isfinite(block)] = 0
            largest = _largest(block)
        np.maximum(self._largest, largest, out=self._largest)
        before, self._frames = self._frames, self._frames + len(block)
        mean = block.mean(axis=0)
        away = block - mean
        shift = mean - self._mean
        self._squares += np.einsum("fv,fv->v", away, away)
        self._squares += shift**2 * (before * len(block) / self._frames)
        self._mean += shift * (len(block) / self._frames)

    def counting(self, half_step: float) -> Mask:
        """Voxels [v] that are finite in all frames, and in one at least over `half_step`."""
        return self._finite & (self._largest > half_step)

    def spoilt(self, counting: Mask) -> bool:
        """Whether a voxel that does not count has added to a sum."""
        return bool(self._largest[~counting].any())

    def tsnr(self, counting: Mask) -> Float64:
        """Mean over standard deviation [v]; NaN of voxels that do not count or vary."""
        varying = counting & (self._squares > 0)
        found = np.full(len(varying), np.nan)
        deviation = np.sqrt(self._squares[varying] / self._frames)
        found[varying] = self._mean[varying] / deviation
        return found


def _largest(block: Float64) -> Float64:
    """Largest size in each column of [f, v]; not finite where a value is not."""
    found: Float64 = np.maximum(block.max(axis=0), -block.min(axis=0))
    return found


def parcellate(
    bold: Path, labels: LabelImage, mask: Path | None = None, block: int = BLOCK
) -> Parcellated:
    """Mean signal of each ROI of a 4D NIfTI.

    Parameters
    ----------
    bold : Path
        ``.nii`` or ``.nii.gz``.
    labels : LabelImage
    mask : Path, optional
        3D brain mask on the scan's grid; voxels that are 0 or NaN in it do not count.
    block : int
        Frames at a time.

    Raises
    ------
    ScanProblem
        If a file cannot be read, the mask is on another grid, or the labels lie elsewhere.
    """
    header = read_header(bold)
    grid = labels.on_grid(bold, header)
    inside = np.ones(len(grid.voxels), bool)
    if mask is not None:
        inside = read_mask(mask, header)[grid.voxels]
    voxels, rows = grid.voxels[inside], grid.rows[inside]
    statistics = VoxelStatistics(len(voxels))
    sums = np.zeros((len(labels.atlas), header.frames))
    start = 0
    for values in stream_voxels(bold, header, voxels, block):
        statistics.add(values)
        _add_sums(values, rows, sums[:, start : start + len(values)])
        start += len(values)
    counting = statistics.counting(header.half_step)
    if statistics.spoilt(counting):
        sums = _sums(bold, header, voxels[counting], rows[counting], sums.shape, block)
    series, coverage = means(sums, np.bincount(rows[counting], minlength=len(sums)), grid.full)
    voxel_tsnr = np.full(len(inside), np.nan)
    voxel_tsnr[inside] = statistics.tsnr(counting)
    known = voxel_tsnr[np.isfinite(voxel_tsnr)]
    tsnr = float(np.median(known)) if known.size else float("nan")
    return Parcellated(series, coverage, tsnr, header.tr, voxel_tsnr)


def _sums(
    bold: Path, header: NiftiHeader, voxels: Index, rows: Index, shape: tuple[int, ...], block: int
) -> Float64:
    """Sums [R, F] over voxels that all count: a second pass over the file."""
    sums = np.zeros(shape)
    start = 0
    for values in stream_voxels(bold, header, voxels, block):
        _add_sums(values, rows, sums[:, start : start + len(values)])
        start += len(values)
    return sums


def _add_sums(values: Float64, rows: Index, sums: Float64) -> None:
    """Add values [f, v], whose rows ascend, to sums [R, f]."""
    first = np.flatnonzero(np.diff(rows, prepend=-1))
    if first.size:
        sums[rows[first]] += np.add.reduceat(values, first, axis=1).T


def means(
    sums: Float64, counted: NDArray[np.int64], full: NDArray[np.int64]
) -> tuple[Float64, Float64]:
    """Means [R, F] and coverage [R]; NaN in the means where less than half was seen.

    Parameters
    ----------
    sums : ndarray of float64 [R, F]
    counted, full : ndarray of int64 [R]
        Voxels summed, and voxels of the whole ROI.
    """
    coverage = counted / np.maximum(full, 1)
    seen = (coverage >= LEAST_COVERAGE) & (counted > 0)
    series = np.full(sums.shape, np.nan)
    series[seen] = sums[seen] / counted[seen, None]
    return series, coverage


def read_mask(mask: Path, header: NiftiHeader) -> Mask:
    """Brain mask [N] in the file's order, first axis fastest.

    Raises
    ------
    ScanProblem
        If it cannot be read, is on another grid than the scan, or has nothing inside.
    """
    values = read_values(mask, open_mask(mask, header))
    known = np.isfinite(values)
    inside: Mask = known & (values != 0)
    if not inside.any():
        found = "0 everywhere" if known.any() else "NaN everywhere"
        raise ScanProblem(mask, "numbers, not 0 inside the brain", found, "write the mask again")
    return inside


def open_mask(mask: Path, header: NiftiHeader) -> Any:
    """Open a brain mask without its data.

    Raises
    ------
    ScanProblem
        If it is no NIfTI, or on another grid than the scan.
    """
    image = load_nifti(mask)
    same = image.shape == header.shape and np.allclose(
        image.affine, header.affine, rtol=0, atol=SAME_GRID_MM
    )
    if not same:
        raise ScanProblem(
            mask,
            f"a mask on the scan's grid {list(header.shape)}",
            f"shape {list(image.shape)}" + (", elsewhere" if image.shape == header.shape else ""),
            "the affine of one of the two was changed, or it is another scan's mask: give the mask "
            "that preprocessing wrote beside the scan",
        )
    return image
