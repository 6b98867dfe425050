"""A sum over people: the one shape in which anything about people's data is added up over sites.

A site makes a sum of its own people, keeps back what too few of them are behind (`told`), and sends
it as named arrays. The coordinator rebuilds it (`from_arrays` judges whatever comes as if it were
garbage) and adds it to those of other sites: the total is that of the people pooled.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from brainjepa_core.arrays import Arrays, AsArrays, take_array, take_keys

MOST_PEOPLE = 10**9  # of one sum; more is no cohort
MOST_COUNTED = 10**12  # scans, frames: keeps sums over sites within int64
PEOPLE_A_FEATURE = 5  # fewest in sums of products of features
ROUNDING = 1e-6  # of sums, relative


class SumOverPeople(AsArrays):
    """Base of all sums over people.

    A kind of sum names its arrays and their dtypes, gives their shapes, and says what no people's
    data can have; adding, travelling and judging are the same for all.

    Attributes
    ----------
    NAME : str
        What errors call it, such as ``set of moments``.
    ADDED : dict of str to dtype
        Arrays that add up, each an attribute of its name. Those of integers are counts.
    SHARED : tuple of str
        Arrays that say what is summed (names of ROIs), equal in all that are added.
    LARGEST : float
        Bound of values; what is below cannot overflow when sites are added.
    """

    NAME: ClassVar[str]
    ADDED: ClassVar[Mapping[str, type[np.generic]]]
    SHARED: ClassVar[tuple[str, ...]] = ()
    LARGEST: ClassVar[float] = 1e100

    @property
    @abstractmethod
    def people(self) -> int:
        """How many are behind the sum."""

    @classmethod
    @abstractmethod
    def _shapes(cls, arrays: Arrays) -> dict[str, tuple[int, ...]]:
        """Shape that each added array must have, by the size of the others or the shared ones.

        Raises
        ------
        ValueError
            If there is no such shape.
        """

    @classmethod
    @abstractmethod
    def _made_of(cls, values: Mapping[str, Any]) -> Self:
        """The sum that holds `values` by name, which are not judged."""

    @abstractmethod
    def _require_possible(self) -> None:
        """Refuse what no people's data have; dtypes, shapes, signs and bounds are judged before.

        Raises
        ------
        ValueError
        """

    def enough(self, fewest: int) -> bool:
        """Whether at least `fewest` people are behind the sum as a whole."""
        return self.people >= fewest

    def told(self, fewest: int) -> Self:
        """What may leave a site: nothing that fewer than `fewest` people are behind.

        Parameters
        ----------
        fewest : int
            Floor of the site's policy.

        Returns
        -------
        SumOverPeople
            Of the same shape; by default the sum over nobody where there are too few in all.
        """
        return self if self.enough(fewest) else self.of_nobody()

    def of_nobody(self) -> Self:
        """The sum over nobody, of this one's shape: added to another it changes nothing."""
        nothing = {name: np.zeros_like(getattr(self, name)) for name in self.ADDED}
        return self._made_of(self._shared() | nothing)

    def __add__(self, other: Self) -> Self:
        """The sum over the people of both, who must be others.

        Raises
        ------
        ValueError
            If `other` is another kind of sum, or of other sizes.
        """
        if type(other) is not type(self):
            raise ValueError(
                f"expected two sums of one kind, found a {self.NAME} and a {type(other).__name__}; "
                "add each kind to its own"
            )
        self._require_same(other)
        values = {name: getattr(self, name) + getattr(other, name) for name in self.ADDED}
        return self._made_of(self._shared() | values)

    def _require_same(self, other: Self) -> None:
        """Refuse a sum of other sizes."""
        for name in self.ADDED:
            own, found = np.shape(getattr(self, name)), np.shape(getattr(other, name))
            if own != found:
                raise ValueError(
                    f"expected '{name}' of a {self.NAME} with shape {own}, found {found}; give all "
                    "sites one atlas and one model"
                )

    def to_arrays(self) -> Arrays:
        """The sum as named arrays, copies, as `ADDED` and `SHARED` name them."""
        added = {name: np.array(getattr(self, name), dtype) for name, dtype in self.ADDED.items()}
        return {**self._shared(), **added}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Any]) -> Self:
        """Check foreign arrays, as `to_arrays` gives them, and rebuild their sum.

        Raises
        ------
        ValueError
            And nothing else: if names, dtypes or shapes differ, a value is not finite or out of
            bounds, or no people's data have such sums.
        """
        found = take_keys(arrays, (*cls.SHARED, *cls.ADDED), cls.NAME)
        shapes = cls._shapes(found)
        values = {name: found[name] for name in cls.SHARED}
        for name, dtype in cls.ADDED.items():
            values[name] = take_array(found[name], name, dtype, shapes[name])
            cls._require_in_bounds(name, values[name])
        made = cls._made_of(values)
        made._require_possible()
        if made.people > MOST_PEOPLE:
            raise ValueError(
                f"expected a {cls.NAME} over at most {MOST_PEOPLE:.0e} people, found more; "
                "leave it out"
            )
        return made

    @classmethod
    def _require_in_bounds(cls, name: str, array: NDArray[Any]) -> None:
        counts = np.issubdtype(array.dtype, np.integer)
        largest = MOST_COUNTED if counts else cls.LARGEST
        finite = np.isfinite(array)
        if not finite.all():
            raise ValueError(
                f"expected finite values in '{name}', found {array.size - finite.sum()} of "
                f"{array.size} NaN or infinite; leave this {cls.NAME} out"
            )
        if counts and array.min(initial=0) < 0:
            raise ValueError(f"expected counts in '{name}', found the negative value {array.min()}")
        if max(array.max(initial=0), -array.min(initial=0)) > largest:
            raise ValueError(
                f"expected values of at most {largest:g} in '{name}', found larger ones; leave "
                f"this {cls.NAME} out"
            )

    def _shared(self) -> Arrays:
        return {}


