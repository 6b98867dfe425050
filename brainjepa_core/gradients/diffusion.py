"""Diffusion map of a connectivity matrix: its gradients, exactly and deterministically.

Coifman & Lafon, Diffusion maps, Appl. Comput. Harmon. Anal. 21 (2006); connectivity gradients
after Margulies et al., PNAS 113 (2016), with the settings of BrainSpace (Vos de Wael et al.,
Commun. Biol. 3, 2020). BrainSpace hands a matrix that is not symmetric to a symmetric solver,
so that its answer depends on a seed; here its symmetric conjugate is decomposed in full.

Shapes: R ROIs, m gradient components.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import scipy.linalg
from numpy.typing import ArrayLike
from scipy.sparse.csgraph import connected_components
from threadpoolctl import threadpool_limits

from brainjepa_core.arrays import Float64
from brainjepa_core.sums.rois import check_rois, name_rois

TOLERANCE = 1e-6  # how far a correlation matrix may be from symmetric, diagonal 1, |r| <= 1
NO_LINK = 1e-10  # a smaller affinity does not connect: eigenvalues would reach 1 and maps infinity


@dataclass(frozen=True, eq=False)
class DiffusionMap:
    """Gradients of a connectivity matrix.

    Attributes
    ----------
    gradients : ndarray of float64, shape (R, m)
        One gradient a column, scaled by its eigenvalue; the entry of largest magnitude of each
        is positive.
    eigenvalues : ndarray of float64, shape (m,)
        Descending; ``lambda / (1 - lambda)``, the sum over all diffusion times.
    """

    gradients: Float64
    eigenvalues: Float64


def affinity(
    fc: ArrayLike,
    sparsity: float = 0.9,
    rois: Iterable[str] | None = None,
) -> Float64:
    """Similarity of the ROIs' connectivity profiles.

    Each row keeps its ``int(R * (1 - sparsity))`` largest signed values, diagonal included (44
    of 450 at 0.9); values equal to the smallest kept one stay as well, so that the order of the
    ROIs does not matter. The affinity of two rows is their normalized angle,
    ``1 - arccos(cosine) / pi``.

    Parameters
    ----------
    fc : array_like, shape (R, R)
        Correlations: symmetric, diagonal 1.
    sparsity : float
        Share of each row set to zero, in [0, 1).
    rois : iterable of str, optional
        R ROI names, for errors; else they say ``ROI 12`` (0-based).

    Returns
    -------
    ndarray of float64, shape (R, R)
        Symmetric, within [0, 1], diagonal 1.

    Raises
    ------
    ValueError
        If `fc` is not a correlation matrix (the ROIs at fault are named), an ROI correlates
        with nothing, or `sparsity` keeps fewer than two values a row.
    """
    fc = np.ascontiguousarray(fc, dtype=np.float64)  # another memory order rounds otherwise
    names = _check_names(fc, rois)
    _check_correlations(fc, names)
    if not 0 <= sparsity < 1:
        raise ValueError(f"expected a sparsity in [0, 1), found {sparsity}")
    count = len(fc)
    # int() cuts 44.99... to 44 at R = 450, sparsity 0.9: the published gradients do the same.
    keep = int(count * (1 - sparsity))
    if keep < 2:
        raise ValueError(
            f"expected at least 2 values kept a row, found {keep} of {count} ROIs at sparsity "
            f"{sparsity}; lower the sparsity or use more ROIs"
        )
    smallest = np.partition(fc, count - keep, axis=1)[:, count - keep, None]
    rows = np.where(fc >= smallest, fc, 0.0)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    with _one_thread():
        cosine = np.clip(rows @ rows.T, -1.0, 1.0)
    np.fill_diagonal(cosine, 1.0)
    similar = 1 - np.arccos(cosine) / np.pi
    found: Float64 = (similar + similar.T) / 2
    return found


def diffusion_map(
    fc: ArrayLike,
    n_components: int = 30,
    sparsity: float = 0.9,
    rois: Iterable[str] | None = None,
) -> DiffusionMap:
    """Gradients of a connectivity matrix by diffusion map embedding (alpha 0.5).

    With the affinity A and d its row sums: ``W = A / sqrt(d_i d_j)``, D the row sums of W, u the
    eigenvectors of the symmetric ``D^-1/2 W D^-1/2``; then ``psi = D^-1/2 u`` over its first
    (constant) one, each scaled by ``lambda / (1 - lambda)``. The same input gives the same
    bytes, whatever the number of threads.

    Parameters
    ----------
    fc : array_like, shape (R, R)
        Correlations: symmetric, diagonal 1.
    n_components : int
        m, from 1 to R - 1.
    sparsity, rois
        As in `affinity`.

    Returns
    -------
    DiffusionMap

    Raises
    ------
    ValueError
        As `affinity`; also if `n_components` is out of range or the affinity graph falls into
        parts that no link joins (ROIs that are exact mirror images).
    """
    fc = np.ascontiguousarray(fc, dtype=np.float64)  # another memory order rounds otherwise
    names = _check_names(fc, rois)
    count = len(fc)
    if not 1 <= n_components <= count - 1:
        raise ValueError(
            f"expected n_components from 1 to {count - 1} (one less than the {count} ROIs), found "
            f"{n_components}"
        )
    links = affinity(fc, sparsity, names)
    _check_connected(links, names)
    d = links.sum(axis=1)
    walk = links / np.sqrt(np.outer(d, d))
    root = np.sqrt(walk.sum(axis=1))
    symmetric = walk / np.outer(root, root)
    with _one_thread():
        values, vectors = scipy.linalg.eigh(
            symmetric, subset_by_index=[count - n_components - 1, count - 1]
        )
    values, psi = values[::-1], vectors[:, ::-1] / root[:, None]
    eigenvalues = values[1:] / (1 - values[1:])
    gradients = psi[:, 1:] / psi[:, :1] * eigenvalues
    return DiffusionMap(gradients * peak_signs(gradients), eigenvalues)


def peak_signs(gradients: Float64) -> Float64:
    """Factors +1 or -1, shape (m,), that make each column's entry of largest magnitude positive."""
    peak = np.abs(gradients).argmax(axis=0)
    return np.where(gradients[peak, np.arange(gradients.shape[1])] < 0, -1.0, 1.0)


