"""Weights as they travel up: themselves in fp32, or their differences in bfloat16 or int8.

With wire ``fp32`` a site sends its weights themselves: the same bytes as fp32 differences, and the
coordinator gets them back to the last bit, which a rounded difference would not allow. With
``bf16`` it sends differences from the round's global weights, rounded to bfloat16 and viewed as
uint16, half the bytes; with ``int8`` their codes and scales (`wire.quantising`), a quarter. What
int8 drops the site keeps, and adds to its next difference: over the rounds that it answers, what it
has sent adds up to the differences themselves, but for what it keeps at the end.

Downwards weights are whole. All sites of a round then hold the same ones to the bit, and one that
was away for a while needs nothing that it missed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from brainjepa_core.arrays import Arrays, Float32, Float64
from brainjepa_core.wire.messages import Wire
from brainjepa_core.wire.quantising import dequantise, quantise, scales_of

Layout = tuple[np.dtype[Any], tuple[int, ...]]
DTYPES: dict[Wire, np.dtype[Any]] = {
    "fp32": np.dtype(np.float32),
    "bf16": np.dtype(np.uint16),
    "int8": np.dtype(np.int8),
}
SCALES = "/scales"  # after the name of an array of codes


def travels_as(name: str, shape: Sequence[int], wire: Wire) -> dict[str, Layout]:
    """What an array of weights travels as: dtype and shape of each array, by name."""
    agreed: dict[str, Layout] = {name: (DTYPES[wire], tuple(shape))}
    if wire == "int8":
        agreed[name + SCALES] = np.dtype(np.float32), (scales_of(math.prod(shape)),)
    return agreed


def travelling_bytes(shape: Sequence[int], wire: Wire) -> int:
    """Bytes of an array of weights as it travels."""
    agreed = travels_as("", shape, wire).values()
    return sum(dtype.itemsize * math.prod(shape) for dtype, shape in agreed)


def encode_weights(
    weights: Mapping[str, Float32],
    base: Mapping[str, NDArray[Any]],
    wire: Wire,
    kept: Mapping[str, Float32] | None = None,
) -> Arrays:
    """Weights as they travel up.

    Parameters
    ----------
    weights, base : mapping of str to ndarray of float32
        The site's weights, and the round's global ones of the same names.
    wire : {"fp32", "bf16", "int8"}
    kept : mapping of str to ndarray of float32, optional
        What int8 has dropped before (`left_over`), which is sent along.

    Returns
    -------
    dict
        float32 weights; or uint16 views of bfloat16 differences; or int8 codes of differences,
        and float32 scales [blocks] under each name and `SCALES`.

    Raises
    ------
    ValueError
        With wire int8, if a difference is not finite.
    """
    if wire == "fp32":
        return {name: np.asarray(value, np.float32, order="C") for name, value in weights.items()}
    if wire == "bf16":
        return {name: _to_bf16(value - base[name]) for name, value in weights.items()}
    sent: Arrays = {}
    for name, value in weights.items():
        sent[name], sent[name + SCALES] = quantise(_owed(name, value, base, kept))
    return sent


def left_over(
    weights: Mapping[str, Float32],
    base: Mapping[str, NDArray[Any]],
    sent: Arrays,
    kept: Mapping[str, Float32] | None = None,
) -> dict[str, Float32]:
    """What is owed once `sent` has left: of differences, and of what was `kept`, what int8 dropped.

    Parameters
    ----------
    weights, base, kept
        As `encode_weights` had them.
    sent : dict
        As it gave them, with wire int8.

    Returns
    -------
    dict of str to ndarray of float32
        No value is larger than half of its block's scale, save where a scale is so small that
        float32 holds it in few bits.
    """
    return {
        name: np.asarray(
            _owed(name, value, base, kept) - decode_difference(name, sent, base, "int8"),
            np.float32,
        )
        for name, value in weights.items()
    }


def decode_difference(
    name: str, sent: Arrays, base: Mapping[str, NDArray[Any]], wire: Wire
) -> Float64:
    """Difference float64 of one array from the round's global weights, as the coordinator adds it.

    Parameters
    ----------
    name : str
    sent : dict of str to ndarray
        What travelled, whole.
    base : mapping of str to ndarray of float32
        The round's global weights.
    wire : {"fp32", "bf16", "int8"}

    Raises
    ------
    ValueError
        If the array is not one of the model's, or has another shape or dtype than agreed.
    """
    if name not in base:
        raise ValueError(f"expected arrays of the model, found '{name[:80]}'; check the versions")
    for part, (dtype, shape) in travels_as(name, base[name].shape, wire).items():
        found = sent[part]
        if found.shape != shape or found.dtype != dtype:
            raise ValueError(
                f"expected '{part}' as {dtype} of shape {list(shape)}, found {found.dtype} "
                f"of shape {list(found.shape)}; check study and versions"
            )
    value = sent[name]
    if wire == "fp32":
        return value.astype(np.float64) - base[name].astype(np.float64)
    if wire == "bf16":
        return _from_bf16(value).astype(np.float64)
    return dequantise(value, sent[name + SCALES])


def _owed(
    name: str,
    value: Float32,
    base: Mapping[str, NDArray[Any]],
    kept: Mapping[str, Float32] | None,
) -> Float64:
    """Difference of one array from the global weights, with what was kept of earlier ones."""
    difference: Float64 = value.astype(np.float64) - base[name]
    return difference if not kept or name not in kept else difference + kept[name]


def _to_bf16(value: NDArray[np.generic]) -> NDArray[np.uint16]:
    rounded = torch.from_numpy(np.asarray(value, np.float32, order="C")).to(torch.bfloat16)
    return rounded.view(torch.uint16).numpy()


def _from_bf16(value: NDArray[np.generic]) -> Float32:
    bits = torch.from_numpy(np.array(value, np.uint16, order="C"))
    return bits.view(torch.bfloat16).to(torch.float32).numpy()
