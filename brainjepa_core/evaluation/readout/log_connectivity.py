"""Log-connectivity: a person's connectivity as the consensus sees it, on a straight scale.

Correlations lie on a curved space; the logarithm of what a person's connectivity is relative to
the consensus straightens it (Pennec et al. 2006, Varoquaux et al. 2010). Only the leading
eigenvectors of the consensus are read: a scan has too few frames to know more directions, and
noise in small eigenvalues is what a logarithm blows up. Few directions are known well, many tell
of more: a quarter, half and all of the components are read side by side.

Shapes: R ROIs, m leading components, levels of m_1 < ... < m of them, n people, P features: the sum
of m_i (m_i + 1) / 2, level after level, in the order of ``numpy.tril_indices(m_i)``.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike

from brainjepa_core.arrays import Float64

SHARE = 0.4  # of the ROIs: components read
SHRINKAGE = 0.1  # towards the consensus: a definite matrix of however few frames
RESOLVED = 1e-6  # of the largest eigenvalue: what a consensus knows of smaller ones is rounding


LEVELS = (0.25, 0.5, 1.0)  # of the components: read side by side


def sizes_of_levels(components: int) -> list[int]:
    """How many of m components each level reads: a quarter, half and all of them, at least 2."""
    return sorted({min(max(2, round(share * components)), components) for share in LEVELS})


def feature_weights(level: int) -> Float64:
    """By which a level's matrix logarithm is multiplied, in the order of its features.

    Off-diagonals by the root of two, so that distances of features are those of matrices; all over
    the root of its m_i components, so that they are distances a component, and the largest level
    does not drown the others.
    """
    rows, columns = np.tril_indices(level)
    found: Float64 = np.where(rows == columns, 1.0, np.sqrt(2)) / np.sqrt(level)
    return found


def components_of(rois: int) -> int:
    """How many components are read of R ROIs: 0.4 R, rounded, at least 2.

    Fixed beforehand, by diagnosis of 312 people of twelve hospitals at 200 ROIs: AUC is .70 of 50
    components, .778 of 80, .768 of 120; below 0.4 R it falls, above it is flat.
    """
    return max(2, round(SHARE * rois))


@dataclass(frozen=True, eq=False)
class LogConnectivity:
    """What log-connectivity is seen from.

    Attributes
    ----------
    consensus : ndarray of float64 [R, R]
        Mean connectivity of training people, as `ConnectivitySum.mean_fc` has it of all sites.
    components : int
        m. `components_of` by default; fewer where the consensus has fewer resolved directions.
    """

    consensus: Float64
    components: int

    @classmethod
    def of(cls, consensus: ArrayLike, components: int | None = None) -> LogConnectivity:
        """Of a consensus [R, R].

        Raises
        ------
        ValueError
            If it is not a finite symmetric matrix, or has fewer ROIs than components are asked.
        """
        mean = np.asarray(consensus, np.float64)
        square = mean.ndim == 2 and len(mean) == mean.shape[1] >= 2
        if not square or not np.isfinite(mean).all() or not np.allclose(mean, mean.T):
            raise ValueError(
                "expected the consensus as a finite symmetric matrix of at least 2 ROIs, found "
                f"shape {list(mean.shape)}; take ConnectivitySum.mean_fc()"
            )
        wanted = components_of(len(mean)) if components is None else components
        if not 1 <= wanted <= len(mean):
            raise ValueError(
                f"expected between 1 and {len(mean)} components, found {wanted}; there are no "
                "more than ROIs"
            )
        values = np.linalg.eigvalsh(mean)
        return cls(mean, min(wanted, int((values > RESOLVED * values[-1]).sum())))

    @cached_property
    def projection(self) -> Float64:
        """V D^-1/2 [R, m]: leading eigenvectors over the roots of their eigenvalues."""
        values, vectors = np.linalg.eigh(self.consensus)
        leading = slice(-1, -self.components - 1, -1)
        found: Float64 = vectors[:, leading] / np.sqrt(values[leading])
        return found

    @cached_property
    def _expected(self) -> Float64:
        """The consensus, shrunk as a person's matrix is, by which missing ROIs are completed."""
        return (1 - SHRINKAGE) * self.consensus + SHRINKAGE * np.eye(len(self.consensus))

    def features(self, connectivity: ArrayLike) -> Float64:
        """Log-connectivity of people.

        S = (V D^-1/2)' C (V D^-1/2) is 1 where a person is as the consensus; of the leading
        m_i rows and columns of 0.9 S + 0.1 I the matrix logarithm is taken, times
        `feature_weights`, for each of the `sizes_of_levels` m.

        Parameters
        ----------
        connectivity : array [n, R, R] or [R, R]
            NaN in rows and columns of missing ROIs, which are completed by what the consensus
            expects of them given the person's other ROIs (`complete_covariance`), and for pairs
            never seen together, which are the consensus's.

        Returns
        -------
        ndarray of float64 [n, P] or [P]
        """
        given = np.asarray(connectivity, np.float64)
        shrunk = self.shrunk(given.reshape(-1, *given.shape[-2:]))
        levels = sizes_of_levels(self.components)
        found = np.concatenate([log_features(shrunk[:, :m, :m]) for m in levels], axis=1)
        return found.reshape(*given.shape[:-2], -1)

    def shrunk(self, connectivity: Float64) -> Float64:
        """0.9 S + 0.1 I [n, m, m] of people's connectivity [n, R, R]."""
        people = np.stack([self._whole(c) for c in connectivity])
        seen = self.projection.T @ people @ self.projection
        found: Float64 = (1 - SHRINKAGE) * seen + SHRINKAGE * np.eye(self.components)
        return found

    def _whole(self, connectivity: Float64) -> Float64:
        known = ~np.isnan(np.diag(connectivity))
        seen = np.isnan(connectivity) & np.outer(known, known)
        return complete_covariance(
            np.where(seen, self.consensus, connectivity) if seen.any() else connectivity,
            self._expected,
        )


def log_features(shrunk: Float64) -> Float64:
    """Weighted entries [n, m_i (m_i + 1) / 2] of logarithms of matrices [n, m_i, m_i]."""
    values, vectors = np.linalg.eigh(shrunk)
    # Of a positive matrix none is below; pairs from different scans may make one that is not.
    logs = np.log(np.maximum(values, SHRINKAGE))
    whole = (vectors * logs[:, None, :]) @ vectors.swapaxes(1, 2)
    level = shrunk.shape[1]
    found: Float64 = whole[(slice(None), *np.tril_indices(level))] * feature_weights(level)
    return found


def complete_covariance(covariance: Float64, mean: Float64) -> Float64:
    """Missing ROIs as `mean` [R, R] expects them, given the person's covariance of the others.

    Definite where both are: the missing ROIs follow the known ones by the regression that holds
    in `mean`, with the variance that it leaves.
    """
    known = ~np.isnan(np.diag(covariance))
    if known.all():
        return covariance
    seen, gone = np.ix_(known, known), np.ix_(~known, ~known)
    across = np.ix_(known, ~known)
    weights = np.linalg.solve(mean[seen], mean[across])
    full = covariance.copy()
    full[across] = covariance[seen] @ weights
    full[across[1].T, across[0].T] = full[across].T
    full[gone] = mean[gone] - mean[across].T @ weights + weights.T @ full[across]
    return full
