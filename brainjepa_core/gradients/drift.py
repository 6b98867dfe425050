"""How far apart two gradient bases are, and how to bring one onto the other.

All comparisons take bases over the same ROIs in the same row order. Subspaces are compared
on centred columns: a constant added to a gradient moves no ROI relative to another.

Shapes: R ROIs, m gradient components.
"""

from __future__ import annotations

import numpy as np
import scipy.linalg
from numpy.typing import ArrayLike

from brainjepa_core.arrays import Float64


def principal_angles(a: ArrayLike, b: ArrayLike, n_components: int | None = None) -> Float64:
    """Principal angles between the subspaces that two bases span.

    Accurate for small angles too (Knyazev & Argentati, SIAM J. Sci. Comput. 23, 2002). A site's
    angles to the consensus grow as its number of subjects falls: judge them against it.

    Parameters
    ----------
    a, b : array_like, shapes (R, m_a) and (R, m_b)
        Bases; columns are gradients, leading ones first.
    n_components : int, optional
        Compare the first so many columns of each (usually 3, 10, 30); all by default.

    Returns
    -------
    ndarray of float64, shape (min(m_a, m_b),)
        Angles in degrees, from the smallest to the largest, 0 to 90.

    Raises
    ------
    ValueError
        If the bases differ in ROIs, are not finite, have too few columns, or columns that
        depend linearly on one another.
    """
    angles = scipy.linalg.subspace_angles(*_orthonormal_pair(a, b, n_components))
    found: Float64 = np.rad2deg(angles[::-1])
    return found


def canonical_correlations(a: ArrayLike, b: ArrayLike, n_components: int | None = None) -> Float64:
    """Canonical correlations of two bases, the cosines of their principal angles.

    Parameters
    ----------
    a, b : array_like, shapes (R, m_a) and (R, m_b)
        Bases; columns are gradients, leading ones first.
    n_components : int, optional
        Compare the first so many columns of each; all by default.

    Returns
    -------
    ndarray of float64, shape (min(m_a, m_b),)
        From the largest to the smallest, 0 to 1.

    Raises
    ------
    ValueError
        As `principal_angles`.
    """
    q_a, q_b = _orthonormal_pair(a, b, n_components)
    return np.clip(np.linalg.svd(q_a.T @ q_b, compute_uv=False), 0.0, 1.0)


def procrustes_align(moving: ArrayLike, reference: ArrayLike) -> Float64:
    """Rotate a basis onto a reference (orthogonal Procrustes: rotation and reflection only).

    The sign of each column follows the reference: its dot product with the same column of the
    reference is never negative after the rotation.

    Parameters
    ----------
    moving, reference : array_like, shape (R, m)
        The basis to rotate, and the fixed one.

    Returns
    -------
    ndarray of float64, shape (R, m)
        ``moving @ Q`` with the orthogonal Q that minimises ``||moving @ Q - reference||_F``
        (Schoenemann, Psychometrika 31, 1966). Lengths and angles within the basis are kept.

    Raises
    ------
    ValueError
        If the shapes differ or a value is not finite.
    """
    moving, reference = _pair(moving, reference)
    if moving.shape != reference.shape:
        raise ValueError(
            f"expected bases of one shape, found {moving.shape} and {reference.shape}; take the "
            "same number of leading components from both"
        )
    rotation, _ = scipy.linalg.orthogonal_procrustes(moving, reference)
    found: Float64 = moving @ rotation
    return found


def relative_error(a: ArrayLike, b: ArrayLike) -> float:
    """Distance of basis `a` from basis `b` after Procrustes alignment, relative to `b`.

    Parameters
    ----------
    a, b : array_like, shape (R, m)
        The basis to judge, and the one to judge it by.

    Returns
    -------
    float
        ``||a Q - b||_F / ||b||_F``: 0 for the same basis up to rotation.

    Raises
    ------
    ValueError
        If the shapes differ, a value is not finite, or `b` is zero.
    """
    reference = np.asarray(b, dtype=np.float64)
    size = np.linalg.norm(reference)
    if size == 0:
        raise ValueError("expected a reference basis that is not zero everywhere, found zeros")
    return float(np.linalg.norm(procrustes_align(a, reference) - reference) / size)


def _pair(a: ArrayLike, b: ArrayLike) -> tuple[Float64, Float64]:
    a, b = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if a.ndim != 2 or b.ndim != 2 or len(a) != len(b):
        raise ValueError(
            f"expected two bases with shape (ROIs, components) over the same ROIs, found shapes "
            f"{a.shape} and {b.shape}"
        )
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        raise ValueError("expected finite gradients, found NaN or infinity")
    return a, b


def _orthonormal_pair(
    a: ArrayLike, b: ArrayLike, n_components: int | None
) -> tuple[Float64, Float64]:
    pair = _pair(a, b)
    fewest = min(basis.shape[1] for basis in pair)
    if n_components is not None and not 1 <= n_components <= fewest:
        raise ValueError(
            f"expected n_components from 1 to {fewest}, the columns of the smaller basis, found "
            f"{n_components}"
        )
    q_a, q_b = (_orthonormal(basis[:, :n_components]) for basis in pair)
    return q_a, q_b


def _orthonormal(basis: Float64) -> Float64:
    centred = basis - basis.mean(axis=0)
    # Columns of very different size are still independent: compare directions, not lengths.
    size = np.linalg.norm(centred, axis=0)
    unit = centred / np.where(size > 0, size, 1.0)
    if np.linalg.matrix_rank(unit) < basis.shape[1]:
        raise ValueError(
            f"expected {basis.shape[1]} linearly independent gradients, found "
            f"{np.linalg.matrix_rank(unit)}; compare fewer components"
        )
    return np.linalg.qr(unit)[0]
