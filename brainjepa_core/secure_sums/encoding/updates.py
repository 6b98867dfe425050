"""Updates of weights as a vector of a secure sum, clipped and weighted; and their mean."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainjepa_core.arrays import Arrays, Float32, Float64
from brainjepa_core.secure_sums.encoding.fixed_point import FixedPoint, OutOfRange
from brainjepa_core.secure_sums.masks import KeyStream

SHARE = "share"  # uint32 [1], what a site counts by: one more number of the sum
_AT_ONCE = 1 << 15  # numbers


@dataclass(frozen=True)
class UpdateCode:
    """How a study's updates become integers. All sites and the coordinator have the same.

    Attributes
    ----------
    norm : float
        Largest L2 norm of an update over all arrays together; a longer one is shortened to it.
    reach : float
        Largest value of a number; a larger one becomes it.
    sites : int
        In the roster.
    most : int
        Largest share of a site: from 1.
    """

    norm: float
    reach: float
    sites: int
    most: int = 1

    def __post_init__(self) -> None:
        if not (math.isfinite(self.norm) and self.norm > 0) or self.most < 1:
            raise ValueError(
                f"expected a norm above 0 and shares from 1, found {self.norm} and {self.most}; "
                "correct the settings of the study"
            )
        _ = self.points

    @property
    def points(self) -> FixedPoint:
        """Of each number."""
        return FixedPoint(self.reach, self.sites * self.most, np.uint32)

    def encode(self, update: Mapping[str, Float32], share: int, rounding: bytes) -> Arrays:
        """A site's vector.

        Parameters
        ----------
        update : mapping of str to ndarray of float32
            Differences from the round's global weights.
        share : int
            What the site counts by, from 1 to `most`.
        rounding : bytes
            The site's own key (`SumSite.rounding`).

        Returns
        -------
        dict of str to ndarray of uint32
            The same names, and ``share``.

        Raises
        ------
        ValueError
            If a value is not finite, or the share out of bounds.
        """
        if not 1 <= share <= self.most:
            raise ValueError(
                f"expected a share from 1 to {self.most}, found {share}; the contract says what a "
                "site may count by"
            )
        if SHARE in update:
            raise ValueError(f"expected no weights called '{SHARE}', found some; rename them")
        length = l2_norm(update)
        factor = min(1.0, self.norm / length) if length else 1.0
        names = sorted(update)
        vector: Arrays = {
            name: self.points.encode(
                update[name], KeyStream(rounding, place), weight=share, factor=factor, clip=True
            )
            for place, name in enumerate(names)
        }
        return {**vector, SHARE: np.array([share], np.uint32)}

    def shares(self, total: Mapping[str, NDArray[Any]], alive: int) -> int:
        """Sum of the shares of `alive` sites; the whole sum is judged before any of it is used.

        Raises
        ------
        OutOfRange
            If no sites that follow the protocol have such a sum.
        """
        shares = int(total[SHARE][0])
        if not alive <= shares <= alive * self.most:
            raise OutOfRange(
                f"expected shares from {alive} to {alive * self.most} in all, found {shares}: a "
                "site sent what it must not; drop the round"
            )
        for name, array in total.items():
            if name != SHARE:
                self.points.require_possible(array, shares)
        return shares

    def mean(self, total: NDArray[np.uint32], shares: int) -> Float64:
        """Mean float64 of one array of the updates, by the sites' shares."""
        mean = self.points.decode(total, shares)
        mean /= shares
        return mean


def l2_norm(update: Mapping[str, NDArray[Any]]) -> float:
    """Over all arrays together, in float64 whatever they are."""
    total = 0.0
    for array in update.values():
        flat = np.ravel(array)
        for begin in range(0, flat.size, _AT_ONCE):
            part = flat[begin : begin + _AT_ONCE].astype(np.float64)
            # No product of BLAS, whose sum depends on threads: an update has to repeat itself.
            total += float(np.square(part, out=part).sum())
    return math.sqrt(total)
