"""Many sites' weights into one mean, a reply at a time.

What is averaged are the sites' weights, not their differences from the global ones: the mean
difference is the same number, but a weight that a round shrank by more than 2^28 cannot be got
back from a float64 difference, and one site's mean must be that site's model to the last bit.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from brainjepa_core.arrays import Float32, Float64
from brainjepa_server.combining.robust import Spooled
from brainjepa_server.combining.validation import Update, require_replies
from brainjepa_server.settings import AggregationSettings

Means = dict[str, Float64]
BLOCK = 1 << 14  # weights added at a time: few enough for the processor's cache


class Combiner(Protocol):
    """Takes checked replies one by one, then gives their mean (or what stands in for it)."""

    def add(self, update: Update) -> None:
        """Take one site's reply."""

    def result(self) -> Means:
        """The sites' combined weights, float64, once; the combiner is empty afterwards."""


def combiner(
    settings: AggregationSettings, base: Mapping[str, Float32], folder: Path | None = None
) -> Combiner:
    """The combiner that the study names, for one round; replies may wait in `folder`."""
    if settings.combine == "mean":
        return WeightedMean(base)
    return Spooled(base, settings.combine, settings.trim, folder)


class WeightedMean:
    """Mean of the sites' weights, each counting by its reply's share.

    It holds 12 bytes a weight whatever the number of sites: a float64 sum, and in float32 the
    sum of what rounding took from it (Ogita, Rump & Oishi, SIAM J. Sci. Comput. 26, 2005,
    algorithm Sum2). The mean is thereby that of exact sums rounded once, to some 2^-70, so that
    after rounding to float32 the order in which sites answer does not show. A site that is
    alone gives back its own float32 weights bit for bit, whatever it counts by.

    Parameters
    ----------
    base : mapping of str to ndarray of float32
        The round's global weights.
    """

    def __init__(self, base: Mapping[str, Float32]) -> None:
        self._base = base
        self._sums: Means = {}
        self._lost: dict[str, Float32] = {}
        self._shares: list[float] = []

    def add(self, update: Update) -> None:
        """Add one site's weights."""
        self._shares.append(update.share)
        for name, value in update.values(self._base):
            if name not in self._sums:
                self._sums[name] = np.full(value.shape, -0.0)  # keeps a zero's sign
                self._lost[name] = np.zeros(value.shape, np.float32)
            _add_compensated(self._sums[name], self._lost[name], value, update.share)

    def result(self) -> Means:
        """The mean, float64; the sums are used up.

        Raises
        ------
        ValueError
            If nothing was added.
        """
        require_replies(len(self._shares))
        total = math.fsum(self._shares)  # exact, so the order does not show here either
        means = {}
        for name in sorted(self._sums):
            mean = self._sums.pop(name)
            lost = self._lost.pop(name)
            np.add(mean, lost, out=mean, where=lost != 0)
            mean /= total
            means[name] = mean
        self._shares = []
        return means


def _add_compensated(
    total: Float64,
    lost: Float32,
    value: NDArray[np.floating],
    share: float,
) -> None:
    """``total += share * value`` in place; what the rounding takes goes to `lost` (TwoSum)."""
    parts = total.reshape(-1), lost.reshape(-1), value.reshape(-1)  # the first two are views
    buffers = np.empty((3, min(BLOCK, value.size)))
    for start in range(0, value.size, BLOCK):
        t, rest, v = (part[start : start + BLOCK] for part in parts)
        term, new, seen = buffers[:, : t.size]
        np.multiply(v, share, out=term, dtype=np.float64)
        np.add(t, term, out=new)
        np.subtract(new, t, out=seen)
        term -= seen  # error of the term's part
        np.subtract(new, seen, out=seen)
        np.subtract(t, seen, out=seen)  # error of the total's part
        term += seen
        rest += term  # a float32 of an error: far below the float64 sum's last bit
        t[...] = new
