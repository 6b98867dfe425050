"""Known ROI time series painted into small images, so that the way back can be checked.

Every voxel of an ROI carries the ROI's series and a deviation of its own; the deviations of an ROI
add up to zero in every frame, so the mean over its voxels is the series again. What an image holds
is rounded: `Painting.truth` is the mean of the rounded values, in float64.

Shapes: R ROIs, F frames, V voxels of all ROIs, X, Y, Z the grid.
"""

from __future__ import annotations

import gzip
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal

import nibabel as nib
import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.ndimage import binary_dilation, binary_fill_holes

from brainjepa_core.arrays import Float64
from brainjepa_core.atlas import Atlas

Mask = NDArray[np.bool_]
Storage = Literal["int16", "float32"]

VOXEL_MM = 4.0
CENTRE_MM = (0.0, -18.0, 18.0)  # about the middle of the brain in MNI space
MARGIN = 2  # voxels around the ROIs: one of brain, one of air
# Voxels of a cell of 2 x 2 x 2 so that the first 4, 5 ... 8 are always one compact piece.
_BLOB = np.array(
    [(0, 0, 0), (0, 0, 1), (0, 1, 1), (0, 1, 0), (1, 1, 0), (1, 1, 1), (1, 0, 1), (1, 0, 0)]
)
_SMALLEST = 4
_LEVELS = 60_000  # of the 65536 that int16 has


@dataclass(frozen=True)
class LabelVolume:
    """A made-up label image: each ROI a compact blob of 4 to 8 voxels, left ROIs at negative x.

    Attributes
    ----------
    atlas : Atlas
        Its centroids are the blobs' true centres in mm, to a micrometre.
    labels : ndarray of int16 [X, Y, Z]
        0 is background.
    numbers : tuple of int
        Label of each of the R ROIs.
    affine : ndarray of float64 [4, 4]
        Voxel indices to mm.
    """

    atlas: Atlas
    labels: NDArray[np.int16]
    numbers: tuple[int, ...]
    affine: Float64

    @classmethod
    def of(cls, atlas: Atlas) -> LabelVolume:
        """Place an atlas' ROIs on the smallest grid that holds them, labelled 1 to R."""
        sides = sides_of(atlas.hemispheres)
        most = max(sides.count("L"), sides.count("R"))
        wide = int(np.ceil((most / 2) ** (1 / 3)))
        deep = int(np.ceil(most / wide**2))
        grid = (2 * (MARGIN + 2 * wide + 1), 2 * (MARGIN + deep), 2 * (MARGIN + wide))
        labels = np.zeros(grid, np.int16)
        placed = {"L": 0, "R": 0}
        for number, side in enumerate(sides, start=1):
            y, z, x = np.unravel_index(placed[side], (deep, wide, wide))
            placed[side] += 1
            size = _SMALLEST + (number - 1) % (len(_BLOB) - _SMALLEST + 1)
            i, j, k = (_BLOB[:size] + 2 * np.array([x, y, z])).T
            half = grid[0] // 2
            i = half - 2 - i if side == "L" else half + 1 + i  # a gap of two voxels between them
            labels[i, j + MARGIN, k + MARGIN] = number
        affine = np.diag([VOXEL_MM, VOXEL_MM, VOXEL_MM, 1.0])
        affine[:3, 3] = np.array(CENTRE_MM) - VOXEL_MM * (np.array(grid) - 1) / 2
        bare = cls(atlas, labels, tuple(range(1, len(atlas) + 1)), affine)
        centres = tuple(tuple(c) for c in bare._centres().tolist())
        return replace(bare, atlas=replace(atlas, centroids=centres))

    def relabelled(self, numbers: tuple[int, ...]) -> LabelVolume:
        """The same ROIs in the same places under other numbers, R of them."""
        new = np.zeros_like(self.labels)
        for voxels, number in zip(self.voxels, numbers, strict=True):
            new.ravel()[voxels] = number
        return replace(self, labels=new, numbers=tuple(numbers))

    @cached_property
    def voxels(self) -> tuple[NDArray[np.int64], ...]:
        """Flat indices (C order) of each ROI's voxels."""
        flat = self.labels.ravel()
        return tuple(np.flatnonzero(flat == number) for number in self.numbers)

    @cached_property
    def brain(self) -> Mask:
        """All ROIs and a margin of one voxel, [X, Y, Z]."""
        found: Mask = binary_fill_holes(binary_dilation(self.labels > 0))
        return found

    def means(self, values: ArrayLike) -> Float64:
        """Mean over each ROI's voxels in float64: [X, Y, Z, F] to [R, F], or [X, Y, Z] to [R]."""
        array = np.asarray(values, np.float64)
        rows = array.reshape(self.labels.size, *array.shape[3:])
        return np.stack([rows[voxels].mean(axis=0) for voxels in self.voxels])

    def coverage(self, seen: Mask) -> Float64:
        """Share of each ROI's voxels that a mask [X, Y, Z] holds, [R]."""
        return self.means(seen)

    def image(self) -> nib.Nifti1Image:
        """The label image."""
        return _nifti(self.labels, self.affine)

    def mask_image(self, seen: Mask) -> nib.Nifti1Image:
        """A brain mask [X, Y, Z] on this grid."""
        return _nifti(seen.astype(np.uint8), self.affine)

    def _centres(self) -> Float64:
        places = [np.stack(np.unravel_index(v, self.labels.shape)).mean(1) for v in self.voxels]
        found: Float64 = nib.affines.apply_affine(self.affine, np.stack(places)).round(3)
        return found


