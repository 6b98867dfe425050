"""Two read-outs of the same people's other halves: how far apart they are, and how sure that is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from brainjepa_core.arrays import Float64
from brainjepa_core.evaluation.other_half import OtherHalf

DRAWS = 2000


class Paired(NamedTuple):
    """R2, and its ratio to and difference from another's, with 95 % intervals over people."""

    r2: float
    ratio: float
    least: float  # of the ratio
    gain: float
    low: float  # of the gain
    high: float


def mean_over_seeds(results: Sequence[dict[str, Any]]) -> OtherHalf:
    """Of results that have ``errors`` and ``totals`` of the same people."""
    errors, totals = (np.mean([r[what] for r in results], axis=0) for what in ("errors", "totals"))
    return OtherHalf(errors, totals)


def paired(own: OtherHalf, other: OtherHalf) -> Paired:
    """Of two read-outs; each time the same people are drawn for both."""
    people = len(own.errors)
    drawn = np.random.default_rng(0).integers(people, size=(DRAWS, people))
    ours, theirs = (1 - _sum(p.errors, drawn) / _sum(p.totals, drawn) for p in (own, other))
    low, high = np.quantile(ours - theirs, (0.025, 0.975))
    least = float(np.quantile(ours / theirs, 0.025))
    return Paired(own.r2, own.r2 / other.r2, least, own.r2 - other.r2, float(low), float(high))


def _sum(values: Float64, drawn: NDArray[np.int64]) -> Float64:
    found: Float64 = values[drawn].sum(1)
    return found
