"""An atlas as a NIfTI label image: names from its table, rows by name, labels on a scan's grid.

Labels become rows of an atlas by name only, and where the atlas knows its ROIs' centres in mm, the
image must agree with them. Measured over the 450 ROIs of the default atlas: in label images of the
right order, in MNI152NLin2009cAsym and in MNI152NLin6Asym, every centre is within 3.7 mm of the
atlas'; where an image in 7-network order carries 17-network names, 394 or more are over 10 mm away
and 387 or more over 15 mm. `FAR_MM` and `FAR_SHARE` lie between.

Shapes: R ROIs, V labelled voxels.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from brainjepa_core.arrays import Float64
from brainjepa_core.atlas import Atlas, names_in_7network_order, to_17network_names
from brainjepa_core.problems import plainly
from brainjepa_core.signals.images.nifti_stream import NiftiHeader, load_nifti, read_values
from brainjepa_core.signals.images.templates import require_template
from brainjepa_core.signals.problems import ScanProblem, is_there
from brainjepa_core.signals.tables.rows import read_rows

FAR_MM, FAR_SHARE = 15.0, 0.05
LEAST_OVERLAP = 0.5
EXAMPLES = 3
Index = NDArray[np.int64]


@dataclass(frozen=True)
class GridLabels:
    """Labels on a scan's grid, ordered by ROI.

    Attributes
    ----------
    voxels : ndarray of int64 [V]
        Labelled voxels of the scan's grid, as flat indices with the first axis fastest.
    rows : ndarray of int64 [V]
        ROI of each, ascending.
    full : ndarray of int64 [R]
        Voxels of each ROI if the grid went on beyond the scan's field of view.
    """

    voxels: Index
    rows: Index
    full: Index


@dataclass(frozen=True)
class _Labelled:
    """Labelled voxels of the image itself: indices [V, 3], rows [V], affine [4, 4]."""

    ijk: Index
    rows: Index
    affine: Float64


@dataclass(frozen=True)
class LabelImage:
    """Where an atlas' label image is; reading it waits until a process needs it, once a grid.

    Problems of the image are `ScanProblem`s that name it: call `check` before the first scan.

    Attributes
    ----------
    image : Path
        3D NIfTI of integer labels; 0 is background.
    atlas : Atlas
        Labels of other regions are left out; ROIs without a label are missing.
    table : Path, optional
        Names of labels: a TSV with columns ``index`` and ``name`` (BIDS ``dseg.tsv``), or
        Connectome Workbench's label list. By default the TSV of the image's name beside it; if
        there is none, labels 1 to R are the ROIs in the atlas' order.
    """

    image: Path
    atlas: Atlas
    table: Path | None = None

    def check(self, space: str | None = None, cohort: str | None = None) -> None:
        """Read the image and its names.

        Parameters
        ----------
        space : str, optional
            BIDS ``space`` of the scans; the template of the image's file name must be the same.
        cohort : str, optional
            Of the scans' template, likewise.

        Raises
        ------
        ScanProblem
            If the image is in another space, has labels that are no integers, has no ROI of the
            atlas, or has ROIs where the atlas has others.
        """
        if space:
            require_template(self.image, space, cohort)
        self._read()

    def on_grid(self, scan: Path, header: NiftiHeader) -> GridLabels:
        """Labels on a scan's grid, nearest neighbour where the grids differ.

        Parameters
        ----------
        scan : Path
            For the error.
        header : NiftiHeader
            Of the scan.

        Raises
        ------
        ScanProblem
            About the image as in `check`, or about the scan where less than half of the labelled
            volume is within its field of view.
        """
        labelled = self._read()
        inside = _share_inside(labelled, header)
        if inside < LEAST_OVERLAP:
            raise ScanProblem(
                scan,
                f"a field of view over the atlas ({self.image.name})",
                f"{inside:.0%} of the labelled volume within it",
                "its affine looks shifted, or it is in another space: mend the header, or "
                "preprocess the scan again",
            )
        return _on_grid(self, self._stamp, header.shape, tuple(header.affine.ravel().tolist()))

    @property
    def names_file(self) -> Path | None:
        """The table that names its labels; None where there is none."""
        beside = self.image.with_name(re.sub(r"\.nii(\.gz)?$", "", self.image.name) + ".tsv")
        return self.table or (beside if is_there(beside) else None)

    @property
    def _stamp(self) -> tuple[int, ...]:
        """Times of change: what a process read before is not believed once a file is new."""
        files = (self.image, self.names_file)
        return tuple(f.stat().st_mtime_ns for f in files if f is not None and f.exists())

    def _read(self) -> _Labelled:
        return _read(self, self._stamp)


@lru_cache(maxsize=4)
def _read(labels: LabelImage, stamp: tuple[int, ...]) -> _Labelled:
    """Voxels of the atlas' ROIs; `stamp` only makes files that have changed be read again."""
    image, file = load_nifti(labels.image), labels.image
    shape = (*image.shape, 1)
    if len(shape) < 4 or np.prod(shape[3:]) != 1 or image.get_data_dtype().kind not in "iuf":
        raise ScanProblem(
            file,
            "a 3D image of integer labels",
            f"shape {list(image.shape)} of {image.get_data_dtype()}",
            "give a label image, with one number a region",
        )
    stored = read_values(file, image)
    where = np.flatnonzero(stored)
    with np.errstate(invalid="ignore"):  # NaN becomes some integer, which then differs
        values = stored[where].astype(np.int64)
    if not np.array_equal(values, stored[where]):
        raise ScanProblem(
            file,
            "integer labels",
            "values between them",
            "resample the atlas with nearest neighbour interpolation",
        )
    found, places = np.unique(values, return_inverse=True)
    rows = _rows_of_labels(labels, found)
    kept = rows[places] >= 0
    ijk = np.stack(np.unravel_index(where[kept], shape[:3], order="F"), axis=1)
    labelled = _Labelled(ijk, rows[places][kept], np.asarray(image.affine, np.float64))
    _check_places(labels, labelled, values[kept])
    return labelled


