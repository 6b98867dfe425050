"""Means over sites, each site counted once, and how sure they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

FEWEST = 3  # sites that an interval takes


@dataclass(frozen=True)
class OverSites:
    """A mean over sites, each counted once, and its 95 % interval by Student's t.

    Attributes
    ----------
    mean : float
    low, high : float or None
        None of too few sites.
    sites : int
    """

    mean: float
    low: float | None
    high: float | None
    sites: int

    @classmethod
    def of(cls, values: Sequence[float], fewest: int = FEWEST) -> OverSites:
        """Of one value a site, with an interval from so many on."""
        mean, count = float(np.mean(values)), len(values)
        if count < fewest:
            return cls(mean, None, None, count)
        reach = float(stats.t.ppf(0.975, count - 1) * np.std(values, ddof=1) / np.sqrt(count))
        return cls(mean, mean - reach, mean + reach, count)

    def __str__(self) -> str:
        if self.low is None or self.high is None:
            return f"{self.mean:.3f}"
        return f"{self.mean:.3f} ({self.low:.3f} to {self.high:.3f})"
