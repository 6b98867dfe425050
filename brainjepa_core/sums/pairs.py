"""Sums over people of numbers that each pair of ROIs has, with how many people show the pair.

Shapes: R ROIs, P pairs of them, in the order of ``numpy.triu_indices(R, k)``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from brainjepa_core.arrays import Arrays, take_rois
from brainjepa_core.sums.protocol import SumOverPeople
from brainjepa_core.sums.rois import check_rois, require_same_rois


@lru_cache(maxsize=4)
def places_above(rois: int) -> NDArray[np.intp]:
    """Places [P] of the pairs above the diagonal in a flattened [R, R]; not to be written to."""
    rows, columns = np.triu_indices(rois, k=1)
    return rows * rois + columns


class SumOverPairs(SumOverPeople):
    """Base of sums over pairs of ROIs, empty at first; a kind names the array of its own [P].

    Parameters
    ----------
    rois : iterable of str
        Ordered ROI names, R of them, each unique.

    Attributes
    ----------
    K : int
        0 if an ROI makes a pair with itself, else 1.
    OWN : str
        Name of the array of its own.
    rois : tuple of str
    pair_count : ndarray of int64 [P]
        People in whom both ROIs were there.
    subjects : int
    """

    SHARED = ("rois",)
    K: ClassVar[int]
    OWN: ClassVar[str]
    pair_count: NDArray[np.int64]

    def __init__(self, rois: Iterable[str]) -> None:
        self.rois = check_rois(rois)
        shapes = self._shapes_of(len(self.rois))
        for name, dtype in self.ADDED.items():
            setattr(self, name, np.zeros(shapes[name], dtype))
        self.subjects = 0

    @property
    def people(self) -> int:
        return self.subjects

    @classmethod
    def _shapes_of(cls, rois: int) -> dict[str, tuple[int, ...]]:
        pairs = (rois * (rois + 1 - 2 * cls.K) // 2,)
        return {**dict.fromkeys(cls.ADDED, pairs), "subjects": ()}

    @classmethod
    def _shapes(cls, arrays: Arrays) -> dict[str, tuple[int, ...]]:
        return cls._shapes_of(len(check_rois(take_rois(arrays["rois"]))))

    @classmethod
    def _made_of(cls, values: Mapping[str, Any]) -> Self:
        made = cls(str(name) for name in values["rois"])
        for name in cls.ADDED:
            setattr(made, name, values[name])
        made.subjects = int(values["subjects"])
        return made

    def counting_as(self, people: int) -> Self:
        """The sum as if over fewer people of the same means, pair by pair.

        Parameters
        ----------
        people : int
            At least 1; a sum over no more than these is given back as it is.
        """
        if people >= self.subjects:
            return self
        fewer = np.ceil(self.pair_count * (people / self.subjects)).astype(np.int64)
        return self._of_counts(fewer, people)

    def rounded(self, rounding: Callable[[Any], Any]) -> Self:
        """The sum as of rounded numbers of people of the same means, pair by pair.

        Parameters
        ----------
        rounding : callable
            Of a number or an array of them, never up.
        """
        return self._of_counts(rounding(self.pair_count), int(rounding(self.subjects)))

    def _of_counts(self, pair_count: NDArray[np.int64], people: int) -> Self:
        values = getattr(self, self.OWN) * (pair_count / np.maximum(self.pair_count, 1))
        counts = {"pair_count": pair_count, "subjects": people}
        return self._made_of({**self._shared(), self.OWN: values, **counts})

    def _shared(self) -> Arrays:
        return {"rois": np.array(self.rois, dtype=np.str_)}

    def _require_same(self, other: Self) -> None:
        require_same_rois(self.rois, other.rois)