def _rows_of_labels(labels: LabelImage, found: Index) -> Index:
    """Row of each label in the atlas; -1 for what is no ROI of it."""
    file, atlas = labels.names_file, labels.atlas
    if file is not None:
        names = _read_names(file)
        rows = rows_of_names(list(names.values()), atlas, file)
        row_of = dict(zip(names, rows.tolist(), strict=True))
    elif found.size and (found[0] < 1 or found[-1] > len(atlas)):
        raise ScanProblem(
            labels.image,
            f"labels 1 to {len(atlas)} in the order of atlas '{atlas.name}', there being no table",
            f"labels from {found[0]} to {found[-1]}",
            "give the label_table that lists their names",
        )
    else:
        row_of = {row + 1: row for row in range(len(atlas))}
    rows = np.array([row_of.get(label, -1) for label in found.tolist()], np.int64)
    if not (rows >= 0).any():
        raise ScanProblem(
            labels.image,
            f"labels of atlas '{atlas.name}'",
            f"{len(found)} labels, none of them an ROI of it",
            "give the image and the label_table that belong together",
        )
    return rows


def rows_of_names(names: Sequence[str], atlas: Atlas, file: Path) -> Index:
    """Atlas row of each name [N], -1 where it is no ROI of the atlas.

    Parcels under their 7-network names are found in an atlas that has their 17-network names.

    Raises
    ------
    ScanProblem
        About `file`, if it names no ROI of the atlas, or one twice.
    """
    place = {roi: row for row, roi in enumerate(atlas.rois)}
    pairs = zip(names, to_17network_names(names), strict=True)
    rows = np.array([place.get(old, place.get(new, -1)) for old, new in pairs], np.int64)
    known, counts = np.unique(rows[rows >= 0], return_counts=True)
    if not known.size:
        raise ScanProblem(
            file,
            f"names of atlas '{atlas.name}' such as {', '.join(atlas.rois[:EXAMPLES])}",
            f"{len(names)} others such as {', '.join(names[:EXAMPLES])}" if names else "none",
            "give names of this atlas, or choose the atlas of the data",
        )
    if (counts > 1).any():
        repeated = ", ".join(atlas.rois[row] for row in known[counts > 1][:EXAMPLES])
        raise ScanProblem(file, "each ROI once", f"{repeated} repeated", "remove the copies")
    return rows


def _read_names(file: Path) -> dict[int, str]:
    """Names by label, of a TSV or of a Workbench label list."""
    try:
        if file.suffix == ".tsv":
            table = [row.cells for row in read_rows(file, "index")]
            column = "name" if "name" in table[0] else "label"
            pairs = [(int(row["index"]), row[column].strip()) for row in table]
        else:
            text = file.read_text(encoding="utf-8-sig")
            lines = [line.strip() for line in text.splitlines() if line.strip()]
            numbers = [line.split() for line in lines[1::2]]
            if not all(len(number) == 5 for number in numbers):
                raise ValueError
            indices = [int(number[0]) for number in numbers]
            pairs = list(zip(indices, lines[::2], strict=True))
        names = dict(pairs)
        if len(names) < len(pairs):
            raise ValueError
    except (OSError, ValueError, KeyError, IndexError, TypeError) as error:
        raise ScanProblem(
            file,
            "a TSV with columns index and name, or a Workbench label list (a line of name, a line "
            "of index and colour), each index once",
            plainly(error),
            "write the table anew",
        ) from error
    return names


