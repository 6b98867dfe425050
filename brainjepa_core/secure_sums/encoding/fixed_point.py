"""Numbers as integers modulo 2^32 or 2^64, so that masks hide them perfectly and sums are exact.

A number v within ±R becomes the integer v·w·Q/R, rounded up or down at random so that its
expectation is exact. Q, the number of levels, is so small that the sum over all sites needs half of
the signed range: the other half never holds an honest sum, and shows a site that wrapped the
integers, or masks that were not removed.

Error of a sum of n sites: below n·R/Q (each site rounds by less than one step), and of its
expectation zero; in the mean with weights, below n·R/(Q·sum of weights). With 64 bits, float64 adds
its own 2^-52 of the value.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainjepa_core.arrays import Float64
from brainjepa_core.secure_sums.masks import CHUNK, KeyStream

_AT_ONCE = CHUNK // 8  # numbers
_MOST = (1 << 62) - 1  # of a sum of counts: half of the signed range


class OutOfRange(ValueError):
    """A sum that honest sites cannot have."""


@dataclass(frozen=True)
class FixedPoint:
    """Numbers within ±`reach`, as they are added modulo 2^32 or 2^64.

    Attributes
    ----------
    reach : float
        R, in the unit of the numbers.
    weights : int
        Largest sum of weights over all sites: the number of sites, where each counts as one.
    dtype : {numpy.uint32, numpy.uint64}
        uint32 for updates of weights; uint64 for sums over people.
    """

    reach: float
    weights: int
    dtype: type[np.uint32] | type[np.uint64]

    def __post_init__(self) -> None:
        if not (math.isfinite(self.reach) and self.reach > 0):
            raise ValueError(f"expected a reach above 0, found {self.reach}; correct it")
        if not 1 <= self.weights <= 1 << 20:
            raise ValueError(
                f"expected a sum of weights from 1 to {1 << 20}, found {self.weights}: more would "
                "leave too few bits for the numbers; let sites count by smaller weights"
            )

    @property
    def levels(self) -> int:
        """Q: integers from 0 to the reach."""
        half = (1 << (np.dtype(self.dtype).itemsize * 8 - 2)) - 1
        return half // self.weights

    @property
    def step(self) -> float:
        """Distance of two neighbouring numbers, in their unit."""
        return self.reach / self.levels

    def encode(
        self,
        values: NDArray[Any],
        rounding: KeyStream,
        *,
        weight: int = 1,
        factor: float = 1.0,
        clip: bool = False,
    ) -> NDArray[Any]:
        """Integers of ``values * factor * weight``.

        Parameters
        ----------
        values : ndarray of float32 or float64
            Of any shape.
        rounding : KeyStream
            Of a key that the coordinator does not have: chooses between the two neighbours.
        weight : int
            Of the site.
        factor : float
        clip : bool
            Bring what is beyond the reach to it; else it is an error.

        Returns
        -------
        ndarray of `dtype`
            Of the same shape, new.

        Raises
        ------
        ValueError
            If a value is not finite, or beyond the reach and not to be clipped.
        """
        flat = np.ravel(values)
        integers = np.empty(flat.size, self.dtype)
        scale, most = factor * weight * (self.levels / self.reach), weight * self.levels
        for begin in range(0, flat.size, _AT_ONCE):
            part = flat[begin : begin + _AT_ONCE].astype(np.float64)
            part *= scale
            self._require_within(part, most, clip)
            part += rounding.take(part.size, np.uint32) * 2.0**-32
            rounded = np.floor(part, out=part).astype(np.int64)
            np.clip(rounded, -most, most, out=rounded)
            # Modulo 2^32 by leaving out the upper half.
            integers[begin : begin + part.size] = rounded.view(np.uint64)
        return integers.reshape(np.shape(values))

    def _require_within(self, part: Float64, most: int, clip: bool) -> None:
        lowest, highest = float(part.min()), float(part.max())
        if not (math.isfinite(lowest) and math.isfinite(highest)):
            raise ValueError(
                "expected finite numbers for a secure sum, found NaN or infinite ones; see why "
                "they arose"
            )
        largest = max(highest, -lowest)
        if clip:
            np.clip(part, -most, most, out=part)
        elif largest > most * (1 + 1e-12):
            raise ValueError(
                f"expected numbers of at most {self.reach:g} for a secure sum, found up to "
                f"{largest / most:.3g} times as much; raise the reach, in the settings of all sites"
            )

    def require_possible(self, total: NDArray[Any], weights: int) -> None:
        """Refuse a sum that sites of these weights, in all, cannot have.

        Raises
        ------
        OutOfRange
        """
        signed, most = _signed(total), weights * self.levels
        if signed.size and (signed.max() > most or signed.min() < -most):
            raise _impossible()

    def decode(self, total: NDArray[Any], weights: int) -> Float64:
        """Sum float64 of ``values * weight`` over sites whose weights are `weights` in all.

        Raises
        ------
        OutOfRange
        """
        self.require_possible(total, weights)
        return _signed(total) * self.step


@dataclass(frozen=True)
class Counts:
    """Whole numbers from 0 to `most` a site, added as they are modulo 2^64.

    Attributes
    ----------
    most : int
        Of one site.
    sites : int
        In all.
    """

    most: int
    sites: int

    def __post_init__(self) -> None:
        if self.most < 1 or self.sites < 1 or self.most * self.sites > _MOST:
            raise ValueError(
                f"expected counts whose sum stays below 2^62, found {self.most} times "
                f"{self.sites} sites; lower the largest count"
            )

    def encode(self, counts: NDArray[Any]) -> NDArray[np.uint64]:
        """Counts as uint64, new.

        Raises
        ------
        ValueError
        """
        if not np.issubdtype(counts.dtype, np.integer):
            raise ValueError(
                f"expected counts as whole numbers, found {counts.dtype}; sum other numbers in "
                "fixed point"
            )
        if counts.size and (counts.min() < 0 or counts.max() > self.most):
            raise ValueError(
                f"expected counts from 0 to {self.most} for a secure sum, found from "
                f"{counts.min()} to {counts.max()}; raise the largest count, in the settings of "
                "all sites"
            )
        return counts.astype(np.uint64)

    def decode(self, total: NDArray[np.uint64], sites: int) -> NDArray[np.int64]:
        """Sum int64 over `sites` sites, exact.

        Raises
        ------
        OutOfRange
        """
        if total.size and total.max() > self.most * sites:
            raise _impossible()
        return total.astype(np.int64)


def _signed(total: NDArray[Any]) -> NDArray[Any]:
    return total.view(np.int32 if total.dtype == np.uint32 else np.int64)


def _impossible() -> OutOfRange:
    return OutOfRange(
        "expected a sum that these sites can have, found a larger one: a site sent what it must "
        "not; drop the round"
    )
