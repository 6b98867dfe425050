"""Named arrays as one buffer: safetensors bytes, which cannot run code when they are read.

A message of a thousand small arrays costs a thousand records of its carrier; a message of one
buffer costs one.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save

Buffer = NDArray[np.uint8]
PACKED = "packed"  # the one array of a message
# Of the format (https://github.com/huggingface/safetensors), as far as numpy has them.
_DTYPES = {
    "F64": np.float64, "F32": np.float32, "F16": np.float16, "I64": np.int64, "U64": np.uint64,
    "I32": np.int32, "U32": np.uint32, "I16": np.int16, "U16": np.uint16, "I8": np.int8,
    "U8": np.uint8, "BOOL": np.bool_, "C64": np.complex64,
}  # fmt: skip


def pack_arrays(arrays: Mapping[str, NDArray[np.generic]]) -> Buffer:
    """Arrays by name as one buffer.

    Parameters
    ----------
    arrays : mapping of str to ndarray
        Numbers and booleans of any shape.

    Returns
    -------
    ndarray of uint8 [bytes]
    """
    whole = {name: np.asarray(value, order="C") for name, value in arrays.items()}
    return np.frombuffer(save(whole), np.uint8)


def unpack_arrays(buffer: NDArray[np.generic]) -> dict[str, NDArray[np.generic]]:
    """What `pack_arrays` was given, as read-only views of the buffer: nothing is copied.

    Raises
    ------
    ValueError
        Whatever the bytes are, if they are no such buffer.
    """
    if buffer.dtype != np.uint8 or buffer.ndim != 1:
        raise ValueError(
            f"expected one buffer of bytes, found {buffer.dtype} of shape "
            f"{list(buffer.shape[:8])}; bring coordinator and site to one version"
        )
    try:
        return _views(np.ascontiguousarray(buffer))
    except (
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        OverflowError,
        RecursionError,
    ) as error:
        raise ValueError(
            f"expected named arrays in one buffer, found bytes that raise {type(error).__name__}; "
            "bring coordinator and site to one version"
        ) from error


def _views(buffer: NDArray[Any]) -> dict[str, NDArray[np.generic]]:
    """Arrays that lie side by side in a buffer, from the end of its head to its own."""
    head, data = _head_and_data(buffer)
    found, end = {}, 0
    for name, about in sorted(head.items(), key=lambda entry: entry[1]["data_offsets"]):
        dtype, shape = np.dtype(_DTYPES[about["dtype"]]), tuple(about["shape"])
        begin, stop = about["data_offsets"]
        if not all(type(size) is int and size >= 0 for size in (begin, stop, *shape)):
            raise ValueError("expected sizes, found others")
        if begin != end or stop > len(data) or stop - begin != dtype.itemsize * math.prod(shape):
            raise ValueError("expected arrays side by side, found others")
        found[name] = data[begin:stop].view(dtype).reshape(shape)
        found[name].flags.writeable = False
        end = stop
    if end != len(data):
        raise ValueError("expected the arrays alone, found more")
    return found


def _head_and_data(buffer: NDArray[Any]) -> tuple[dict[str, Any], NDArray[Any]]:
    """What a buffer says of its arrays, by name, and the bytes that follow."""
    begin = 8 + int.from_bytes(buffer[:8].tobytes(), "little")
    head = json.loads(buffer[8:begin].tobytes())
    return {name: about for name, about in head.items() if name != "__metadata__"}, buffer[begin:]


def buffer_in(file: bytes) -> Buffer:
    """The buffer that an ``.npy`` file in memory holds, as Flower carries arrays, without a copy.

    Raises
    ------
    ValueError
        Whatever the bytes are, if they are no such file of one buffer.
    """
    try:
        head = BytesIO(file)
        if np.lib.format.read_magic(head) != (1, 0):
            raise ValueError("expected version 1.0, found another")
        shape, _, dtype = np.lib.format.read_array_header_1_0(head)
        buffer = np.frombuffer(file, np.uint8, offset=head.tell())
        if (shape, dtype) != (buffer.shape, buffer.dtype):
            raise ValueError("expected bytes alone, found others")
    except (ValueError, TypeError) as error:
        raise ValueError(
            f"expected one buffer of bytes, found a file that raises {type(error).__name__}; bring "
            "coordinator and site to one version"
        ) from error
    return buffer


def mapped_arrays(path: Path) -> dict[str, NDArray[np.generic]]:
    """Arrays of a file that holds what `pack_arrays` made: read from the disk where they are used.

    They outlive the file's name.

    Raises
    ------
    ValueError
        As `unpack_arrays`.
    """
    return unpack_arrays(np.memmap(path, np.uint8, mode="r"))


def packed_sizes(buffer: Buffer) -> dict[str, int]:
    """Bytes of each array in a buffer, by name, read from its head alone.

    Raises
    ------
    ValueError
        If the head is none.
    """
    try:
        sizes = {}
        for name, about in _head_and_data(buffer)[0].items():
            begin, end = about["data_offsets"]
            sizes[name] = int(end) - int(begin)
        return sizes
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(
            f"expected the head of named arrays, found bytes that raise {type(error).__name__}; "
            "bring coordinator and site to one version"
        ) from error


def digest_of(arrays: Mapping[str, NDArray[Any]]) -> str:
    """SHA-256 (hex) of named arrays: names, dtypes, shapes, bytes."""
    found = hashlib.sha256()
    for name in sorted(arrays):
        array = np.asarray(arrays[name], order="C")
        found.update(f"{name}\0{array.dtype.str}\0{array.shape}\0".encode())
        found.update(array.reshape(-1).view(np.uint8).data)
    return found.hexdigest()
