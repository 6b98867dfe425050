"""The two kinds of float array, and named arrays: checked, and in one npz file.

Files are written atomically, and any damage is read back as a ValueError.
"""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import DTypeLike, NDArray

from brainjepa_core.files import atomic_path
from brainjepa_core.problems import plainly

Float32 = NDArray[np.float32]
"""Signals, weights and embeddings."""
Float64 = NDArray[np.float64]
"""Sums, statistics and whatever is computed of them."""
Arrays = dict[str, NDArray[Any]]
"""Arrays by name."""

# What zipfile and numpy raise on truncated, altered or hostile bytes (found by fuzzing).
_DAMAGE = (
    ValueError, KeyError, OSError, EOFError, SyntaxError, NotImplementedError, RuntimeError,
    MemoryError, OverflowError, TypeError, struct.error, zipfile.BadZipFile, zlib.error,
)  # fmt: skip


def to_bytes(arrays: Mapping[str, NDArray[Any]], *, compress: bool) -> bytes:
    """An npz file of `arrays`, without pickled objects; compressed, it takes far longer."""
    content = io.BytesIO()
    save = np.savez_compressed if compress else np.savez
    save(content, allow_pickle=False, **dict(arrays))
    return content.getvalue()


def save_arrays(
    path: str | Path, arrays: Mapping[str, NDArray[Any]], *, compress: bool = True
) -> None:
    """Write `arrays` to `path` as `to_bytes` gives them, replacing it in one step."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(to_bytes(arrays, compress=compress))


def load_arrays(path: str | Path) -> Arrays:
    """Read every array of an npz file.

    Parameters
    ----------
    path : str or Path
        An npz file. Pickled objects inside it are refused.

    Returns
    -------
    dict of str to ndarray

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file is not an intact npz archive.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"expected a file named '{path.name}', found none; check the path")
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {key: archive[key] for key in archive.files}
    except (*_DAMAGE, AttributeError) as error:  # a bare npy file has no `.files`
        raise ValueError(
            f"expected '{path.name}' to be an intact npz archive, found a damaged or foreign "
            f"file ({plainly(error)}); copy it again from its source"
        ) from error


def take_keys(arrays: Mapping[str, Any], keys: tuple[str, ...], what: str) -> Arrays:
    """The arrays under exactly `keys`; a missing or foreign key is refused.

    Parameters
    ----------
    arrays : mapping of str to array
        What was received or read.
    keys : tuple of str
        The names that must be there, and no others.
    what : str
        The thing that the arrays describe, for the error.

    Returns
    -------
    dict of str to ndarray

    Raises
    ------
    ValueError
        If the keys differ.
    """
    if set(arrays) != set(keys):
        raise ValueError(
            f"expected a {what} with the arrays {', '.join(sorted(keys))}; found "
            f"{', '.join(sorted(map(str, arrays)))[:200] or 'none'}; was it written by another "
            "program?"
        )
    return {key: np.asarray(arrays[key]) for key in keys}


def take_rois(array: NDArray[Any]) -> list[str]:
    """ROI names out of a one-dimensional array of text."""
    if array.ndim != 1 or array.dtype.kind != "U":
        raise ValueError(
            f"expected 'rois' as a one-dimensional array of text, found {array.dtype.name} "
            f"with shape {array.shape[:8]}"
        )
    return [str(name) for name in array]


def take_array(
    array: NDArray[Any], name: str, dtype: DTypeLike, shape: tuple[int, ...]
) -> NDArray[Any]:
    """A copy of `array`, which is refused unless it has the dtype and the shape.

    Parameters
    ----------
    array : ndarray
        What was received or read.
    name : str
        What the error calls it.
    dtype : dtype
    shape : tuple of int

    Returns
    -------
    ndarray

    Raises
    ------
    ValueError
        If the dtype or the shape is another. The text holds no name of a foreign field.
    """
    if array.dtype != dtype or array.shape != shape:
        raise ValueError(
            f"expected '{name}' as {np.dtype(dtype).name} with shape {shape}, found "
            f"{array.dtype.name} with shape {array.shape[:8]}"
        )
    return array.copy()


class AsArrays(ABC):
    """What is sent and kept as named arrays."""

    @abstractmethod
    def to_arrays(self) -> Arrays:
        """Named arrays, for a file or a message; the inverse of `from_arrays`."""

    @classmethod
    @abstractmethod
    def from_arrays(cls, arrays: Mapping[str, Any]) -> Self:
        """Check foreign arrays and rebuild what they hold.

        Parameters
        ----------
        arrays : mapping of str to ndarray
            As `to_arrays` gives them.

        Raises
        ------
        ValueError
            And nothing else, whatever the arrays are.
        """

    def save(self, path: str | Path) -> None:
        """Write to an npz file, replacing it in one step."""
        save_arrays(path, self.to_arrays())

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read what `save` wrote.

        Raises
        ------
        FileNotFoundError
            If there is no such file.
        ValueError
            If it is damaged or foreign; see `from_arrays`.
        """
        return cls.from_arrays(load_arrays(path))
