"""Functional connectivity of people as features: correlation, partial correlation, tangent.

Covariances are Ledoit and Wolf's, of all scans of a person at the windows' repetition time, which
takes from fast scanners what slow ones cannot see. Correlations of a person are a function of their
scans alone; the tangent space has a centre, which is learned from the training part of a split.

Missing ROIs: correlations with an ROI that none of a person's scans has are NaN, for the imputer
of the method that reads them, which is fitted on the training part. In the tangent space they are
completed by what the training part's mean covariance expects of them, given the other ROIs.

Shapes: n people, R ROIs, F frames of a scan, E = R (R - 1) / 2 pairs of ROIs.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import numpy as np
from nilearn.connectome import ConnectivityMeasure, cov_to_corr, prec_to_partial
from numpy.typing import NDArray
from sklearn.covariance import EmpiricalCovariance, ledoit_wolf

from brainjepa_core.arrays import Float32, Float64, save_arrays
from brainjepa_core.evaluation.features.embeddings import kept_arrays, person_key
from brainjepa_core.evaluation.readout.log_connectivity import complete_covariance
from brainjepa_core.evaluation.tasks.protocols import Index
from brainjepa_core.evaluation.tasks.settings import TaskData
from brainjepa_core.gradients import fisher_z
from brainjepa_core.signals.windows import Windows

Features = Callable[[TaskData, Index], NDArray[np.floating]]
"""Features [n, P] of the people of a task; what is learned of them, from the given rows only."""

Kind = Literal["correlation", "partial correlation", "tangent"]
KINDS: tuple[Kind, ...] = ("correlation", "partial correlation", "tangent")


class ConnectivityFeatures:
    """Features of the people of some windows, computed when they are first asked for.

    What is kept of a person is float32 and triangles only; covariances come and go, since those of
    ten thousand people are larger than a machine's memory.

    Parameters
    ----------
    windows : Windows
    cache : path, optional
        Folder in which tangent features are kept by content: of the same scans and the same
        training part they are read again. Correlations are quickly made and stay in memory.

    Examples
    --------
    >>> features = ConnectivityFeatures(windows)
    >>> features.of("tangent")(data, split.train).shape  # doctest: +SKIP
    (312, 48205)
    """

    def __init__(self, windows: Windows, cache: Path | None = None) -> None:
        self._windows = windows
        self._cache = cache
        self._kept: dict[tuple[Kind, int], Float32] = {}
        self._latest: tuple[str, Float32] = ("", np.empty((0, 0), np.float32))

    def of(self, kind: Kind) -> Features:
        """Features of a kind: float32 [n, E], for the tangent space [n, E + R]."""
        if kind == "tangent":
            return self._tangent
        return lambda data, training: np.stack([self._person(kind, p) for p in data.people])

    def covariances(self, person: int) -> list[Float64]:
        """Shrunk covariance [R, R] of each scan of a person, NaN where an ROI is missing."""
        return [shrunk_covariance(*scan) for scan in self._windows.aligned(person)]

    def _person(self, kind: Kind, person: int) -> Float32:
        """Features of pairs [E]; for the tangent space the mean covariance, [E + R]."""
        person = int(person)
        if (kind, person) not in self._kept:
            found = self.covariances(person)
            if kind == "tangent":
                known = mean_known(found)[np.tril_indices(len(found[0]))]
            else:
                known = mean_known([pair_features(c, kind) for c in found])
            self._kept[kind, person] = known.astype(np.float32)
        return self._kept[kind, person]

    def _tangent(self, data: TaskData, training: Index) -> Float32:
        key = self._key(data, training)
        if self._latest[0] != key:  # the methods of a table ask for one split after another
            file = None if self._cache is None else self._cache / "tangent" / f"{key}.npz"
            found = None if file is None else kept_arrays(file)
            if found is None:
                people = [_whole(self._person("tangent", p)) for p in data.people]
                found = {"tangent": tangent_features(people, training)}
                if file is not None:
                    save_arrays(file, found, compress=False)
            self._latest = (key, found["tangent"])
        return self._latest[1]

    def _key(self, data: TaskData, training: Index) -> str:
        people = [person_key(self._windows, int(p)) for p in data.people]
        parts = [*people, "trained on", *map(str, np.sort(training))]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def shrunk_covariance(series: NDArray[np.floating], valid: NDArray[np.bool_]) -> Float64:
    """Ledoit-Wolf covariance [R, R] of z-scored signals [R, F]; NaN where an ROI is not valid."""
    found = np.asarray(series[valid], np.float64).T
    spread = found.std(0)
    standard = (found - found.mean(0)) / np.where(spread > 0, spread, 1)
    full = np.full((len(valid), len(valid)), np.nan)
    full[np.ix_(valid, valid)] = ledoit_wolf(standard, assume_centered=True)[0]
    return full


def _whole(triangle: Float32) -> Float64:
    """A symmetric matrix [R, R] from its lower triangle with the diagonal [E + R]."""
    rois = int(np.sqrt(2 * len(triangle)))
    full = np.empty((rois, rois))
    rows, columns = np.tril_indices(rois)
    full[rows, columns] = full[columns, rows] = triangle
    return full


def pair_features(covariance: Float64, kind: Kind) -> Float64:
    """Fisher z of the (partial) correlation of each pair of ROIs [E], NaN where one is missing."""
    known = ~np.isnan(np.diag(covariance))
    block = covariance[np.ix_(known, known)]
    full = np.full_like(covariance, np.nan)
    if kind == "correlation":
        full[np.ix_(known, known)] = cov_to_corr(block)
    else:
        full[np.ix_(known, known)] = prec_to_partial(np.linalg.inv(block))
    return fisher_z(full[np.tril_indices(len(full), -1)])


def mean_known(arrays: list[Float64]) -> Float64:
    """Mean of each entry over the arrays that know it; NaN where none does."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Mean of empty slice", RuntimeWarning)
        found: Float64 = np.nanmean(arrays, axis=0)
        return found


def tangent_features(covariances: list[Float64], training: Index) -> Float32:
    """Covariances seen from the geometric mean of the training part (Varoquaux 2010).

    Parameters
    ----------
    covariances : list of ndarray [R, R]
        One a person, NaN where an ROI is missing.
    training : ndarray of int64
        Rows that the mean is learned from.

    Returns
    -------
    ndarray of float32 [n, E + R]
        nilearn's vector of the lower triangle and the diagonal (which is over the root of two).
    """
    mean = np.mean([_unknown_as_noise(covariances[row]) for row in training], axis=0)
    series = [_series_of(complete_covariance(c, mean)) for c in covariances]
    measure = ConnectivityMeasure(
        EmpiricalCovariance(assume_centered=True),
        kind="tangent",
        vectorize=True,
        standardize=False,
    )
    measure.fit([series[row] for row in training])
    found: Float32 = measure.transform(series).astype(np.float32)
    return found


def _unknown_as_noise(covariance: Float64) -> Float64:
    """Missing ROIs as signals of unit variance of their own, so that a mean stays definite."""
    return np.where(np.isnan(covariance), np.eye(len(covariance)), covariance)


def _series_of(covariance: Float64) -> Float64:
    """Frames [R, R] whose covariance is the one given: nilearn asks for series."""
    found: Float64 = np.sqrt(len(covariance)) * np.linalg.cholesky(covariance).T
    return found
