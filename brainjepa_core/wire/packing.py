"""Named arrays as one buffer: safetensors bytes, which cannot run code when they are read.

A message of a thousand small arrays costs a thousand records of its carrier; a message of one
buffer costs one.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

Buffer = NDArray[np.uint8]
PACKED = "packed"  # the one array of a message


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
    """What `pack_arrays` was given.

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
        return dict(load(buffer.tobytes()))
    except (SafetensorError, ValueError, KeyError, TypeError, OverflowError, MemoryError) as error:
        raise ValueError(
            f"expected named arrays in one buffer, found bytes that raise {type(error).__name__}; "
            "bring coordinator and site to one version"
        ) from error


def packed_sizes(buffer: Buffer) -> dict[str, int]:
    """Bytes of each array in a buffer, by name, read from its head alone.

    Raises
    ------
    ValueError
        If the head is none.
    """
    try:
        length = int.from_bytes(buffer[:8].tobytes(), "little")
        head = json.loads(buffer[8 : 8 + length].tobytes())
        sizes = {}
        for name, about in head.items():
            if name != "__metadata__":
                begin, end = about["data_offsets"]
                sizes[str(name)] = int(end) - int(begin)
        return sizes
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(
            f"expected the head of named arrays, found bytes that raise {type(error).__name__}; "
            "bring coordinator and site to one version"
        ) from error
