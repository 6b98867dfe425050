"""Whether a site's mean connectivity is that of brains, as the other sites' is.

Any symmetric table of numbers passes as a sum over people. But mean connectivity is much the same
wherever it is measured: in twelve sites of ABIDE, of 16 to 48 people each, a site's correlates with
the sites' median by 0.90 to 0.97, and differs from it by 0.27 to 0.48 of its spread over pairs.
How strong all correlations are together differs more (up to half a spread), and turns no basis.

Shapes: S sites, P pairs of ROIs.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from brainjepa_core.arrays import Float64
from brainjepa_core.sums.connectivity import ConnectivitySum
from brainjepa_server.combining.limits import FEWEST_JUDGED

LEAST_ALIKE = 0.5  # correlation, over pairs, with the sites' median
# Difference from the median in standard deviations of the median over pairs: what is never odd, and
# what is odd beyond that, in median differences of the sites (few people, short scans raise all).
NEAR, ODD = 0.6, 2.0
MOST_SHIFTED = 3.0  # the same unit: mean difference


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


def odd_ones(sums: Mapping[str, ConnectivitySum]) -> dict[str, str]:
    """Sites whose mean connectivity is not like that of the others, and why.

    The oddest is taken out first and the others are compared anew, so that it does not make an
    honest site odd. Of one or two sites nobody can tell which one is.

    Parameters
    ----------
    sums : mapping of str to ConnectivitySum
        Of the same ROIs.
    """
    means = {site: _mean_z(one) for site, one in sums.items()}
    reasons: dict[str, str] = {}
    while len(means) >= FEWEST_JUDGED:
        median = _median(np.stack(list(means.values())))
        found = {site: _unlikeness(mean, median) for site, mean in means.items()}
        most = max(NEAR, ODD * float(np.median([one.difference for one in found.values()])))
        odd = [
            site
            for site, one in found.items()
            if one.r < LEAST_ALIKE or one.difference > most or abs(one.shift) > MOST_SHIFTED
        ]
        if not odd:
            break
        oddest = max(odd, key=lambda site: found[site].difference)
        one = found[oddest]
        reasons[oddest] = (
            f"expected mean connectivity like the other sites' (with their median a correlation of "
            f"at least {LEAST_ALIKE:g}, in its spread a difference of at most {most:.2f} and a "
            f"shift of at most {MOST_SHIFTED:g}), found {one.r:.2f}, {one.difference:.2f} and "
            f"{one.shift:.2f}; look at the order of its ROIs and at how its scans were prepared"
        )
        del means[oddest]
    return reasons


def _mean_z(one: ConnectivitySum) -> Float64:
    """Mean Fisher z [P] of a site's people, NaN where it tells of nobody."""
    told = one.pair_count > 0
    return np.where(told, one.z_sum / np.maximum(one.pair_count, 1), np.nan)


def _median(means: Float64) -> Float64:
    """Median over sites [S, P] of each pair; 0 where no site tells of anybody."""
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
