"""Arrays in NPY, NPZ, HDF5 and MATLAB files: which scans a file holds, and one of them.

A file holds one 2-D array, several that are a scan each, or ``ts`` [S, F, R] of all scans with
``participant_id`` [S]; then ``roi`` [R] may name the columns. ``tr`` gives seconds: an array of
one number (or one a scan), or an attribute of HDF5.

Shapes: S scans, F frames, R ROIs.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from brainjepa_core.arrays import Float64
from brainjepa_core.problems import plainly
from brainjepa_core.signals.problems import ScanProblem, is_there
from brainjepa_core.signals.tables.matlab.files import (
    OWN,
    header_in_hdf5,
    is_old_matlab,
    load_old,
    old_headers,
    texts_of,
    values_in_hdf5,
)

ARRAY_ENDINGS = (".npy", ".npz", ".h5", ".hdf5", ".mat")
ALL_SCANS, PEOPLE, COLUMNS = "ts", "participant_id", "roi"
SECONDS = ("tr", "t_r", "repetitiontime", "repetition_time")  # in any case
NUMBERS = "fiu"  # kinds of dtypes
NAMELESS = ""  # of the only array of an NPY file

Header = tuple[tuple[int, ...], np.dtype[Any]]


@dataclass(frozen=True)
class Part:
    """A scan within a file.

    Attributes
    ----------
    name : str
        Participant, or name of the array; empty where the file holds one scan.
    array : str
        Name of the array.
    shape : tuple of int
        Of the scan.
    place : int, optional
        On the first axis of ``ts``.
    tr : float, optional
        Seconds, where the file tells.
    columns : tuple of str, optional
        ROI names, where the file tells.
    """

    name: str
    array: str
    shape: tuple[int, ...]
    place: int | None = None
    tr: float | None = None
    columns: tuple[str, ...] | None = None


def array_headers(file: Path) -> dict[str, Header]:
    """Shape and dtype of every array of a file, by name; reads headers only.

    Raises
    ------
    ScanProblem
        If the file is gone or damaged.
    """
    with _damage_named(file):
        if file.suffix == ".npy":
            array = np.load(file, mmap_mode="r", allow_pickle=False)
            return {NAMELESS: (array.shape, array.dtype)}
        if file.suffix == ".npz":
            return _npz_headers(file)
        return old_headers(file) if is_old_matlab(file) else _hdf5_headers(file)


def parts_of(file: Path) -> list[Part]:
    """The scans of a file, in its order.

    Raises
    ------
    ScanProblem
        If the file is damaged or holds no scan.
    """
    headers = array_headers(file)
    if {ALL_SCANS, PEOPLE} <= headers.keys():
        return _parts_of_all(file, headers)
    scans = {
        name: shape
        for name, (shape, dtype) in headers.items()
        if len(shape) == 2 and dtype.kind in NUMBERS and not _is_vector(file, shape)
    }
    if not scans:
        raise ScanProblem(
            file,
            "an array [frames, ROIs] a scan",
            ", ".join(f"{dtype} {list(shape)}" for shape, dtype in headers.values()) or "nothing",
            "write one 2-D array a scan, or ts [scans, frames, ROIs] with participant_id",
        )
    alone = len(scans) == 1
    with _damage_named(file):
        return [
            Part("" if alone else name, name, shape, tr=_seconds(file, headers, name)[0])
            for name, shape in scans.items()
        ]


def read_part(file: Path, part: Part) -> Float64:
    """The array of one scan as the file has it.

    Raises
    ------
    ScanProblem
        If it is damaged or holds no numbers.
    """
    with _damage_named(file):
        array = load_array(file, part.array, part.place)
        return array.astype(np.float64, casting="same_kind")


def load_array(file: Path, name: str, place: int | None = None) -> NDArray[Any]:
    """An array, or what is at `place` on its first axis; never unpickles.

    The last array that was unpacked is kept: each of its scans would unpack it again.
    """
    if file.suffix == ".npy":
        found: NDArray[Any] = np.load(file, allow_pickle=False)
        return found
    if file.suffix == ".npz" or is_old_matlab(file):
        state = file.stat()
        array = _unpacked(file, name, state.st_mtime_ns, state.st_size)
        return array if place is None else array[place]
    with h5py.File(file, "r") as handle:
        return values_in_hdf5(handle[name], place)


@lru_cache(maxsize=1)
def _unpacked(file: Path, name: str, _changed: int, _size: int) -> NDArray[Any]:
    if file.suffix == ".npz":
        with np.load(file, allow_pickle=False) as archive:
            array: NDArray[Any] = archive[name]
    else:
        array = load_old(file, name)
    array.setflags(write=False)
    return array


def exact_seconds(array: NDArray[Any]) -> list[float]:
    """Numbers as they were written: 1.667 in float32 is 1.667, not 1.66700005."""
    return [float(str(value)) for value in np.asarray(array).ravel()]


def _seconds(file: Path, headers: dict[str, Header], name: str) -> list[float | None]:
    """Repetition times that a file tells of an array; a single None where it tells none."""
    for other, (_, dtype) in headers.items():
        if other.rsplit("/", 1)[-1].casefold() in SECONDS and dtype.kind in NUMBERS:
            return [
                None if np.isnan(tr) else tr for tr in exact_seconds(load_array(file, other))
            ] or [None]
    if file.suffix in (".npy", ".npz") or is_old_matlab(file):
        return [None]
    with h5py.File(file, "r") as handle:
        for item in (handle[name], handle[name].parent, handle):
            for attribute, value in item.attrs.items():
                if attribute.casefold() in SECONDS and np.asarray(value).dtype.kind in NUMBERS:
                    return list(exact_seconds(value))
    return [None]


def _is_vector(file: Path, shape: tuple[int, ...]) -> bool:
    """To MATLAB, a number is a matrix too."""
    return file.suffix == ".mat" and min(shape) < 2


def _parts_of_all(file: Path, headers: dict[str, Header]) -> list[Part]:
    shape, dtype = headers[ALL_SCANS]
    with _damage_named(file):
        people = texts_of(load_array(file, PEOPLE))
        columns = texts_of(load_array(file, COLUMNS)) if COLUMNS in headers else None
        seconds = _seconds(file, headers, ALL_SCANS)
    fits = (
        len(shape) == 3
        and dtype.kind in NUMBERS
        and shape[0] == len(people)
        and len(seconds) in (1, len(people))
        and (columns is None or len(columns) in shape[1:])
    )
    if not fits:
        raise ScanProblem(
            file,
            "ts [scans, frames, ROIs], one participant_id a scan, and no roi or one a column",
            f"ts {dtype} {list(shape)}, participant_id {list(headers[PEOPLE][0])}",
            "write the file again",
        )
    trs = seconds * len(people) if len(seconds) == 1 else seconds
    return [
        Part(person, ALL_SCANS, shape[1:], place, tr, columns)
        for place, (person, tr) in enumerate(zip(people, trs, strict=True))
    ]


def _npz_headers(file: Path) -> dict[str, Header]:
    readers = {(1, 0): np.lib.format.read_array_header_1_0}
    headers: dict[str, Header] = {}
    with np.load(file, allow_pickle=False) as archive:
        for name in archive.files:
            with archive.zip.open(f"{name}.npy") as member:
                version = np.lib.format.read_magic(member)
                read = readers.get(version, np.lib.format.read_array_header_2_0)
                shape, _, dtype = read(member)
                headers[name] = (shape, dtype)
    return headers


def _hdf5_headers(file: Path) -> dict[str, Header]:
    headers: dict[str, Header] = {}

    def visit(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset) and item.shape is not None and not name.startswith(OWN):
            headers[name] = header_in_hdf5(item)

    with h5py.File(file, "r") as handle:
        handle.visititems(visit)
    return headers


@contextmanager
def _damage_named(file: Path) -> Iterator[None]:
    """Whatever opening and unpacking raise, as a problem of this file."""
    is_there(file)  # what was not fetched is told as such
    try:
        yield
    except Exception as error:  # damage surfaces as zipfile's, zlib's, numpy's or HDF5's errors
        raise ScanProblem(
            file,
            "numbers, one row a frame",
            plainly(error),
            "write the file again (NaN for a missing ROI)",
        ) from error
