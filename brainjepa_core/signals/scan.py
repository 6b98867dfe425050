"""A scan on its way into the store: found on disk, checked by its header, read in atlas order.

Every form of input (`brainjepa_core.signals.inputs`) gives `FoundScan`s; whatever follows
(cleaning, quality, store) knows only these and the `RawScan` they read.

Shapes: R ROIs, F frames, C regressors.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainjepa_core.arrays import Float32, Float64
from brainjepa_core.signals.problems import ScanProblem
from brainjepa_core.volume_grid import VolumeGrid

Mask = NDArray[np.bool_]
DROPPED = "CensoredFramesDropped"  # in `RawScan.details`: frames that are not in the series


@dataclass(frozen=True)
class ScanHeader:
    """What a header alone tells: number of frames, and seconds between two of them."""

    frames: int
    tr: float


@dataclass(frozen=True)
class Slice:
    """A cut through a scan, up is up.

    Attributes
    ----------
    image : ndarray of float32 [rows, columns]
        Mean signal.
    rois : ndarray of int32 [rows, columns]
        Row of the atlas from 1; 0 is no ROI.
    tsnr : ndarray of float32 [rows, columns]
        Mean over standard deviation in time; NaN outside ROIs, and where a voxel does not count.
    aspect : float
        Height of a voxel over its width.
    """

    image: Float32
    rois: NDArray[np.int32]
    tsnr: Float32
    aspect: float


@dataclass(frozen=True)
class RawScan:
    """A scan as its files have it, by ROI.

    Attributes
    ----------
    series : ndarray of float64 [R, F]
        In atlas order; a row of NaN is an ROI that is missing or seen by less than half.
    tr : float
        Seconds.
    coverage : ndarray of float64 [R]
        Share of an ROI that the scan saw, 0 for a missing one; NaN where the input, having no
        image, does not tell.
    tsnr : float
        Median over the voxels of all ROIs of mean over standard deviation in time; NaN if unknown.
    fd : ndarray of float64 [F], optional
        Framewise displacement in mm, 0 for the first frame.
    regressors : ndarray of float64 [F, C], optional
        What cleaning takes out.
    keep : ndarray of bool [F], optional
        False where a frame is censored; cleaning keeps all where the input does not tell.
    masked : bool, optional
        Whether a brain mask said which voxels count; missing for what is no volume.
    details : dict
        Facts for the sidecar of the derivative, under names of BIDS where it has them.
    slices : tuple of Slice
        Cuts that show whether the atlas lies on the scan, and its tSNR; empty for what is no
        volume.
    """

    series: Float64
    tr: float
    coverage: Float64
    tsnr: float = float("nan")
    fd: Float64 | None = None
    regressors: Float64 | None = None
    keep: Mask | None = None
    masked: bool | None = None
    details: dict[str, Any] = field(default_factory=dict)
    slices: tuple[Slice, ...] = ()

    @property
    def censored(self) -> float:
        """Share of frames that are censored, or were dropped for it before; NaN if unknown."""
        gone = self.details.get(DROPPED)
        if gone is not None:
            return float(gone / (gone + self.series.shape[1]))
        return float("nan") if self.keep is None else float(1 - self.keep.mean())


@dataclass(frozen=True)
class FoundScan(ABC):
    """One scan, known by its files; nothing of it has been read yet. It can be pickled.

    Attributes
    ----------
    subject, session, run : str
        As the store will name it: ``sub-01``, ``2`` (or empty), ``task-rest_run-1``.
    files : tuple of Path
        Everything it is read from, the signal first.
    """

    subject: str
    session: str
    run: str
    files: tuple[Path, ...]

    @property
    def key(self) -> tuple[str, str, str]:
        """Subject, session and run."""
        return self.subject, self.session, self.run

    @property
    def read_whole(self) -> bool:
        """Whether it is a volume that is read without a brain mask, as the settings allow."""
        return False

    @abstractmethod
    def check(self) -> ScanHeader:
        """Look at headers only.

        Raises
        ------
        ScanProblem
            For the first thing that would keep the scan from being read.
        """

    def told_fd(self) -> float | None:
        """Mean framewise displacement in mm, where files tell it without the signal."""
        return None

    def write_volumes(self, grid: VolumeGrid, path: Path, keep: Mask | None, *, drop: bool) -> str:
        """Write the scan's volumes, as `images.volumes.write_volumes`; return their SHA-256.

        Raises
        ------
        ScanProblem
            If it has none, or they cannot be read.
        """
        raise ScanProblem(
            self.files[0], "a 4D image of volumes", "another form", "take prepare.volumes out"
        )

    @abstractmethod
    def read(self) -> RawScan:
        """Read the scan.

        Raises
        ------
        ScanProblem
            If it cannot be used.
        """