def _one_thread() -> threadpool_limits:
    """BLAS on one thread: the split over threads decides the order of its sums."""
    return threadpool_limits(limits=1, user_api="blas")


def _check_names(fc: Float64, rois: Iterable[str] | None) -> tuple[str, ...] | None:
    """The ROI names, after the checks of shape that must come before a name can be used."""
    if fc.ndim != 2 or fc.shape[0] != fc.shape[1] or len(fc) < 2:
        raise ValueError(
            f"expected a square connectivity matrix of at least 2 ROIs, found shape {fc.shape}"
        )
    if rois is None:
        return None
    names = check_rois(rois)
    if len(names) != len(fc):
        raise ValueError(f"expected one name an ROI, found {len(names)} names for {len(fc)} ROIs")
    return names


def _check_correlations(fc: Float64, rois: Sequence[str] | None) -> None:
    bad = ~np.isfinite(fc)
    if bad.any():
        # An ROI without data spoils its column in every other row: name it, not all the others.
        whole = bad.sum(axis=1) >= len(fc) - 1
        named = np.flatnonzero(whole if whole.any() else bad.any(axis=1))
        raise ValueError(
            f"expected finite correlations, found NaN or infinity for {name_rois(named, rois)}; "
            "leave these ROIs out, or mark them as missing when summing connectivity"
        )
    diagonal = np.flatnonzero(np.abs(np.diag(fc) - 1) > TOLERANCE)
    if diagonal.size:
        raise ValueError(
            f"expected 1 on the diagonal, found {fc[diagonal[0], diagonal[0]]:.3g} for "
            f"{name_rois(diagonal, rois)}; pass correlations, with the diagonal set to 1"
        )
    skew = np.abs(fc - fc.T)
    if skew.max() > TOLERANCE:
        pair = np.unravel_index(int(skew.argmax()), fc.shape)
        raise ValueError(
            f"expected a symmetric matrix, found a difference of {skew.max():.3g} between the two "
            f"entries for {name_rois([int(i) for i in pair], rois)}"
        )
    if np.abs(fc).max() > 1 + TOLERANCE:
        large = np.flatnonzero((np.abs(fc) > 1 + TOLERANCE).any(axis=1))
        raise ValueError(
            f"expected correlations within [-1, 1], found {np.abs(fc).max():.3g} at "
            f"{name_rois(large, rois)}; pass r, not Fisher z"
        )
    others = np.abs(fc - np.diag(np.diag(fc))).max(axis=1)
    dead = np.flatnonzero(others < NO_LINK)
    if dead.size:
        raise ValueError(
            f"expected every ROI to correlate with some other, found only zeros for "
            f"{name_rois(dead, rois)}: its series is dead or missing; leave it out"
        )


def _check_connected(links: Float64, rois: Sequence[str] | None) -> None:
    parts, part = connected_components(links > NO_LINK, directed=False)
    if parts > 1:
        apart = np.flatnonzero(part != np.bincount(part).argmax())
        raise ValueError(
            f"expected one connected graph, found {parts} parts with no affinity between them; "
            f"outside the largest: {name_rois(apart, rois)}; lower the sparsity or leave them out"
        )
