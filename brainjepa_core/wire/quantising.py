"""Numbers as int8: one scale a block of numbers that lie side by side, rounded to the nearest.

A scale serves few numbers, so that one large value spoils the resolution of its own block alone
(as in Dettmers et al., ICLR 2022, arXiv 2110.02861). Rounding is to the nearest, not at random:
the error is half as large at most and the bytes are a function of the numbers; that it has a
preference is mended by error feedback (`wire.weights`), which sends in the next round what was
dropped in this one (Karimireddy et al., ICML 2019, arXiv 1901.09847).
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from brainjepa_core.arrays import Float32, Float64

BLOCK = 256  # numbers of a scale, which thereby adds 1.6 % to their bytes
LARGEST = 127  # code of a block's largest number

Codes = NDArray[np.int8]


def scales_of(size: int) -> int:
    """How many scales so many numbers have."""
    return math.ceil(size / BLOCK)


def quantise(values: Float64) -> tuple[Codes, Float32]:
    """Codes of numbers, and the scales to multiply them by.

    Parameters
    ----------
    values : ndarray of float64, any shape

    Returns
    -------
    codes : ndarray of int8, of the shape of `values`
        From -127 to 127.
    scales : ndarray of float32 [blocks]
        Of the blocks of `BLOCK` values in C order; the last one may be shorter.

    Raises
    ------
    ValueError
        If a value is not finite, or too large for a float32.
    """
    if not (np.abs(values) <= np.finfo(np.float32).max).all():
        raise ValueError("expected finite float32 values to quantise, found NaN or larger ones")
    blocks = np.zeros((scales_of(values.size), BLOCK))
    blocks.reshape(-1)[: values.size] = values.reshape(-1)
    scales = (np.abs(blocks).max(axis=1, initial=0.0) / LARGEST).astype(np.float32)
    # A block of values below the smallest float32 has scale 0, and the codes 0.
    steps = np.where(scales > 0, scales, np.inf).astype(np.float64)[:, None]
    # A scale that float32 holds in few bits may be too small for the largest value.
    codes = np.clip(np.rint(blocks / steps), -LARGEST, LARGEST).astype(np.int8)
    return codes.reshape(-1)[: values.size].reshape(values.shape), scales


def dequantise(codes: Codes, scales: Float32) -> Float64:
    """The numbers that codes stand for, exact in float64, of the shape of `codes`."""
    flat = codes.reshape(-1).astype(np.float64)
    flat *= np.repeat(scales.astype(np.float64), BLOCK)[: flat.size]
    return flat.reshape(codes.shape)
