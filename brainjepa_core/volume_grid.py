"""The grid that volumes of all sites are brought to: one orientation, one place in MNI space.

Axes run to the left, to the front and up (LAS), as the published weights of volumes expect. Voxels
lie at multiples of their size from `CENTRE`, so that an image that is resampled to 2 mm as
templates are (voxels at even millimetres) is cropped and nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from brainjepa_core.arrays import Float64

CENTRE = (0.0, -18.0, 8.0)  # mm: 192 mm about it hold the whole brain of MNI152 templates
TOWARDS = (-1.0, 1.0, 1.0)  # of the axes, in those of MNI space


@dataclass(frozen=True)
class VolumeGrid:
    """A box of voxels about the middle of the brain.

    Attributes
    ----------
    size : (int, int, int)
        Voxels along each axis.
    mm : float
        Width of a voxel.
    """

    size: tuple[int, int, int]
    mm: float

    @property
    def affine(self) -> Float64:
        """From indices of voxels to mm in MNI space, [4, 4]."""
        step = np.array(TOWARDS) * self.mm
        found = np.diag([*step, 1.0])
        found[:3, 3] = np.array(CENTRE) - step * (np.array(self.size) // 2)
        return found

    def places(self, points: ArrayLike) -> Float64:
        """Indices of voxels [n, 3], with fractions, of points [n, 3] in mm."""
        step = np.array(TOWARDS) * self.mm
        away = (np.asarray(points, np.float64) - np.array(CENTRE)) / step
        found: Float64 = away + np.array(self.size) // 2
        return found

    def __str__(self) -> str:
        return f"{' x '.join(map(str, self.size))} voxels of {self.mm:g} mm"


class VolumesRead(NamedTuple):
    """What a model that reads volumes needs of a scan.

    Attributes
    ----------
    grid : VolumeGrid
        That its volumes lie on.
    windows : int
        How many windows, apart from one another, a step sees of it.
    """

    grid: VolumeGrid
    windows: int = 1
