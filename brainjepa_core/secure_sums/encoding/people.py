"""Sums over people (connectivity, moments, counts) as a vector of a secure sum, modulo 2^64."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainjepa_core.arrays import Arrays, take_keys
from brainjepa_core.secure_sums.encoding.fixed_point import Counts, FixedPoint
from brainjepa_core.secure_sums.masks import KeyStream

Codes = Mapping[str, FixedPoint | Counts]
"""How each array becomes integers: `Counts` for whole numbers, else `FixedPoint` of 64 bits."""


def encode_sums(sums: Mapping[str, NDArray[Any]], codes: Codes, rounding: bytes) -> Arrays:
    """A site's vector.

    Parameters
    ----------
    sums : mapping of str to ndarray of float64 or int64
        What adds up over people (`SumOverPeople.ADDED`).
    codes : mapping
        For the same names; alike at all sites and the coordinator.
    rounding : bytes
        The site's own key (`SumSite.rounding`).

    Returns
    -------
    dict of str to ndarray of uint64

    Raises
    ------
    ValueError
        If a value is not finite or out of its bounds: a sum that was clipped would be wrong.
    """
    vector: Arrays = {}
    for place, (name, array) in enumerate(sorted(take_keys(sums, tuple(codes), "sum").items())):
        code = codes[name]
        try:
            if isinstance(code, Counts):
                vector[name] = code.encode(array)
            else:
                vector[name] = code.encode(array, KeyStream(rounding, place))
        except ValueError as error:
            raise ValueError(f"'{name}': {error}") from error
    return vector


def decode_sums(total: Mapping[str, NDArray[Any]], codes: Codes, sites: int) -> Arrays:
    """Sums over the people of `sites` sites: float64, and int64 of counts.

    Raises
    ------
    OutOfRange
        If no sites that follow the protocol have such sums.
    """
    found = take_keys(total, tuple(codes), "sum")
    return {name: np.asarray(codes[name].decode(found[name], sites)) for name in codes}
