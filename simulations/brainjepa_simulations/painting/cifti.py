"""The same scans on made-up cortical surfaces and subcortical voxels, as CIFTI.

Shapes: R ROIs, F frames, G grayordinates.
"""

from __future__ import annotations

from dataclasses import dataclass

import nibabel as nib
import numpy as np
from nibabel.cifti2 import BrainModelAxis, Cifti2Image, LabelAxis, SeriesAxis
from numpy.typing import ArrayLike, NDArray

from brainjepa_core.arrays import Float32, Float64
from brainjepa_core.atlas import Atlas
from brainjepa_simulations.painting.scans import sides_of

VERTICES, VOXELS = 5, 4  # of an ROI
MEDIAL_WALL = 20  # vertices a hemisphere that CIFTI leaves out
UNLABELLED = 10  # vertices a hemisphere that belong to no ROI
_EVERY = 4  # every fourth ROI of a hemisphere lies below the cortex


@dataclass(frozen=True)
class Grayordinates:
    """A made-up brain model: surfaces, some of whose vertices are left out, and voxels.

    Attributes
    ----------
    atlas : Atlas
    axis : BrainModelAxis
        Of G grayordinates.
    labels : ndarray of int64 [G]
        1 to R in the order of the atlas, 0 where there is no ROI.
    """

    atlas: Atlas
    axis: BrainModelAxis
    labels: NDArray[np.int64]

    @classmethod
    def of(cls, atlas: Atlas) -> Grayordinates:
        """Give every ROI vertices of its hemisphere, or voxels of its thalamus."""
        models: list[BrainModelAxis] = []
        labels: list[NDArray[np.int64]] = []
        below: list[tuple[str, NDArray[np.int64]]] = []
        for side, name in (("L", "LEFT"), ("R", "RIGHT")):
            rois = 1 + np.flatnonzero([own == side for own in sides_of(atlas.hemispheres)])
            deep = rois[::_EVERY]
            below.append((name, np.repeat(deep, VOXELS)))
            cortex = np.repeat(np.setdiff1d(rois, deep), VERTICES)
            cortex = np.concatenate([cortex, np.zeros(UNLABELLED, np.int64)])
            total = cortex.size + MEDIAL_WALL
            vertices = np.arange(total)[np.arange(total) >= MEDIAL_WALL]
            models.append(BrainModelAxis.from_surface(vertices, total, f"CORTEX_{name}"))
            labels.append(cortex)
        deepest = max(2, *(rows.size for _, rows in below))
        for x, (name, rows) in enumerate(below):
            places = np.stack([np.full(rows.size, x), np.arange(rows.size), np.zeros(rows.size)], 1)
            models.append(
                BrainModelAxis(
                    name=f"CIFTI_STRUCTURE_THALAMUS_{name}",
                    voxel=places.astype(np.int64),
                    affine=np.diag([2.0, 2.0, 2.0, 1.0]),
                    volume_shape=(2, deepest, 1),
                )
            )
            labels.append(rows)
        axis = models[0]
        for model in models[1:]:
            axis = axis + model
        return cls(atlas, axis, np.concatenate(labels))

    def means(self, values: ArrayLike) -> Float64:
        """Mean over each ROI's grayordinates in float64: [F, G] to [R, F]."""
        array = np.asarray(values, np.float64)
        numbers = range(1, len(self.atlas) + 1)
        return np.stack([array[:, self.labels == number].mean(axis=1) for number in numbers])

    def paint(
        self, series: ArrayLike, tr: float, rng: np.random.Generator
    ) -> tuple[Cifti2Image, Float64]:
        """Paint ROI series into a ``dtseries`` of float32.

        Parameters
        ----------
        series : array [R, F]
            A row of NaN is painted as 0.
        tr : float
            Seconds.
        rng : numpy.random.Generator
            Source of the grayordinates' deviations.

        Returns
        -------
        image : Cifti2Image [F, G]
        truth : ndarray of float64 [R, F]
            ROI means of the image's values; NaN for rows of NaN.
        """
        wanted = np.asarray(series, np.float64)
        values = np.zeros((wanted.shape[1], self.labels.size))
        for number, row in enumerate(wanted, start=1):
            at = self.labels == number
            noise = rng.standard_normal((row.size, int(at.sum()))) * row.std()
            values[:, at] = np.nan_to_num(row[:, None] + noise - noise.mean(1, keepdims=True))
        stored = values.astype(np.float32)
        truth = self.means(stored)
        truth[np.isnan(wanted).all(axis=1)] = np.nan
        frames = SeriesAxis(start=0.0, step=tr, size=row.size)
        return _image(stored, (frames, self.axis), "CONNECTIVITY_DENSE_SERIES"), truth

    def label_image(self) -> Cifti2Image:
        """The ``dlabel`` of these ROIs, by name."""
        table = {0: ("???", (1.0, 1.0, 1.0, 0.0))}
        for number, roi in enumerate(self.atlas.rois, start=1):
            shade = number / len(self.atlas)
            table[number] = (roi, (shade, 1.0 - shade, 0.5, 1.0))
        axes = (LabelAxis(["painted"], [table]), self.axis)
        return _image(self.labels[None].astype(np.float32), axes, "CONNECTIVITY_DENSE_LABELS")


def _image(
    values: Float32, axes: tuple[nib.cifti2.Axis, nib.cifti2.Axis], intent: str
) -> Cifti2Image:
    image = Cifti2Image(values, header=axes)
    image.nifti_header.set_intent(f"NIFTI_INTENT_{intent}")
    return image