S = TypeVar("S", bound=SumOverPeople)


def total(sums: Iterable[S]) -> S:
    """Sum of several sums over different people.

    Parameters
    ----------
    sums : iterable of SumOverPeople
        Of one kind and size; at least one. One alone is given back as it is.

    Raises
    ------
    ValueError
        If there is none, or they do not fit together.
    """
    added: S | None = None
    for one in sums:
        added = one if added is None else added + one
    if added is None:
        raise ValueError("expected at least one sum, found none; ask a site that has people")
    return added


def stacked(sums: Sequence[SumOverPeople], prefix: str = "") -> Arrays:
    """Several sums of one kind and size as arrays ``<prefix><name>`` [number of sums, ...]."""
    each = [one.to_arrays() for one in sums]
    return {prefix + name: np.stack([arrays[name] for arrays in each]) for name in each[0]}


def unstacked(kind: type[S], arrays: Mapping[str, Any], count: int, prefix: str = "") -> list[S]:
    """Check foreign arrays and rebuild the `count` sums of a kind that `stacked` made them of.

    Parameters
    ----------
    kind : type
        A `SumOverPeople`.
    arrays : mapping of str to ndarray
        Those of other prefixes are not looked at.
    count : int
    prefix : str

    Raises
    ------
    ValueError
        If there are not so many, or `from_arrays` refuses one.
    """
    found = {
        name.removeprefix(prefix): np.asarray(array)
        for name, array in arrays.items()
        if name.startswith(prefix)
    }
    for array in found.values():
        if array.ndim < 1 or len(array) != count:
            raise ValueError(
                f"expected {count} of a {kind.NAME} in an array, found shape {array.shape[:8]}; "
                "check study and versions"
            )
    return [
        kind.from_arrays({name: np.asarray(array[k]) for name, array in found.items()})
        for k in range(count)
    ]