@dataclass(frozen=True)
class Painting:
    """A painted scan, as its file will hold it.

    Attributes
    ----------
    stored : ndarray of int16 or float32 [X, Y, Z, F]
    slope, intercept : float
        Value = slope x stored + intercept.
    affine : ndarray of float64 [4, 4]
    brain : ndarray of bool [X, Y, Z]
        What the scan saw: ROIs that are missing in the series are outside.
    truth : ndarray of float64 [R, F]
        Mean of the file's values over each ROI's voxels; NaN for a missing ROI.
    """

    stored: NDArray[Any]
    slope: float
    intercept: float
    affine: Float64
    brain: Mask
    truth: Float64

    def image(self, tr: float) -> nib.Nifti1Image:
        """NIfTI image with the repetition time (s) in its header; write it with `nifti_bytes`.

        In memory its data are the stored numbers: slope and intercept apply when it is read.
        """
        image = _nifti(self.stored, self.affine)
        image.header.set_zooms((*image.header.get_zooms()[:3], tr))
        image.header.set_xyzt_units("mm", "sec")
        if self.stored.dtype == np.int16:
            image.header.set_slope_inter(self.slope, self.intercept)
        return image


def paint(
    series: ArrayLike,
    volume: LabelVolume,
    rng: np.random.Generator,
    *,
    storage: Storage = "int16",
    spread: float = 1.0,
) -> Painting:
    """Paint ROI series into a 4-D image.

    Parameters
    ----------
    series : array [R, F]
        In the units of the image; a row of NaN is an ROI outside the field of view, whose voxels
        are 0.
    volume : LabelVolume
    rng : numpy.random.Generator
        Source of the voxels' deviations, and of the noise between ROIs.
    storage : {"int16", "float32"}
        How the file keeps numbers; int16 with a slope and an intercept.
    spread : float
        Standard deviation of a voxel about its ROI's series, in those of the series in time.

    Returns
    -------
    Painting

    Raises
    ------
    ValueError
        If the series are not one row an ROI, or a row has NaN among numbers.
    """
    wanted = np.asarray(series, np.float64)
    if wanted.ndim != 2 or len(wanted) != len(volume.atlas):
        raise ValueError(
            f"expected series [{len(volume.atlas)} ROIs, frames], found shape "
            f"{list(wanted.shape)}; give one row an ROI of the label volume"
        )
    seen: Mask = np.asarray(np.isfinite(wanted).all(axis=1))
    if not np.isnan(wanted[~seen]).all():
        raise ValueError(
            "expected finite series, or NaN in all frames of an ROI, found some NaN or infinity; "
            "interpolate the frames, or set the whole ROI to NaN"
        )
    values = np.zeros((volume.labels.size, wanted.shape[1]))
    brain = volume.brain.copy()
    for voxels, is_seen in zip(volume.voxels, seen, strict=True):
        brain.ravel()[voxels] = is_seen
    if seen.any():
        present = wanted[seen]
        air = np.flatnonzero((brain & (volume.labels == 0)).ravel())
        values[air] = rng.normal(present.mean(), present.std(1).mean(), (air.size, wanted.shape[1]))
        groups = [voxels for voxels, is_seen in zip(volume.voxels, seen, strict=True) if is_seen]
        values[np.concatenate(groups)] = _voxel_series(present, groups, spread, rng)
    grid = values.reshape(*volume.labels.shape, -1)
    stored, slope, intercept = _quantised(grid) if storage == "int16" else (grid, 1.0, 0.0)
    stored = stored.astype(storage)
    truth = volume.means(stored.astype(np.float64) * slope + intercept)
    truth[~seen] = np.nan
    return Painting(stored, slope, intercept, volume.affine, brain, truth)


def nifti_bytes(image: nib.Nifti1Image) -> bytes:
    """The ``.nii.gz`` file of an image; the same image gives the same bytes."""
    return gzip.compress(image.to_bytes(), compresslevel=1, mtime=0)


def sides_of(hemispheres: tuple[str, ...]) -> list[str]:
    """``L`` or ``R`` for every ROI; those without a hemisphere fill the emptier side."""
    sides: list[str] = []
    for known in hemispheres:
        emptier = "L" if sides.count("L") <= sides.count("R") else "R"
        sides.append(known if known in ("L", "R") else emptier)
    return sides


def _voxel_series(
    series: Float64, groups: list[NDArray[np.int64]], spread: float, rng: np.random.Generator
) -> Float64:
    """Series [V, F] of the voxels of all ROIs, group after group."""
    sizes = np.array([len(voxels) for voxels in groups])
    roi = np.repeat(np.arange(len(groups)), sizes)
    starts = np.cumsum(sizes) - sizes
    noise = rng.standard_normal((roi.size, series.shape[1])) * spread * series.std(1)[roi, None]
    level = rng.standard_normal((roi.size, 1)) * 0.05 * np.abs(series.mean(1))[roi, None]
    deviation = noise + level
    deviation -= (np.add.reduceat(deviation, starts, axis=0) / sizes[:, None])[roi]
    found: Float64 = series[roi] + deviation
    return found


def _quantised(values: Float64) -> tuple[Float64, float, float]:
    """Whole numbers of int16, slope and intercept.

    The slope is a power of two and the intercept a multiple of it, so both are exact in the
    header's float32, and 0 stays 0.
    """
    low, high = float(values.min()), float(values.max())
    slope = 2.0 ** np.ceil(np.log2((high - low) / _LEVELS)) if high > low else 1.0
    intercept = round((low + high) / 2 / slope) * slope
    return np.rint((values - intercept) / slope), float(slope), float(intercept)


def _nifti(array: NDArray[np.generic], affine: Float64) -> nib.Nifti1Image:
    image = nib.Nifti1Image(array, affine)
    image.set_sform(affine, code="mni")
    image.set_qform(affine, code="mni")
    return image
