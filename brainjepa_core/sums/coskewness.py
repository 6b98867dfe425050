"""Sums of co-skewness over people: which directions of the ROIs hold what connectivity leaves out.

The co-skewness of a scan is the tensor T of third moments of its z-scored signals,
``T[i, k, l] = mean over frames of x_i x_k x_l``. The m directions that keep most of everybody's
tensors are the leading eigenvectors of the mean over people of ``C[i, j] = mean over k, l of
T[i, k, l] T[j, k, l]`` (a higher-order SVD with people as the last mode: De Lathauwer et al. 2000).
So the sum that leaves a site is no larger than that of connectivity, and T is never made: C of a
scan is ``X K X' / F^2 R^2``, where K are squared products of its frames.

Shapes: R ROIs, F frames of a scan, P = R (R + 1) / 2 pairs of ROIs with themselves, in the order of
``numpy.triu_indices(R)``, m directions.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from brainjepa_core.arrays import Float64
from brainjepa_core.sums.pairs import SumOverPairs
from brainjepa_core.sums.rois import name_rois
from brainjepa_core.usable import MIN_FRAMES, MIN_ROIS

# By how much a pair may be above what its two ROIs allow: where few people show it, rounding takes
# a smaller share of them away than of those who show an ROI.
OF_ROUNDED = 10.0


def coskewness_products(series: ArrayLike, known: NDArray[np.bool_]) -> Float64:
    """What two ROIs' third moments with all pairs of ROIs share, in the mean over those pairs.

    Parameters
    ----------
    series : array [R, F]
        Each ROI of any positive scale; finite where known.
    known : ndarray of bool [R]
        ROIs that are there.

    Returns
    -------
    ndarray of float64 [R, R]
        Symmetric, of no negative eigenvalue; 0 in rows and columns of ROIs that are not known.

    Raises
    ------
    ValueError
        If there are too few frames or ROIs, or a known ROI does not vary or is not finite.
    """
    x = np.asarray(series, np.float64)
    if len(x) != len(known):
        raise ValueError(f"expected scans of {len(known)} ROIs, found {len(x)}; give one atlas")
    x = x[known]
    if x.ndim != 2 or len(x) < MIN_ROIS or x.shape[1] < MIN_FRAMES:
        raise ValueError(
            f"expected at least {MIN_ROIS} ROIs and {MIN_FRAMES} frames of a scan, found "
            f"shape {list(x.shape)}; leave it out"
        )
    x = x - x.mean(1, keepdims=True)
    spread = x.std(1, keepdims=True)
    if not (spread > 0).all():  # also where one is NaN
        raise ValueError(
            "expected known ROIs that are finite and vary, found others; mark them as missing"
        )
    x = x / spread
    like = np.square(x.T @ x)  # [F, F]
    found = np.zeros((len(known), len(known)))
    products = x @ like @ x.T / x.size**2
    found[np.ix_(known, known)] = (products + products.T) / 2
    return found


def mean_products(scans: Sequence[ArrayLike], known: NDArray[np.bool_]) -> Float64:
    """Mean of `coskewness_products` over a person's scans, as [P].

    Raises
    ------
    ValueError
        If there is no scan, or it refuses one.
    """
    if not scans:
        raise ValueError("expected at least one scan of a person, found none; leave them out")
    upper = np.triu_indices(len(known))
    found: Float64 = np.mean([coskewness_products(x, known)[upper] for x in scans], axis=0)
    return found


class CoskewnessSum(SumOverPairs):
    """Sum of `coskewness_products` over people, with the number behind each pair of ROIs.

    A person weighs the same whatever the number of their scans.

    Parameters
    ----------
    rois : iterable of str
        Ordered ROI names, R of them, each unique.

    Attributes
    ----------
    rois : tuple of str
    products : ndarray of float64 [P]
    pair_count : ndarray of int64 [P]
        People in whom both ROIs were there.
    subjects : int
    """

    NAME = "co-skewness sum"
    ADDED = {"products": np.float64, "pair_count": np.int64, "subjects": np.int64}
    K, OWN = 0, "products"
    products: Float64

    def add_subject(self, scans: Sequence[ArrayLike], known: NDArray[np.bool_]) -> None:
        """Add a person: the mean over their scans.

        Parameters
        ----------
        scans : sequence of array [R, F]
            At least one; F may differ.
        known : ndarray of bool [R]
            ROIs that are there in all of them.

        Raises
        ------
        ValueError
            If there is none, or `coskewness_products` refuses one. The sum is then unchanged.
        """
        self.add_products(mean_products(scans, known), known)

    def add_products(self, products: NDArray[np.floating], known: NDArray[np.bool_]) -> None:
        """Add a person of whom `mean_products` [P] are known.

        Raises
        ------
        ValueError
            If they are of another number of ROIs.
        """
        if known.shape != (len(self.rois),):
            raise ValueError(
                f"expected scans of {len(self.rois)} ROIs, found {list(known.shape)}; give all "
                "scans one atlas"
            )
        self.products += products
        self.pair_count += np.outer(known, known)[np.triu_indices(len(self.rois))]
        self.subjects += 1

    def directions(self, count: int) -> Float64:
        """Orthonormal directions [R, m] that keep most of people's co-skewness, most first.

        Raises
        ------
        ValueError
            If there are not so many, or an ROI was never there.
        """
        rois = len(self.rois)
        if not 1 <= count <= rois:
            raise ValueError(f"expected between 1 and {rois} directions, found {count}")
        rows, columns = np.triu_indices(rois)
        own = rows == columns
        never = np.flatnonzero(self.pair_count[own] == 0)
        if never.size:
            raise ValueError(
                f"expected every ROI in at least one person, found none with "
                f"{name_rois(never, self.rois)}; use an atlas without these ROIs"
            )
        mean = np.zeros((rois, rois))
        mean[rows, columns] = mean[columns, rows] = self.products / np.maximum(self.pair_count, 1)
        vectors: Float64 = np.linalg.eigh(mean)[1][:, ::-1][:, :count]
        return vectors

    def told(self, fewest: int) -> CoskewnessSum:
        """Without the pairs that fewer people show; the sum over nobody where there are too few."""
        if not self.enough(fewest):
            return self.of_nobody()
        enough = self.pair_count >= fewest
        kept = {
            name: np.where(enough, getattr(self, name), 0) for name in ("products", "pair_count")
        }
        return self._made_of({**self._shared(), **kept, "subjects": self.subjects})

    def _require_possible(self) -> None:
        """No pair in more people than there are; no ROI with a negative or boundless square."""
        rows, columns = np.triu_indices(len(self.rois))
        own = self.products[rows == columns]
        if self.pair_count.max(initial=0) > self.subjects:
            raise ValueError(
                f"expected no pair in more than the {self.subjects} people, found a pair_count of "
                f"{self.pair_count.max()}"
            )
        unseen = (self.pair_count == 0) & (self.products != 0)
        of_ends = np.sqrt(np.maximum(own[rows] * own[columns], 0))
        beyond = np.abs(self.products) > of_ends * OF_ROUNDED
        if (own < 0).any() or unseen.any() or beyond.any():
            raise ValueError(
                "expected mean products of third moments, found some that no people's data have; "
                "check the site's version"
            )
