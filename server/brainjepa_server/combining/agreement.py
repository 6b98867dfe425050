"""Whether a site's mean connectivity is that of brains, as the other sites' is.

Any symmetric table of numbers passes as a sum over people. But mean connectivity is much the same
wherever it is measured: in twelve sites of ABIDE, of 16 to 48 people each, a site's correlates with
the sites' median by 0.90 to 0.97, and differs from it by 0.27 to 0.48 of its spread over pairs.
How strong all correlations are together differs more (up to half a spread), and turns no basis.

The sites' means wait on disk, and are read a block of pairs, or a site, at a time: memory does not
grow with the number of sites.

Shapes: S sites, P pairs of ROIs, B of them in a block.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from io import FileIO
from pathlib import Path
from typing import NamedTuple

import numpy as np

from brainjepa_core.arrays import Float64
from brainjepa_core.sums.connectivity import ConnectivitySum
from brainjepa_server.combining.limits import FEWEST_JUDGED
from brainjepa_server.study_folder import SPOOL

LEAST_ALIKE = 0.5  # correlation, over pairs, with the sites' median
# Difference from the median in standard deviations of the median over pairs: what is never odd, and
# what is odd beyond that, in median differences of the sites (few people, short scans raise all).
NEAR, ODD = 0.6, 2.0
MOST_SHIFTED = 3.0  # the same unit: mean difference
BLOCK = 1 << 18  # numbers of all sites together that are in memory at a time


class Unlikeness(NamedTuple):
    """How a site's mean connectivity differs from the sites' median.

    Attributes
    ----------
    r : float
        Correlation over pairs.
    difference, shift : float
        Standard deviation of the difference over pairs, and its mean, in standard deviations of
        the median.
    """

    r: float
    difference: float
    shift: float


def odd_ones(sums: Mapping[str, ConnectivitySum], folder: Path | None = None) -> dict[str, str]:
    """Sites whose mean connectivity is not like that of the others, and why.

    The oddest is taken out first and the others are compared anew, so that it does not make an
    honest site odd. Of one or two sites nobody can tell which one is.

    Parameters
    ----------
    sums : mapping of str to ConnectivitySum
        Of the same ROIs. Each is looked at once, in the mapping's order.
    folder : Path, optional
        Where means wait; the system's place by default.
    """
    reasons: dict[str, str] = {}
    with tempfile.TemporaryFile(prefix=SPOOL, dir=folder, buffering=0) as file:
        means = _Means(file)
        for site, one in sums.items():
            means.take(site, _mean_z(one))
        left = list(sums)
        while len(left) >= FEWEST_JUDGED:
            median = means.median(left)
            found = {site: _unlikeness(means.of(site), median) for site in left}
            most = max(NEAR, ODD * float(np.median([one.difference for one in found.values()])))
            odd = [
                site
                for site, one in found.items()
                if one.r < LEAST_ALIKE or one.difference > most or abs(one.shift) > MOST_SHIFTED
            ]
            if not odd:
                break
            oddest = max(odd, key=lambda site: found[site].difference)
            reasons[oddest] = _reason(found[oddest], most)
            left.remove(oddest)
    return reasons


def _reason(one: Unlikeness, most: float) -> str:
    return (
        f"expected mean connectivity like the other sites' (with their median a correlation of "
        f"at least {LEAST_ALIKE:g}, in its spread a difference of at most {most:.2f} and a "
        f"shift of at most {MOST_SHIFTED:g}), found {one.r:.2f}, {one.difference:.2f} and "
        f"{one.shift:.2f}; look at the order of its ROIs and at how its scans were prepared"
    )


class _Means:
    """Mean Fisher z [P] of each site, one after the other in a file that nothing else is in."""

    def __init__(self, file: FileIO) -> None:
        self._file = file
        self._pairs = 0
        self._places: dict[str, int] = {}

    def take(self, site: str, mean: Float64) -> None:
        self._places[site], self._pairs = len(self._places), len(mean)
        mean.tofile(self._file)

    def of(self, site: str, first: int = 0, pairs: int = -1) -> Float64:
        """Of one site, by default of all pairs."""
        place = self._places[site] * self._pairs + first
        self._file.seek(place * np.dtype(np.float64).itemsize)
        return np.fromfile(self._file, np.float64, self._pairs if pairs < 0 else pairs)

    def median(self, sites: Sequence[str]) -> Float64:
        """Median over sites [P] of each pair; 0 where no site tells of anybody."""
        found = np.empty(self._pairs)
        size = max(1, BLOCK // len(sites))
        for first in range(0, self._pairs, size):
            block = found[first : first + size]
            block[:] = _median(np.stack([self.of(site, first, len(block)) for site in sites]))
        return found


def _mean_z(one: ConnectivitySum) -> Float64:
    """Mean Fisher z [P] of a site's people, NaN where it tells of nobody."""
    told = one.pair_count > 0
    return np.where(told, one.z_sum / np.maximum(one.pair_count, 1), np.nan)


def _median(means: Float64) -> Float64:
    """Median over sites [S, B] of each pair; 0 where no site tells of anybody."""
    told = ~np.isnan(means).all(axis=0)
    found = np.zeros(means.shape[1])
    found[told] = np.nanmedian(means[:, told], axis=0)
    return found


def _unlikeness(mean: Float64, median: Float64) -> Unlikeness:
    """Of a site's mean [P] and the median [P], over the pairs that the site tells."""
    told = ~np.isnan(mean)
    x, y, spread = mean[told], median[told], float(median.std())
    if told.sum() < 2 or not x.std() or not y.std() or not spread:
        return Unlikeness(0.0, float("inf"), float("inf"))
    r, away = float(np.corrcoef(x, y)[0, 1]), (x - y) / spread
    return Unlikeness(r, float(away.std()), float(away.mean()))
