"""Masks: AES-256 in counter mode as a stream of numbers, added modulo 2^32 or 2^64 in place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from numpy.typing import NDArray

CHUNK = 1 << 18  # bytes at once: numbers, stream and zeros stay in the processor's cache
_BLOCK = 16
_ZEROS = bytes(CHUNK)
_NUMBERS = (np.uint32, np.uint64)


@dataclass(frozen=True)
class Mask:
    """A stream that is added to an array, or taken from it.

    Attributes
    ----------
    key : bytes
        32 of them.
    added : bool
    """

    key: bytes
    added: bool


class KeyStream:
    """Uniform numbers of a key, a stream of its own for each place.

    Parameters
    ----------
    key : bytes
        32 of them.
    place : int
        Number of an array among those of a message: the upper half of AES' counter.
    buffer : bytearray, optional
        Where numbers are drawn to; streams that take turns may share one.
    """

    def __init__(self, key: bytes, place: int, buffer: bytearray | None = None) -> None:
        counter = place.to_bytes(_BLOCK // 2, "big") + bytes(_BLOCK // 2)
        self._cipher = Cipher(algorithms.AES(key), modes.CTR(counter)).encryptor()
        self._buffer = new_buffer() if buffer is None else buffer

    def take(self, size: int, dtype: type[np.unsignedinteger[Any]]) -> NDArray[Any]:
        """The next numbers: at most `CHUNK` bytes, good until the buffer is used again."""
        length = size * np.dtype(dtype).itemsize
        self._cipher.update_into(memoryview(_ZEROS)[:length], self._buffer)
        # Little-endian on every machine, as all sites must draw the same numbers.
        return np.frombuffer(self._buffer, np.dtype(dtype).newbyteorder("<"), size)


def new_buffer() -> bytearray:
    """Room for the numbers of one call of a stream."""
    return bytearray(CHUNK + _BLOCK)


def add_masks(arrays: Mapping[str, NDArray[Any]], masks: Sequence[Mask]) -> None:
    """Add streams to all arrays, in place, a chunk after the other.

    Parameters
    ----------
    arrays : mapping of str to ndarray of uint32 or uint64
        Contiguous and writable. The place of each in the order of names chooses its part of each
        stream.
    masks : sequence of Mask

    Raises
    ------
    ValueError
        If an array cannot be masked in place.
    """
    buffer = new_buffer()
    for place, name in enumerate(sorted(arrays)):
        array = arrays[name]
        fits = array.flags.c_contiguous and array.flags.writeable and array.dtype in _NUMBERS
        if not fits:
            raise ValueError(
                f"expected '{name[:80]}' as uint32 or uint64 in one piece of memory that can be "
                f"written, found {array.dtype} of shape {list(array.shape[:8])}; copy it"
            )
        flat = array.reshape(-1)
        streams = [(mask.added, KeyStream(mask.key, place, buffer)) for mask in masks]
        at_once = CHUNK // flat.itemsize
        for begin in range(0, flat.size, at_once):
            part = flat[begin : begin + at_once]
            for added, stream in streams:
                numbers = stream.take(part.size, flat.dtype.type)
                (np.add if added else np.subtract)(part, numbers, out=part)
