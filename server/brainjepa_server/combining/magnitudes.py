"""Whether the values behind a site's moments are of the size that the other sites' are.

Sums of products can be possible and still be of nobody: features a thousand times as large as
everybody's, with an outcome that follows from them to the last digit, make the fit of all people
look perfect. Embeddings come from one model and outcomes are in one unit, so their root mean
squares are alike at all sites.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from statistics import median
from typing import NamedTuple

import numpy as np

from brainjepa_core.sums.moments import Moments
from brainjepa_server.combining.limits import FEWEST_JUDGED

LARGEST = 10.0  # root mean square, in medians of the sites


class Magnitude(NamedTuple):
    """Root mean squares of the features and the outcomes behind some moments."""

    features: float
    outcomes: float

    @classmethod
    def of(cls, folds: Iterable[Moments]) -> Magnitude:
        """That of all folds of a site together; 0 of nobody."""
        told = [m for m in folds if m.n]
        people = sum(m.n for m in told)
        if not people:
            return cls(0.0, 0.0)
        p, q = told[0].xy.shape
        squares = (sum(float(np.trace(m.xx)) for m in told), sum(float(m.yy.sum()) for m in told))
        return cls(math.sqrt(squares[0] / people / p), math.sqrt(squares[1] / people / q))


def oversized(sites: Mapping[str, Magnitude]) -> dict[str, str]:
    """Sites whose values are far larger than those of the others, and why that is told.

    Of one or two sites nobody can tell which one is; nor where most have no values but 0.

    Parameters
    ----------
    sites : mapping of str to Magnitude
        Of moments of one kind, by site.
    """
    if len(sites) < FEWEST_JUDGED:
        return {}
    middle = Magnitude(*(median(column) for column in zip(*sites.values(), strict=True)))
    reasons = {}
    for site, found in sites.items():
        for what, usual, value in zip(Magnitude._fields, middle, found, strict=True):
            if 0 < LARGEST * usual < value:
                reasons[site] = (
                    f"expected {what} of a root mean square of at most {LARGEST:g} times the "
                    f"sites' median, found {value / usual:.3g} times; look at the site's version "
                    "and at the unit of its values"
                )
    return reasons
