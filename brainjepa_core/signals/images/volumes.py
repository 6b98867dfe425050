"""From a 4D image to volumes on the grid of all sites: z-scored as a whole, in half precision.

A voxel counts if it is inside the brain mask, finite in every frame and not zero in all of them, as
for the signals of ROIs. All that count are brought to mean 0 and variance 1 together, over space
and time; all else gets the smallest value of these (Kim et al., NeurIPS 2023, arXiv 2307.05916,
read by code that its authors published). Between voxels values are linear. Censored frames become
straight lines between their neighbours, or are left out, so that a scan's volumes are those of the
frames of its series. Nothing is regressed out.

The image is read twice, a few frames at a time: its size does not matter to memory.

Shapes: F frames of the image, X, Y, Z voxels of the grid, V of them that the image may show.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Self

import numpy as np
from nibabel.affines import apply_affine
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates

from brainjepa_core.arrays import Float64
from brainjepa_core.signals.images.nifti_stream import NiftiHeader, read_header, stream_voxels
from brainjepa_core.signals.images.parcellate import read_mask
from brainjepa_core.signals.problems import ScanProblem
from brainjepa_core.signals.scan import Mask
from brainjepa_core.volume_grid import VolumeGrid

DTYPE = np.dtype("<f2")
ROUNDED = 1e-14  # share of the squared mean that a variance of equal voxels may be
ROUNDING = 6  # decimals of a voxel: an image that lies on the grid is copied


def write_volumes(
    bold: Path,
    mask: Path | None,
    grid: VolumeGrid,
    path: Path,
    keep: Mask | None = None,
    *,
    drop: bool = False,
) -> str:
    """Write a scan's volumes as an array (.npy) float16 [frames, X, Y, Z].

    Parameters
    ----------
    bold, mask : Path
        4D image, and brain mask on its grid.
    grid : VolumeGrid
    path : Path
        To be written; nothing is left there where it fails.
    keep : ndarray of bool [F], optional
        False where a frame is censored.
    drop : bool
        Leave censored frames out.

    Returns
    -------
    str
        SHA-256 of shape and bytes, as `storing.scan_table.array_digest` has it.

    Raises
    ------
    ScanProblem
        If the files cannot be read, the mask is on another grid, or no voxel of the brain lies in
        the grid or varies.
    """
    header = read_header(bold)
    kept = np.ones(header.frames, bool) if keep is None else keep
    shown = _Shown.of(grid, header, None if mask is None else read_mask(mask, header))
    scale = _Scale.of(bold, header, shown, kept)
    if scale is None:
        raise ScanProblem(
            bold,
            f"a brain that varies within the grid of volumes ({grid})",
            "none of its voxels there",
            "look at the image's affine and mask, or change prepare.volumes",
        )
    frames = int(kept.sum()) if drop else header.frames
    known = (scale.of_frame(frame) for frame, _ in _frames(bold, header, shown, kept))
    values = known if drop else filled(known, kept)
    places = shown.voxels[scale.counting]
    volumes = (_placed(frame, places, grid, scale.lowest) for frame in values)
    try:
        return _write(path, volumes, (frames, *grid.size))
    except BaseException:
        path.unlink(missing_ok=True)
        raise


class _Shown(NamedTuple):
    """Voxels of the grid that an image may show.

    Attributes
    ----------
    voxels : ndarray of int64 [V]
        Flat indices in the grid.
    places : ndarray of float64 [3, V]
        Where they lie in the image, in its voxels.
    nearest : ndarray of int64 [V]
        Flat indices of the nearest ones in the file's order.
    """

    voxels: NDArray[np.int64]
    places: Float64
    nearest: NDArray[np.int64]

    @classmethod
    def of(cls, grid: VolumeGrid, header: NiftiHeader, inside: Mask | None) -> Self:
        """Those within the image's box, and inside its mask [N]."""
        indices = np.indices(grid.size).reshape(3, -1).T
        towards = np.linalg.inv(header.affine) @ grid.affine
        places = apply_affine(towards, indices).round(ROUNDING)
        last = np.array(header.shape) - 1
        within = ((places >= 0) & (places <= last)).all(1)
        voxels, places = np.flatnonzero(within), places[within]
        nearest = np.ravel_multi_index(
            np.floor(places + 0.5).astype(int).T, header.shape, order="F"
        )
        there = np.ones(len(voxels), bool) if inside is None else inside[nearest]
        return cls(voxels[there], places[there].T, nearest[there])


