"""Read-outs of people as features: connectivity and log-connectivity, of signals or of a network.

Connectivity is a function of a person's scans (and a network). Log-connectivity is seen from the
consensus, which is learned from the training part's signals: what sites of a federation send for
the basis anyway, so that reading a network asks for no further sum.

Shapes: n people, R ROIs, E = R (R - 1) / 2 pairs of ROIs, P features of log-connectivity.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cached_property
from typing import Generic, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from brainjepa_core.arrays import Float32, Float64
from brainjepa_core.evaluation.features.connectivity import Features
from brainjepa_core.evaluation.readout.connectivity import (
    SLOW_BAND,
    Part,
    connectivity_of,
    matrix_of,
    mean_connectivity,
    pairs_of,
    signal_part,
)
from brainjepa_core.evaluation.readout.log_connectivity import LogConnectivity
from brainjepa_core.evaluation.tasks.protocols import Index
from brainjepa_core.evaluation.tasks.settings import TaskData
from brainjepa_core.evaluation.yardstick import LATENT_CONNECTIVITY, LATENT_LOG
from brainjepa_core.signals.windows import Windows

AT_ONCE = 64  # people whose matrices are in memory together

LatentReadOut = Literal["latent_connectivity", "latent_log_connectivity"]
BOTH: tuple[LatentReadOut, ...] = (LATENT_CONNECTIVITY, LATENT_LOG)
Seen = TypeVar("Seen")


def heard_by_probe(kind: str) -> tuple[LatentReadOut, ...]:
    """Read-outs of a network that its probe hears, by the kind of task: fixed beforehand.

    Both for classes; for a value, log-connectivity alone: beside it connectivity takes from age of
    few people of ABIDE, and adds .014 at most to that of 687
    (docs/evaluation.md#log-connectivity-at-three-levels).
    """
    return BOTH if kind == "classification" else BOTH[1:]


class SignalReadOuts:
    """Read-outs of the signals of everybody in some windows, computed when first asked for.

    Parameters
    ----------
    windows : Windows
    consensus : ndarray of float64 [R, R], optional
        Mean connectivity that log-connectivity is seen from, of people who are never tested: that
        of a study, or of whole scans where these are cut. By default that of each training part.
    """

    def __init__(self, windows: Windows, consensus: Float64 | None = None) -> None:
        self._windows = windows
        self._given = None if consensus is None else LogConnectivity.of(consensus)
        self._kept: tuple[bytes, LogConnectivity] | None = None

    @cached_property
    def pairs(self) -> Float32:
        """Fisher z [people of the windows, E] of all frequencies, NaN where unknown."""
        return self._pairs(None)

    @cached_property
    def slow_pairs(self) -> Float32:
        """The same of 0.01 to 0.1 Hz."""
        return self._pairs(SLOW_BAND)

    def _pairs(self, band: tuple[float, float] | None) -> Float32:
        people = range(self._windows.subjects)
        found = [pairs_of(connectivity_of(self._parts(p, band))) for p in people]
        return np.stack(found).astype(np.float32)

    def _parts(self, person: int, band: tuple[float, float] | None) -> Iterator[Part]:
        settings, records = self._windows.settings, self._windows.people[person].records
        for record, scan in zip(records, self._windows.aligned(person), strict=True):
            tr = record.tr if settings.temporal == "official" else settings.tr
            yield signal_part(*scan, tr, band)

    def seen_from(self, people: NDArray[np.int64]) -> LogConnectivity:
        """What log-connectivity is seen from, where these people are the consensus."""
        if self._given is not None:
            return self._given
        people = np.sort(people)
        key = people.tobytes()
        if self._kept is None or self._kept[0] != key:  # methods ask for one split after another
            self._kept = key, LogConnectivity.of(mean_connectivity(self.pairs[people]))
        return self._kept[1]

    def log_connectivity(self, pairs: Float32 | None = None) -> Features:
        """Features [n, P] of a task's people: of their signals, or of a network.

        Parameters
        ----------
        pairs : ndarray [people of the windows, E], optional
            Fisher z of the latent connectivity of everybody.
        """
        of = self.pairs if pairs is None else pairs
        return KeptFeatures(
            self.seen_from, lambda seen, people: in_parts(of, people, seen.features)
        )


class KeptFeatures(Generic[Seen]):
    """Features of people by what is learned of the training part; the latest ones are kept.

    Parameters
    ----------
    learn : callable
        Of the numbers of those who train among the windows: what people are seen from, the same
        object where it is the same.
    make : callable
        Of that and of people's numbers: features [n, P].
    """

    def __init__(
        self,
        learn: Callable[[NDArray[np.int64]], Seen],
        make: Callable[[Seen, NDArray[np.int64]], NDArray[np.floating]],
    ) -> None:
        self._learn, self._make = learn, make
        self._latest: tuple[Seen, bytes, Float32] | None = None

    def __call__(self, data: TaskData, training: Index) -> Float32:
        """Features [n, P] of a task's people, of whom the training rows are learned of."""
        seen, asked = self._learn(data.people[training]), data.people.tobytes()
        if self._latest is None or self._latest[0] is not seen or self._latest[1] != asked:
            self._latest = seen, asked, self._make(seen, data.people).astype(np.float32)
        return self._latest[2]


def in_parts(
    pairs: Float32, people: NDArray[np.int64], of: Callable[[Float64], Float64]
) -> Float64:
    """What `of` makes of the connectivity [k, R, R] of some people at a time.

    Parameters
    ----------
    pairs : ndarray [people of the windows, E]
    people : ndarray of int64 [n]
    of : callable
    """
    parts = (people[first : first + AT_ONCE] for first in range(0, len(people), AT_ONCE))
    return np.concatenate([of(matrix_of(pairs[part])) for part in parts])
