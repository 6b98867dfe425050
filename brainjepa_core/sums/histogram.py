"""Counts of people's scores in bins: the AUC over sites, which no sum of sites' AUCs is.

Shapes: n people, B bins.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from brainjepa_core.arrays import Arrays
from brainjepa_core.sums.protocol import SumOverPeople

BINS = 1000  # of squashed scores; two people who share one count as a tie


@dataclass(frozen=True)
class ScoreHistogram(SumOverPeople):
    """How many people of either of two classes have a score in each bin.

    Attributes
    ----------
    histogram : ndarray of int64 [2, B]
    """

    histogram: NDArray[np.int64]

    NAME = "histogram of scores"
    ADDED = {"histogram": np.int64}

    @classmethod
    def of(
        cls,
        target: ArrayLike,
        scores: ArrayLike,
        fewest: int,
        rounded: Callable[[int], int] = lambda people: people,
    ) -> ScoreHistogram:
        """Counts of which no cell but an empty one holds fewer than `fewest` people.

        People of a class go side by side by score in groups of at least `fewest`, and a group
        counts as a whole in the bin of its mean score.

        Parameters
        ----------
        target : array [n]
            0 or 1.
        scores : array [n]
            Of about unit spread around 0, larger for class 1; bins are finest there.
        fewest : int
            A class of fewer people is not told.
        rounded : callable
            How many people a class is told as: people evenly spaced by score stand for all.
        """
        values = np.asarray(scores, np.float64)
        squashed = values / (1 + np.abs(values))  # -1 .. 1, in the same order
        counts = np.zeros((2, BINS), np.int64)
        for label in (0, 1):
            ordered = np.sort(squashed[np.asarray(target) == label])
            told = np.linspace(0, len(ordered) - 1, rounded(len(ordered)))
            ordered = ordered[np.rint(told).astype(np.int64)]
            enough = len(ordered) >= fewest
            for group in np.array_split(ordered, len(ordered) // fewest) if enough else []:
                place = int((group.mean() + 1) / 2 * BINS)
                counts[label, min(place, BINS - 1)] += len(group)
        return cls(counts)

    @property
    def people(self) -> int:
        return int(self.histogram.sum())

    @property
    def classes(self) -> tuple[int, int]:
        """People of either class."""
        negative, positive = self.histogram.sum(1).tolist()
        return negative, positive

    def told(self, fewest: int) -> Self:
        """Without a class that has a cell of fewer people: `of` makes none with the same floor."""
        small = (self.histogram > 0) & (self.histogram < fewest)
        return type(self)(np.where(small.any(1, keepdims=True), 0, self.histogram))

    def auc(self) -> float:
        """AUC of people known by their bin; NaN where a class has nobody."""
        negative, positive = self.histogram.astype(np.float64)
        below = np.cumsum(negative) - negative
        pairs = negative.sum() * positive.sum()
        return float((positive * (below + negative / 2)).sum() / pairs) if pairs else float("nan")

    @classmethod
    def _shapes(cls, arrays: Arrays) -> dict[str, tuple[int, ...]]:
        return {"histogram": (2, BINS)}

    @classmethod
    def _made_of(cls, values: Mapping[str, Any]) -> Self:
        return cls(values["histogram"])

    def _require_possible(self) -> None:
        """Any counts are possible."""