@dataclass(frozen=True)
class _Scale:
    """Which voxels of an image count, and what z-scores them together.

    Attributes
    ----------
    counting : ndarray of bool [V]
    mean, spread : float
    lowest : float
        Smallest z.
    """

    counting: Mask
    mean: float
    spread: float
    lowest: float

    @classmethod
    def of(cls, bold: Path, header: NiftiHeader, shown: _Shown, kept: Mask) -> Self | None:
        """Over the frames that are kept; None where nothing counts, or varies."""
        count = len(shown.voxels)
        finite, lit = np.ones(count, bool), np.zeros(count, bool)
        total, squares, least = np.zeros(count), np.zeros(count), np.full(count, np.inf)
        everything = np.ones(header.frames, bool)
        for number, (values, nearest) in enumerate(_frames(bold, header, shown, everything)):
            finite &= np.isfinite(nearest)
            lit |= np.abs(nearest) > header.half_step
            if kept[number]:
                total += values
                squares += values**2
                least = np.minimum(least, values)
        counting = finite & lit
        numbers = int(counting.sum()) * int(kept.sum())
        if not numbers:
            return None
        mean = total[counting].sum() / numbers
        variance = squares[counting].sum() / numbers - mean**2
        if not variance > ROUNDED * mean**2:
            return None
        spread = float(np.sqrt(variance))
        return cls(counting, float(mean), spread, float((least[counting].min() - mean) / spread))

    def of_frame(self, values: Float64) -> Float64:
        """A frame's voxels that count, as z."""
        found: Float64 = (values[self.counting] - self.mean) / self.spread
        return found


def _frames(
    bold: Path, header: NiftiHeader, shown: _Shown, wanted: Mask
) -> Iterator[tuple[Float64, Float64]]:
    """Of each wanted frame the values [V] at the grid's voxels, and those of the nearest ones."""
    numbers = iter(wanted)
    for block in stream_voxels(bold, header, np.arange(math.prod(header.shape))):
        for frame in block:
            if not next(numbers):
                continue
            nearest = frame[shown.nearest]
            whole = np.nan_to_num(frame, copy=False, posinf=0, neginf=0)
            image = whole.reshape(header.shape, order="F")
            yield map_coordinates(image, shown.places, order=1, mode="nearest"), nearest


def filled(known: Iterable[Float64], keep: Mask) -> Iterator[Float64]:
    """All frames in turn, of those that are kept; others on straight lines between neighbours.

    Before the first one kept and after the last one, their values are held: what
    `cleaning.clean.interpolated` makes of series, without all frames in memory.

    Parameters
    ----------
    known : iterable of ndarray [any]
        One for each True in `keep`.
    keep : ndarray of bool [F]
    """
    last: Float64 | None = None
    place = -1
    for number, values in zip(np.flatnonzero(keep), known, strict=True):
        for gap in range(place + 1, number):
            share = (gap - place) / (number - place)
            yield values if last is None else last + share * (values - last)
        yield values
        last, place = values, int(number)
    assert last is not None
    for _ in range(place + 1, len(keep)):
        yield last


def _placed(
    values: Float64, places: NDArray[np.int64], grid: VolumeGrid, background: float
) -> NDArray[np.float16]:
    volume = np.full(math.prod(grid.size), background, DTYPE)
    volume[places] = values
    return volume


def _write(path: Path, volumes: Iterable[NDArray[np.float16]], shape: tuple[int, ...]) -> str:
    """Write an array volume by volume: a full disk is an error here, and not of a mapping."""
    digest = hashlib.sha256(repr(shape).encode())
    facts = {"descr": DTYPE.str, "fortran_order": False, "shape": shape}
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, facts)
        for volume in volumes:
            content = volume.tobytes()
            digest.update(content)
            file.write(content)
    return digest.hexdigest()
