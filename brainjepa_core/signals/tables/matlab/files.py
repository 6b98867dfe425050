"""What MATLAB writes: files up to version 7 by scipy, of version 7.3 as HDF5.

Version 7.3 stores axes in the opposite order and marks every variable with its class; a file of
it may have any ending. Here an array has the axes that MATLAB shows. Texts are cells of
characters, or a matrix of them with one text a row.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray
from scipy.io import loadmat, whosmat

from brainjepa_core.signals.tables.matlab.elements import require_known_types

_DTYPES = {"double": "f8", "single": "f4"} | {
    f"{sign}int{bits}": f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)
}
OWN = "#"  # starts the names of what version 7.3 keeps for itself


def is_old_matlab(file: Path) -> bool:
    """Whether a file is of a version before 7.3."""
    return file.suffix == ".mat" and not h5py.is_hdf5(file)


def old_headers(file: Path) -> dict[str, tuple[tuple[int, ...], np.dtype[Any]]]:
    """Shape and dtype of the variables of an old file; object where they are no numbers."""
    return {
        name: (tuple(shape), np.dtype(_DTYPES.get(kind, "O")))
        for name, shape, kind in whosmat(str(file))
    }


def load_old(file: Path, name: str) -> NDArray[Any]:
    """A variable of an old file.

    Raises
    ------
    ValueError
        As `require_known_types` says.
    """
    state = file.stat()
    _checked(file, state.st_mtime_ns, state.st_size)
    found: NDArray[Any] = loadmat(str(file), variable_names=[name])[name]
    return found


@lru_cache(maxsize=1)
def _checked(file: Path, _changed: int, _size: int) -> None:
    """Look through a file once, not for each of its variables."""
    require_known_types(file)


def matlab_class(item: h5py.Dataset) -> str:
    """Class that MATLAB gave to a dataset; empty where another program wrote it."""
    told = item.attrs.get("MATLAB_class", b"")
    return told.decode() if isinstance(told, bytes) else str(told)


def header_in_hdf5(item: h5py.Dataset) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Shape and dtype of a dataset, as whoever wrote it sees them."""
    kind = matlab_class(item)
    if not kind:
        return item.shape, item.dtype
    numbers = kind in _DTYPES and "MATLAB_empty" not in item.attrs
    return item.shape[::-1], item.dtype if numbers else np.dtype("O")


def values_in_hdf5(item: h5py.Dataset, place: int | None = None) -> NDArray[Any]:
    """A dataset, or what is at `place` on its first axis, as whoever wrote it sees it."""
    kind = matlab_class(item)
    if kind == "cell":
        return np.array([_characters(item.file[ref]) for ref in item[()].ravel()], np.object_)
    if kind == "char":
        return np.array([_text(row) for row in item[()].T], np.object_)
    if kind:
        return np.asarray(item[() if place is None else (..., place)]).T
    return np.asarray(item[() if place is None else place])


def texts_of(array: NDArray[Any]) -> tuple[str, ...]:
    """Texts of an array, whatever program wrote them; whole numbers are written as such."""
    return tuple(_one_text(item) for item in np.atleast_1d(array).ravel().tolist())


def _one_text(item: Any) -> str:
    if isinstance(item, np.ndarray):  # a cell
        return _one_text(item.ravel().tolist()[0]) if item.size else ""
    if isinstance(item, bytes):
        return item.decode()
    if isinstance(item, float) and item.is_integer():
        return str(int(item))
    return str(item).strip()


def _characters(item: h5py.Dataset) -> str | float:
    """Text of a cell, or its number."""
    values = item[()]
    return _text(values.T) if matlab_class(item) == "char" else float(values.ravel()[0])


def _text(codes: NDArray[Any]) -> str:
    return "".join(map(chr, codes.ravel().tolist())).strip()
