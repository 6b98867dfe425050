"""Arrays in NPY, NPZ and HDF5 files: which scans a file holds, and one of them.

A file holds one 2-D array, several that are a scan each, or ``ts`` [S, F, R] of all scans with
``participant_id`` [S]; then ``roi`` [R] may name the columns, and ``tr`` give seconds.

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
from brainjepa_core.signals.problems import ScanProblem

ARRAY_ENDINGS = (".npy", ".npz", ".h5", ".hdf5")
ALL_SCANS, PEOPLE, COLUMNS, SECONDS = "ts", "participant_id", "roi", "tr"
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
        return _hdf5_headers(file)


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
        if len(shape) == 2 and dtype.kind in NUMBERS
    }
    if not scans:
        raise ScanProblem(
            file,
            "an array [frames, ROIs] a scan",
            ", ".join(f"{dtype} {list(shape)}" for shape, dtype in headers.values()) or "nothing",
            "write one 2-D array a scan, or ts [scans, frames, ROIs] with participant_id",
        )
    alone = len(scans) == 1
    return [Part("" if alone else name, name, shape) for name, shape in scans.items()]


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

    The last array that was unpacked from an NPZ is kept: each of its scans would unpack it again.
    """
    if file.suffix == ".npy":
        found: NDArray[Any] = np.load(file, allow_pickle=False)
        return found
    if file.suffix == ".npz":
        state = file.stat()
        array = _npz_array(file, name, state.st_mtime_ns, state.st_size)
        return array if place is None else array[place]
    with h5py.File(file, "r") as handle:
        return np.asarray(handle[name][() if place is None else place])


@lru_cache(maxsize=1)
def _npz_array(file: Path, name: str, _changed: int, _size: int) -> NDArray[Any]:
    with np.load(file, allow_pickle=False) as archive:
        array: NDArray[Any] = archive[name]
    array.setflags(write=False)
    return array


def _parts_of_all(file: Path, headers: dict[str, Header]) -> list[Part]:
    shape, dtype = headers[ALL_SCANS]
    with _damage_named(file):
        people = _texts(load_array(file, PEOPLE))
        columns = _texts(load_array(file, COLUMNS)) if COLUMNS in headers else None
        seconds = np.asarray(
            load_array(file, SECONDS) if SECONDS in headers else np.nan, float
        ).ravel()
    fits = (
        len(shape) == 3
        and dtype.kind in NUMBERS
        and shape[:1] == headers[PEOPLE][0]
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
    trs = [float(tr) for tr in np.broadcast_to(seconds, len(people))]
    return [
        Part(person, ALL_SCANS, shape[1:], place, None if np.isnan(tr) else tr, columns)
        for place, (person, tr) in enumerate(zip(people, trs, strict=True))
    ]


def _texts(array: NDArray[Any]) -> tuple[str, ...]:
    return tuple(item.decode() if isinstance(item, bytes) else str(item) for item in array.tolist())


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
        if isinstance(item, h5py.Dataset) and item.shape is not None:
            headers[name] = (item.shape, item.dtype)

    with h5py.File(file, "r") as handle:
        handle.visititems(visit)
    return headers


@contextmanager
def _damage_named(file: Path) -> Iterator[None]:
    """Whatever opening and unpacking raise, as a problem of this file."""
    try:
        yield
    except Exception as error:  # damage surfaces as zipfile's, zlib's, numpy's or HDF5's errors
        raise ScanProblem(
            file,
            "numbers, one row a frame",
            plainly(error),
            "write the file again (NaN for a missing ROI)",
        ) from error
