"""Read-outs of people as features: connectivity and log-connectivity, of signals or of a network.

Connectivity is a function of a person's scans (and a network). Log-connectivity is seen from the
consensus, which is learned from the training part's signals: what sites of a federation send for
the basis anyway, so that reading a network asks for no further sum.

Shapes: n people, R ROIs, E = R (R - 1) / 2 pairs of ROIs, P features of log-connectivity.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import Literal

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
from brainjepa_core.signals.windows import Windows

AT_ONCE = 64  # people whose matrices are in memory together

LatentReadOut = Literal["latent_connectivity", "latent_log_connectivity"]
BOTH: tuple[LatentReadOut, ...] = ("latent_connectivity", "latent_log_connectivity")


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
        key = np.sort(people).tobytes()
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
        return LogFeatures(self, self.pairs if pairs is None else pairs)


class LogFeatures:
    """Log-connectivity of everybody's pairs; that of the latest training part is kept.

    Parameters
    ----------
    signals : SignalReadOuts
        Whose training people are the consensus.
    pairs : ndarray [people of the windows, E]
    """

    def __init__(self, signals: SignalReadOuts, pairs: Float32) -> None:
        self._signals, self._pairs = signals, pairs
        self._latest: tuple[LogConnectivity, bytes, Float32] | None = None

    def __call__(self, data: TaskData, training: Index) -> Float32:
        """Features [n, P]; the consensus is that of the training rows' people."""
        seen = self._signals.seen_from(data.people[training])
        latest, asked = self._latest, data.people.tobytes()
        if latest is None or latest[0] is not seen or latest[1] != asked:
            parts = [
                seen.features(matrix_of(self._pairs[data.people[first : first + AT_ONCE]]))
                for first in range(0, len(data), AT_ONCE)
            ]
            self._latest = seen, asked, np.concatenate(parts).astype(np.float32)
        assert self._latest is not None
        return self._latest[2]