def _check_places(labels: LabelImage, labelled: _Labelled, values: Index) -> None:
    """Compare each label's centre of mass with the atlas' centre of that ROI."""
    atlas = labels.atlas
    if atlas.centroids is None:
        return
    rows, first = np.unique(labelled.rows, return_index=True)
    xyz = labelled.ijk @ labelled.affine[:3, :3].T + labelled.affine[:3, 3]
    counts = np.bincount(labelled.rows)[rows]
    totals = np.stack([np.bincount(labelled.rows, axis)[rows] for axis in xyz.T], 1)
    centres: Float64 = totals / counts[:, None]
    off = np.linalg.norm(centres - np.array(atlas.centroids)[rows], axis=1)
    if np.mean(off > FAR_MM) <= FAR_SHARE:
        return
    hint = ""
    if _fits_7network_order(atlas, values[first], centres):
        hint = "; looks like 7-network order"
    worst = int(off.argmax())
    raise ScanProblem(
        labels.image,
        f"each label where atlas '{atlas.name}' has the ROI of that name",
        f"{int((off > FAR_MM).sum())} of {len(rows)} ROIs over {FAR_MM:g} mm away, such as "
        f"{atlas.rois[rows[worst]]} by {off[worst]:.0f} mm{hint}",
        "give the label_table that belongs to this image (labels and names in one order), or the "
        "image in MNI space",
    )


def _fits_7network_order(atlas: Atlas, values: Index, centres: Float64) -> bool:
    """Whether labels are in place once they are read as rows of a file in 7-network order."""
    names = names_in_7network_order()
    if values.min() < 1 or values.max() > len(names) or not set(names) <= set(atlas.rois):
        return False
    rows = [atlas.rois.index(names[value - 1]) for value in values.tolist()]
    off = np.linalg.norm(centres - np.array(atlas.centroids)[rows], axis=1)
    return bool(np.mean(off > FAR_MM) <= FAR_SHARE)


def _share_inside(labelled: _Labelled, header: NiftiHeader) -> float:
    """Share of labelled voxels whose centre lies within the scan's box."""
    to_scan = np.linalg.inv(header.affine) @ labelled.affine
    at = labelled.ijk @ to_scan[:3, :3].T + to_scan[:3, 3]
    return float(((at >= -0.5) & (at < np.array(header.shape) - 0.5)).all(axis=1).mean())


@lru_cache(maxsize=4)
def _on_grid(
    labels: LabelImage,
    stamp: tuple[int, ...],
    shape: tuple[int, int, int],
    affine: tuple[float, ...],
) -> GridLabels:
    """Look up the nearest label of every point of the scan's lattice, also beyond its box."""
    labelled = _read(labels, stamp)
    lowest = labelled.ijk.min(0)
    extent = labelled.ijk.max(0) + 1 - lowest
    dense = np.full(extent + 2, -1, np.int64)  # a border of nothing, to which points outside go
    dense[tuple((labelled.ijk - lowest + 1).T)] = labelled.rows
    to_label = np.linalg.inv(labelled.affine) @ np.array(affine).reshape(4, 4)
    start, stop = _lattice(np.linalg.inv(to_label), lowest, extent)
    plane = np.stack(np.meshgrid(*map(np.arange, start[:2], stop[:2]), indexing="ij"))
    plane = plane.reshape(2, -1)
    # Half a voxel rounds up, as in scipy.ndimage and so in nilearn.
    base = to_label[:3, :2] @ plane + (to_label[:3, 3] + 0.5 - lowest + 1)[:, None]
    parts = []
    for k in range(start[2], stop[2]):  # a plane at a time: a grid of 1 mm has millions of points
        nearest = np.floor(base + to_label[:3, 2:3] * k).clip(0, (extent + 1)[:, None])
        rows = dense[tuple(nearest.astype(np.int64))]
        found = np.flatnonzero(rows >= 0)
        parts.append(np.stack([*plane[:, found], np.full(found.size, k), rows[found]]))
    *ijk, rows = np.concatenate(parts, axis=1)
    full = np.bincount(rows, minlength=len(labels.atlas))
    seen = np.all([(at >= 0) & (at < size) for at, size in zip(ijk, shape, strict=True)], axis=0)
    voxels = np.ravel_multi_index(tuple(at[seen] for at in ijk), shape, order="F")
    order = np.lexsort((voxels, rows[seen]))
    return GridLabels(voxels[order], rows[seen][order], full)


def _lattice(to_scan: Float64, lowest: Index, extent: Index) -> tuple[Index, Index]:
    """First and last (exclusive) index of the scan's lattice around the labelled box, an axis."""
    corners = np.stack(np.meshgrid(*([0, 1],) * 3, indexing="ij"), -1).reshape(-1, 3)
    at = (lowest - 0.5 + corners * extent) @ to_scan[:3, :3].T + to_scan[:3, 3]
    return np.floor(at.min(0)).astype(np.int64), np.ceil(at.max(0)).astype(np.int64) + 1
