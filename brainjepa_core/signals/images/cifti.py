"""ROI signals from CIFTI: grayordinates by a dlabel file, or parcels that have names already.

A CIFTI series lies on disk grayordinate by grayordinate, each with all its frames, so it is read
some grayordinates at a time: what each of them lacks is known at once. Which grayordinate is which
is read from both files: structure and vertex on the surface, structure and voxel in the volume.

Shapes: R ROIs, F frames, G grayordinates of the scan, g of them at a time, P parcels.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from nibabel.cifti2 import BrainModelAxis, LabelAxis, ParcelsAxis, ScalarAxis, SeriesAxis

from brainjepa_core.arrays import Float64
from brainjepa_core.atlas import Atlas
from brainjepa_core.problems import plainly
from brainjepa_core.signals.images.label_image import Index, rows_of_names
from brainjepa_core.signals.images.parcellate import SAME_GRID_MM, Parcellated, means
from brainjepa_core.signals.problems import ScanProblem, require_there
from brainjepa_core.signals.scan import ScanHeader

_AXES: dict[type, str] = {
    BrainModelAxis: "grayordinates",
    LabelAxis: "labels",
    ParcelsAxis: "parcels",
    ScalarAxis: "maps",
    SeriesAxis: "frames",
}
PIECE_BYTES = 16 << 20
_MODEL = re.compile(r"<BrainModel\s[^>]*>")
XML_STARTS = 540 + 4 + 8  # NIfTI-2 header, extender, size and code of the extension


@dataclass(frozen=True)
class CiftiLabels:
    """Where an atlas' ``dlabel.nii`` is; its label names are found in the atlas.

    Problems of the file are `ScanProblem`s that name it: call `check` before the first scan.
    """

    image: Path
    atlas: Atlas

    def check(self) -> None:
        """Read the file.

        Raises
        ------
        ScanProblem
            If it is no dlabel file of ROIs of the atlas.
        """
        self._read()

    def surfaces(self) -> dict[str, int]:
        """Vertices of each surface that the labels are on, by its structure.

        Raises
        ------
        ScanProblem
            As `check`.
        """
        return dict(self._read()[1].nvertices)

    def on_axis(self, scan: Path, axis: BrainModelAxis) -> tuple[Index, Index]:
        """ROI of each of a scan's grayordinates [G], -1 for none, and sizes of whole ROIs [R].

        Raises
        ------
        ScanProblem
            About the scan, if its surfaces or its volume are others than the labels'.
        """
        rows, own = self._read()
        full = np.bincount(rows[rows >= 0], minlength=len(self.atlas))
        if axis == own:
            return rows, full
        _check_same_brain(scan, axis, own, self.image)
        place = {key: row for key, row in zip(_keys(own), rows.tolist(), strict=True) if row >= 0}
        return np.array([place.get(key, -1) for key in _keys(axis)], np.int64), full

    def _read(self) -> tuple[Index, BrainModelAxis]:
        stamp = self.image.stat().st_mtime_ns if self.image.exists() else 0
        return _read_labels(self, stamp)


@lru_cache(maxsize=4)
def _read_labels(labels: CiftiLabels, stamp: int) -> tuple[Index, BrainModelAxis]:
    """ROI of each grayordinate; `stamp` only makes a file that has changed be read again."""
    image = _load(labels.image)
    names, axis = (image.header.get_axis(i) for i in range(2))
    kinds = isinstance(names, LabelAxis) and isinstance(axis, BrainModelAxis)
    if not kinds or image.shape != (1, len(axis)):
        raise ScanProblem(
            labels.image,
            "a dlabel file with one map",
            f"{len(names)} rows of {_AXES[type(names)]} by {_AXES[type(axis)]}",
            "give the atlas as *.dlabel.nii",
        )
    table = {key: name for key, (name, _) in names.label[0].items() if key != 0}
    of_label = rows_of_names(list(table.values()), labels.atlas, labels.image)
    row_of = dict(zip(table, of_label.tolist(), strict=True))
    stored = _values(labels.image, image, 0, len(axis))[:, 0]
    values, places = np.unique(stored, return_inverse=True)
    rows = np.array([row_of.get(value, -1) for value in values.tolist()], np.int64)
    return rows[places], axis


def _check_same_brain(scan: Path, axis: BrainModelAxis, own: BrainModelAxis, labels: Path) -> None:
    surfaces, expected = axis.nvertices, own.nvertices
    wrong = {name for name in surfaces if expected.get(name, surfaces[name]) != surfaces[name]}
    if wrong:
        name = min(wrong)
        raise ScanProblem(
            scan,
            f"{expected[name]} vertices in {name}, as in {labels.name}",
            f"{surfaces[name]}",
            "give scan and atlas on the same surface (fsLR 32k)",
        )
    if axis.volume_shape is None or own.volume_shape is None:
        return
    if axis.volume_shape != own.volume_shape or not np.allclose(
        axis.affine, own.affine, rtol=0, atol=SAME_GRID_MM
    ):
        raise ScanProblem(
            scan,
            f"subcortical voxels on the grid {list(own.volume_shape)} of {labels.name}",
            f"the grid {list(axis.volume_shape)}, or one of that shape elsewhere",
            "give scan and atlas in the same grayordinates (91k)",
        )


def _keys(axis: BrainModelAxis) -> list[tuple[str, int, int, int, int]]:
    """Structure, vertex and voxel of each grayordinate; what does not apply is -1."""
    voxels = axis.voxel.tolist()
    return [
        (str(name), vertex, *voxel)
        for name, vertex, voxel in zip(axis.name, axis.vertex.tolist(), voxels, strict=True)
    ]


def read_header(file: Path) -> ScanHeader:
    """Frames and TR of a ``dtseries.nii`` or ``ptseries.nii``; brain models are not parsed.

    The TR is NaN where the file gives no time (a series in Hz, say).

    Raises
    ------
    ScanProblem
        If there is no such file, it is no such CIFTI, has fewer than two frames, or is shorter
        than its header says.
    """
    header, start, xml = _header(file)
    shape, step = header.get_data_shape(), header.get_data_dtype().itemsize
    series = re.search(r"<MatrixIndicesMap[^>]*CIFTI_INDEX_TYPE_SERIES[^>]*>", xml)
    if len(shape) != 6 or series is None:
        raise _no_cifti(file, f"a file of shape {list(map(int, shape))} without a series")
    frames, points = map(int, shape[4:])
    if frames < 2:
        raise ScanProblem(
            file, "at least 2 frames", f"{frames}", "give the series, not a map of one value each"
        )
    found = (file.stat().st_size - start) // step
    if found < frames * points:
        raise ScanProblem(
            file,
            f"{frames * points} values, as its header announces",
            f"{max(found, 0)} and then the file's end",
            "the file was cut short: copy it again, or preprocess the scan again",
        )
    return ScanHeader(frames, _tr(dict(re.findall(r'(\w+)="([^"]*)"', series[0]))))


def is_cifti(file: Path) -> bool:
    """Whether a file is CIFTI, by its header; by its name where it is damaged."""
    try:
        return isinstance(nib.load(file), nib.Cifti2Image)
    except Exception:  # damage, which whoever reads the file tells
        return file.name.endswith(".dlabel.nii")


def surfaces_of(file: Path) -> dict[str, int]:
    """Vertices of each surface of a ``dtseries.nii``, by its structure; its header alone is read.

    Raises
    ------
    ScanProblem
        If there is no such file, or it is no CIFTI.
    """
    _, _, xml = _header(file)
    models = [dict(re.findall(r'(\w+)="([^"]*)"', tag)) for tag in re.findall(_MODEL, xml)]
    return {
        model["BrainStructure"]: int(model["SurfaceNumberOfVertices"])
        for model in models
        if model.get("SurfaceNumberOfVertices", "").isdecimal() and "BrainStructure" in model
    }


def _header(file: Path) -> tuple[Any, int, str]:
    """NIfTI-2 header, where the values start, and the XML between."""
    require_there(file)
    try:
        with file.open("rb") as stream:
            header = nib.Nifti2Header(stream.read(540), check=False)
            start = int(header["vox_offset"])
            stream.seek(XML_STARTS)
            xml = stream.read(max(start - XML_STARTS, 0)).decode("utf-8", "replace")
            header.get_data_shape()
            if not header.get_data_dtype().itemsize:
                raise ValueError("values of no size")
    except Exception as error:  # damage surfaces as nibabel's, numpy's or Python's errors
        raise _no_cifti(file, plainly(error)) from error
    return header, start, xml


def _tr(attributes: dict[str, str]) -> float:
    """Seconds of a step, from the attributes of the map of the series."""
    try:
        step = float(attributes["SeriesStep"]) * 10.0 ** int(attributes.get("SeriesExponent", "0"))
    except (KeyError, ValueError):
        return float("nan")
    return step if attributes.get("SeriesUnit") == "SECOND" and step > 0 else float("nan")


def _no_cifti(file: Path, found: str) -> ScanProblem:
    return ScanProblem(
        file, "a CIFTI series (dtseries.nii or ptseries.nii)", found, "copy or convert it again"
    )


def _load(file: Path) -> Any:
    require_there(file)
    try:
        image = nib.load(file)
    except Exception as error:  # damage surfaces as nibabel's, the parser's or Python's errors
        found = plainly(error)
        raise ScanProblem(file, "a CIFTI file", found, "copy or convert it again") from error
    if not isinstance(image, nib.Cifti2Image):
        found = "an image of another kind"
        raise ScanProblem(file, "a CIFTI file", found, "give *.dtseries.nii or *.dlabel.nii")
    return image


def parcellate_cifti(scan: Path, labels: CiftiLabels) -> Parcellated:
    """Mean signal of each ROI of a ``dtseries.nii``.

    A grayordinate counts if it is finite in every frame and not 0 in all of them; tSNR is over
    those that count.

    Raises
    ------
    ScanProblem
        As `read_header`, or if the scan's grayordinates are of other surfaces or another grid.
    """
    header = read_header(scan)
    image, axis = _series(scan, BrainModelAxis)
    rows, full = labels.on_axis(scan, axis)
    sums = np.zeros((len(full), header.frames))
    counted = np.zeros(len(full), np.int64)
    ratios = []
    step = max(PIECE_BYTES // (header.frames * 8), 1)
    for start in range(0, len(rows), step):
        piece = rows[start : start + step]
        values = _values(scan, image, start, start + step)
        counting = (piece >= 0) & np.isfinite(values).all(axis=1) & (values != 0).any(axis=1)
        values, piece = values[counting], piece[counting]
        np.add.at(sums, piece, values)
        counted += np.bincount(piece, minlength=len(full))
        ratios.append(_tsnr(values))
    series, coverage = means(sums, counted, full)
    every = np.concatenate(ratios)
    tsnr = float(np.median(every)) if every.size else float("nan")
    return Parcellated(series, coverage, tsnr, header.tr)


def _series(scan: Path, kind: type) -> tuple[Any, Any]:
    """Image of a series and its axis of that kind."""
    image = _load(scan)
    axis: Any = image.header.get_axis(1)
    size = len(axis)
    if not isinstance(axis, kind) or image.shape[1] != size:
        found = f"{image.shape[1]} rows for {size} {_AXES[type(axis)]}"
        raise _no_cifti(scan, f"{found} where {_AXES[kind]} should be")
    return image, axis


def _values(scan: Path, image: Any, start: int, stop: int) -> Float64:
    """Values [g, F] of a range of grayordinates or parcels."""
    try:
        return np.asarray(image.dataobj[:, start:stop], np.float64).T
    except Exception as error:  # damage surfaces as nibabel's, numpy's or the disk's errors
        found = plainly(error)
        raise ScanProblem(scan, "a CIFTI file that can be read", found, "copy it again") from error


def _tsnr(values: Float64) -> Float64:
    """Mean over standard deviation of those of [g, F] that vary."""
    deviation = values.std(axis=1)
    varying = deviation > 0
    return np.asarray(values.mean(axis=1)[varying] / deviation[varying])


def read_parcels(scan: Path, atlas: Atlas) -> Parcellated:
    """Series of a ``ptseries.nii``, by the names of its parcels.

    Coverage is 0 where a parcel has no values or is 0 throughout, else unknown (NaN), as is tSNR.

    Raises
    ------
    ScanProblem
        As `read_header`, or if the parcels are not the atlas'.
    """
    header = read_header(scan)
    image, axis = _series(scan, ParcelsAxis)
    rows = rows_of_names([str(name) for name in axis.name], atlas, scan)
    values = _values(scan, image, 0, len(axis))
    known = (rows >= 0) & np.isfinite(values).all(axis=1) & (values != 0).any(axis=1)
    sums = np.zeros((len(atlas), header.frames))
    sums[rows[known]] = values[known]
    counted = np.bincount(rows[known], minlength=len(atlas))
    series, _ = means(sums, counted, np.ones(len(atlas), np.int64))
    return Parcellated(series, np.where(counted > 0, np.nan, 0.0), float("nan"), header.tr)
