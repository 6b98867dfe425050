"""What goes wrong with scans in real folders, done to a painted tree.

Each fault changes a tree on disk in place and returns the file that a data manager would have to
mend. ``FAULTS`` befall one scan, the others stay whole; ``TREE_FAULTS`` befall what all scans
share. `PaintedTree` and `PaintedScan` keep telling how things were before.
"""

from __future__ import annotations

import csv
import gzip
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np

from brainjepa_core.arrays import Float64
from brainjepa_core.atlas import load_atlas, names_in_7network_order
from brainjepa_simulations.painting.scans import MARGIN, nifti_bytes
from brainjepa_simulations.painting.tree import SPACE, PaintedScan, PaintedTree

NAME = "Jürgen"
SHIFT_MM = 6.0


def zero_field_of_view(tree: PaintedTree, scan: PaintedScan) -> Path:
    """The head lay too high, and rolled: zeros in image and mask, the grid stays.

    Some ROIs are gone, some are seen by less than half and some by more: what is left of each is
    ``tree.volume.coverage(mask)`` of the mask on disk.
    """
    shape = tree.volume.labels.shape
    i, j, k = np.indices(shape)
    height = k + (shape[1] - 1 - j) + (i < shape[0] // 2)
    top = shape[1] + shape[2] - 2 - 2 * MARGIN
    seen = (np.asarray(_load(scan.mask).dataobj) > 0) & (height < top - 1)
    scan.mask.write_bytes(nifti_bytes(tree.volume.mask_image(seen)))
    return _repaint(scan, lambda values: values * seen[..., None])


def cut_field_of_view(tree: PaintedTree, scan: PaintedScan) -> Path:
    """The top of the brain is cut off: image and mask have fewer slices than the label image."""
    slices = tree.volume.labels.shape[2] - MARGIN - 1
    scan.mask.write_bytes(nifti_bytes(_load(scan.mask).slicer[:, :, :slices]))
    return _repaint(scan, lambda values: values[:, :, :slices])


def nan_voxels(tree: PaintedTree, scan: PaintedScan) -> Path:
    """NaN in all frames of one voxel of the first ROI, and in one frame of all of the second."""

    def spoil(values: Float64) -> Float64:
        one, *_ = np.argwhere(tree.volume.labels == tree.volume.numbers[0])
        values[tuple(one)] = np.nan
        values[tree.volume.labels == tree.volume.numbers[1], values.shape[3] // 2] = np.nan
        return values

    return _repaint(scan, spoil)


def shifted_affine(tree: PaintedTree, scan: PaintedScan) -> Path:
    """The image's affine is off by 6 mm along x; shape and values are right."""
    image = _load(scan.bold)
    moved = image.affine.copy()
    moved[0, 3] += SHIFT_MM
    return _repaint(scan, lambda values: values, moved)


def three_dimensional(tree: PaintedTree, scan: PaintedScan) -> Path:
    """A reference image in place of the run: its first frame, three-dimensional."""
    return _repaint(scan, lambda values: values[..., 0])


def one_frame(tree: PaintedTree, scan: PaintedScan) -> Path:
    """A four-dimensional image of a single frame."""
    return _repaint(scan, lambda values: values[..., :1])


def empty_file(tree: PaintedTree, scan: PaintedScan) -> Path:
    """An image of no bytes, as a full disk leaves it."""
    scan.bold.write_bytes(b"")
    return scan.bold


def torn_gzip(tree: PaintedTree, scan: PaintedScan) -> Path:
    """The second half of the image file never arrived; its header can be read."""
    content = scan.bold.read_bytes()
    scan.bold.write_bytes(content[: len(content) // 2])
    return scan.bold


def flipped_bytes(tree: PaintedTree, scan: PaintedScan) -> Path:
    """The image file has its length, but some bytes in its middle are others."""
    content = bytearray(scan.bold.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 16] = bytes(byte ^ 0xFF for byte in content[middle : middle + 16])
    scan.bold.write_bytes(bytes(content))
    return scan.bold


def no_mask(tree: PaintedTree, scan: PaintedScan) -> Path:
    """The brain mask is missing."""
    scan.mask.unlink()
    return scan.mask


def tr_in_milliseconds(tree: PaintedTree, scan: PaintedScan) -> Path:
    """``RepetitionTime`` is in milliseconds."""
    return _edit_sidecar(scan, 1000 * scan.tr)


def tr_contradicts_header(tree: PaintedTree, scan: PaintedScan) -> Path:
    """``RepetitionTime`` is 0.4 of what the image's header says, such as 0.8 of 2 s."""
    return _edit_sidecar(scan, 0.4 * scan.tr)


def tr_nowhere(tree: PaintedTree, scan: PaintedScan) -> Path:
    """Neither JSON nor header has a repetition time."""
    _edit_sidecar(scan, None)
    return _repaint(scan, lambda values: values, tr=0.0)


def no_confounds(tree: PaintedTree, scan: PaintedScan) -> Path:
    """The table of confounds is missing."""
    scan.confounds.unlink()
    return scan.confounds


def no_confounds_metadata(tree: PaintedTree, scan: PaintedScan) -> Path:
    """The JSON beside the table of confounds, which CompCor needs, is missing."""
    metadata = scan.confounds.with_suffix(".json")
    metadata.unlink()
    return metadata


def missing_confound(tree: PaintedTree, scan: PaintedScan) -> Path:
    """The table of confounds has no column ``rot_y``."""
    rows = list(csv.reader(scan.confounds.read_text().splitlines(), delimiter="\t"))
    gone = rows[0].index("rot_y")
    lines = ["\t".join(row[:gone] + row[gone + 1 :]) for row in rows]
    scan.confounds.write_text("\n".join([*lines, ""]))
    return scan.confounds


def short_confounds(tree: PaintedTree, scan: PaintedScan) -> Path:
    """The table of confounds has three rows fewer than the image has frames."""
    lines = scan.confounds.read_text().splitlines()
    scan.confounds.write_text("\n".join([*lines[:-3], ""]))
    return scan.confounds


def duplicated(tree: PaintedTree, scan: PaintedScan) -> Path:
    """The same run also lies there at another resolution (``res-2``), as a re-run leaves it."""
    for file in (scan.bold, scan.sidecar, scan.mask):
        shutil.copyfile(file, _variant(file))
    return _variant(scan.bold)


def non_ascii_subject(tree: PaintedTree, scan: PaintedScan) -> Path:
    """The subject is called ``sub-Jürgen``, in folder, files and participants (UTF-8)."""
    new = f"sub-{NAME}"
    folder = tree.dataset / scan.subject
    for file in sorted(folder.rglob(f"{scan.subject}_*")):
        file.rename(file.with_name(file.name.replace(scan.subject, new)))
    folder.rename(folder.with_name(new))
    for table in (tree.participants, *sorted((tree.dataset / "phenotype").glob("*.tsv"))):
        text = table.read_text(encoding="utf-8").replace(scan.subject, new)
        table.write_text(text, encoding="utf-8")
    return tree.dataset / str(scan.bold.relative_to(tree.dataset)).replace(scan.subject, new)


def latin1_participants(tree: PaintedTree) -> Path:
    """``participants.tsv`` has a column ``city`` with an umlaut, and is in Latin-1."""
    first, *rest = tree.participants.read_text(encoding="utf-8").splitlines()
    lines = [f"{first}\tcity", *(f"{row}\tZürich" for row in rest), ""]
    tree.participants.write_bytes("\n".join(lines).encode("latin-1"))
    return tree.participants


def labels_in_7network_order(tree: PaintedTree) -> Path:
    """The label image numbers the default atlas' ROIs as 7-network files do.

    The table beside it still names them in 17-network order.

    Raises
    ------
    ValueError
        If the tree is of another atlas.
    """
    if tree.volume.atlas.rois != load_atlas().rois:
        raise ValueError(
            f"expected a tree of the default atlas, found '{tree.volume.atlas.name}'; paint a site "
            "of its ROIs"
        )
    order = {roi: number for number, roi in enumerate(names_in_7network_order(), start=1)}
    numbers = tuple(order[roi] for roi in tree.volume.atlas.rois)
    tree.label_image.write_bytes(nifti_bytes(tree.volume.relabelled(numbers).image()))
    return tree.label_image


def labels_without_names(tree: PaintedTree) -> Path:
    """The table of the label image's names is missing."""
    tree.label_table.unlink()
    return tree.label_table


FAULTS: dict[str, Callable[[PaintedTree, PaintedScan], Path]] = {
    fault.__name__: fault
    for fault in (
        zero_field_of_view,
        cut_field_of_view,
        nan_voxels,
        shifted_affine,
        three_dimensional,
        one_frame,
        empty_file,
        torn_gzip,
        flipped_bytes,
        no_mask,
        tr_in_milliseconds,
        tr_contradicts_header,
        tr_nowhere,
        no_confounds,
        no_confounds_metadata,
        missing_confound,
        short_confounds,
        duplicated,
        non_ascii_subject,
    )
}
TREE_FAULTS: dict[str, Callable[[PaintedTree], Path]] = {
    fault.__name__: fault
    for fault in (latin1_participants, labels_in_7network_order, labels_without_names)
}


def _load(file: Path) -> nib.Nifti1Image:
    """The image, read into memory, so that its file may be replaced."""
    return nib.Nifti1Image.from_bytes(gzip.decompress(file.read_bytes()))


def _repaint(
    scan: PaintedScan,
    change: Callable[[Float64], Float64],
    affine: Float64 | None = None,
    tr: float | None = None,
) -> Path:
    """Write the image anew in float32 with other values, affine or repetition time."""
    old = _load(scan.bold)
    values = change(np.asarray(old.get_fdata(), np.float64)).astype(np.float32)
    new = nib.Nifti1Image(values, old.affine if affine is None else affine, old.header)
    new.set_data_dtype(np.float32)
    if tr is not None:
        new.header.set_zooms((*new.header.get_zooms()[:3], tr))
    scan.bold.write_bytes(nifti_bytes(new))
    return scan.bold


def _edit_sidecar(scan: PaintedScan, tr: float | None) -> Path:
    facts = json.loads(scan.sidecar.read_text())
    facts.pop("RepetitionTime")
    if tr is not None:
        facts["RepetitionTime"] = tr
    scan.sidecar.write_text(json.dumps(facts))
    return scan.sidecar


def _variant(file: Path) -> Path:
    """The same file at another resolution."""
    return file.with_name(file.name.replace(SPACE, f"{SPACE}_res-2"))
