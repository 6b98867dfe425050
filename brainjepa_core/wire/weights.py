"""Weights as they travel up: themselves in fp32, or their differences in bfloat16.

With wire ``fp32`` a site sends its weights themselves: the same bytes as fp32 differences, and the
coordinator gets them back to the last bit, which a rounded difference would not allow. With
``bf16`` it sends differences from the round's global weights, rounded to bfloat16 and viewed as
uint16, half the bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from brainjepa_core.arrays import Arrays, Float32, Float64
from brainjepa_core.wire.messages import Wire


def encode_weights(
    weights: Mapping[str, Float32], base: Mapping[str, NDArray[Any]], wire: Wire
) -> Arrays:
    """Weights as they travel up.

    Parameters
    ----------
    weights, base : mapping of str to ndarray of float32
        The site's weights, and the round's global ones of the same names.
    wire : {"fp32", "bf16"}

    Returns
    -------
    dict
        float32 weights, or uint16 views of bfloat16 differences.
    """
    if wire == "fp32":
        return {name: np.asarray(value, np.float32, order="C") for name, value in weights.items()}
    return {name: _to_bf16(value - base[name]) for name, value in weights.items()}


def decode_difference(name: str, value: NDArray[np.generic], base: Arrays, wire: Wire) -> Float64:
    """Difference float64 of one array from the round's global weights, as the coordinator adds it.

    Raises
    ------
    ValueError
        If the array is not one of the model's, or has another shape or dtype than agreed.
    """
    dtype = np.dtype(np.float32 if wire == "fp32" else np.uint16)
    if name not in base:
        raise ValueError(f"expected arrays of the model, found '{name[:80]}'; check the versions")
    if value.shape != base[name].shape or value.dtype != dtype:
        raise ValueError(
            f"expected '{name}' as {dtype} of shape {list(base[name].shape)}, found {value.dtype} "
            f"of shape {list(value.shape)}; check study and versions"
        )
    if wire == "fp32":
        return value.astype(np.float64) - base[name].astype(np.float64)
    return _from_bf16(value).astype(np.float64)


def _to_bf16(value: NDArray[np.generic]) -> NDArray[np.uint16]:
    rounded = torch.from_numpy(np.asarray(value, np.float32, order="C")).to(torch.bfloat16)
    return rounded.view(torch.uint16).numpy()


def _from_bf16(value: NDArray[np.generic]) -> Float32:
    bits = torch.from_numpy(np.asarray(value, np.uint16, order="C"))
    return bits.view(torch.bfloat16).to(torch.float32).numpy()
