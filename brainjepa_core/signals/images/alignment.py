"""Slices of a scan: whether an atlas lies on its mean image, and how good the signal is there.

Shapes: V labelled voxels; X, Y, Z voxels of the grid, turned so that the axes go right, forward and
up.
"""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np

from brainjepa_core.arrays import Float64
from brainjepa_core.signals.images.label_image import LabelImage
from brainjepa_core.signals.images.nifti_stream import load_nifti, read_header, read_values
from brainjepa_core.signals.scan import Slice

FRAMES = 10  # that are averaged: a scan is compressed, and its first frames cost little
CUTS = {0: (0.3, 0.7), 1: (0.35, 0.65), 2: (0.25, 0.5, 0.75)}  # of the labelled volume, by axis


def alignment(bold: Path, labels: LabelImage, tsnr: Float64) -> tuple[Slice, ...]:
    """Cuts from the side, from the front and from above; empty for labels outside the image.

    Parameters
    ----------
    bold : Path
        4D NIfTI.
    labels : LabelImage
    tsnr : ndarray of float64 [V]
        Of the labelled voxels, as `Parcellated.voxel_tsnr`.

    Raises
    ------
    ScanProblem
        As of `parcellate`.
    """
    header = read_header(bold)
    grid = labels.on_grid(bold, header)
    voxels = int(np.prod(header.shape))
    volume, ratios = np.zeros(voxels, np.int32), np.full(voxels, np.nan, np.float32)
    volume[grid.voxels], ratios[grid.voxels] = grid.rows + 1, tsnr
    first = read_values(bold, load_nifti(bold), FRAMES).astype(np.float32)
    mean = np.nan_to_num(first.reshape(*header.shape, -1, order="F")).mean(-1)
    turned = [
        nibabel.as_closest_canonical(nibabel.Nifti1Image(array, header.affine))
        for array in (mean, *(one.reshape(header.shape, order="F") for one in (volume, ratios)))
    ]
    size = np.abs(turned[0].header.get_zooms()[:3])
    values, rois, quality = (np.asarray(one.dataobj) for one in turned)
    found = []
    for axis, shares in CUTS.items():
        across, up = (other for other in range(3) if other != axis)
        there = np.flatnonzero((rois > 0).any((across, up)))
        for share in shares if there.size else ():
            place = there[int(share * (there.size - 1))]
            seen, labelled, known = (
                array.take(place, axis).T[::-1] for array in (values, rois, quality)
            )
            found.append(Slice(seen, labelled, known, float(size[up] / size[across])))
    return tuple(found)
