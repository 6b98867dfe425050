"""The population behind a synthetic cohort: networks, connectivity, and how traits shape it.

Nothing here depends on a cohort's seed: two cohorts of different seeds are different people from
one population, so what was learned on one can be tested on the other.

Shapes: R ROIs, K networks, L latent traits, A ancestries.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from brainjepa_core.arrays import Float64

ANCESTRIES = ("A", "B", "C")
NEIGHBOUR_SHARE, NEIGHBOUR_REACH = 0.5, 0.5  # how much of other networks an ROI hears, how far
_NATURE = 20240  # entropy of everything that all cohorts share


@dataclass(frozen=True)
class Population:
    """What all people of all cohorts with these sizes have in common.

    Attributes
    ----------
    rois : tuple of str
        R names such as ``Net03_LH_05``, ordered by network, then hemisphere, then number.
    network : ndarray of int, shape (R,)
        Network of each ROI, 0 to K-1.
    half : ndarray of int, shape (R,)
        Network half of each ROI, 0 to 2K-1: ``2 * network`` on the left, one more on the right.
    fidelity : ndarray of float64, shape (R,)
        How strongly an ROI follows the networks rather than noise, about 1.
    mixing : ndarray of float64, shape (R, K)
        Weights of the networks in an ROI: 1 for its own, less for those near the ROI's place.
    connectivity : ndarray of float64, shape (K, K)
        Group correlation of the networks' time courses.
    trait_directions : ndarray of float64, shape (L, K, K)
        What one standard deviation of a trait does, in the tangent space at `connectivity`:
        symmetric, orthogonal to one another, off-diagonal root mean square 1.
    ancestry_directions : ndarray of float64, shape (A, K, K)
        What belonging to an ancestry does; orthogonal to all traits.
    """

    rois: tuple[str, ...]
    network: NDArray[np.int64]
    half: NDArray[np.int64]
    fidelity: Float64
    mixing: Float64
    connectivity: Float64
    trait_directions: Float64
    ancestry_directions: Float64

    @classmethod
    def of_size(cls, rois: int, networks: int, latents: int) -> Population:
        """The population with this many ROIs, networks and latent traits; always the same one."""
        sizes = _half_sizes(rois, networks)
        half = np.repeat(np.arange(2 * networks), sizes)
        names = tuple(
            f"Net{i // 2 + 1:02d}_{'LR'[i % 2]}H_{number + 1:02d}"
            for i, size in enumerate(sizes)
            for number in range(size)
        )
        directions = _directions(latents + len(ANCESTRIES), networks)
        return cls(
            rois=names,
            network=half // 2,
            half=half,
            fidelity=_nature(2).uniform(0.7, 1.3, rois),
            mixing=_mixing(half // 2, networks),
            connectivity=_group_connectivity(networks),
            trait_directions=directions[:latents],
            ancestry_directions=directions[latents:],
        )

    def person(
        self,
        latents: Float64,
        ancestry: int,
        rng: np.random.Generator,
        *,
        trait_effect: float,
        ancestry_effect: float,
        individuality: float,
    ) -> Float64:
        """Correlation of one person's network time courses.

        The person's tangent vector (group mean at the origin) is a sum of traits, ancestry and a
        residual of their own; its exponential map is positive definite whatever the sum, and
        scaling to unit diagonal leaves nothing of a trait in any variance (Pennec et al. 2006,
        IJCV; Varoquaux et al. 2010, MICCAI use this geometry for functional connectivity).

        Parameters
        ----------
        latents : ndarray of float64, shape (L,)
            Standard normal trait scores.
        ancestry : int
            Index into `ANCESTRIES`.
        rng : numpy.random.Generator
            Source of the residual.
        trait_effect, ancestry_effect, individuality : float
            Root mean square over edges, in the tangent space, of one trait (per standard
            deviation), of ancestry and of the residual.

        Returns
        -------
        ndarray of float64, shape (K, K)
        """
        residual = np.triu(rng.standard_normal(self.connectivity.shape), k=1)
        tangent = (
            trait_effect * np.tensordot(latents, self.trait_directions, axes=1)
            + ancestry_effect * self.ancestry_directions[ancestry]
            + individuality * (residual + residual.T)
        )
        root = _of_eigenvalues(self.connectivity, np.sqrt)
        covariance = root @ _of_eigenvalues(tangent, np.exp) @ root
        scale = np.sqrt(np.diag(covariance))
        found: Float64 = covariance / np.outer(scale, scale)
        return found


def _nature(what: int) -> np.random.Generator:
    return np.random.default_rng(np.random.SeedSequence(_NATURE, spawn_key=(what,)))


def _of_eigenvalues(symmetric: Float64, function: np.ufunc) -> Float64:
    """Matrix function (square root, exponential) of a symmetric matrix."""
    values, vectors = np.linalg.eigh(symmetric)
    found: Float64 = (vectors * function(values)) @ vectors.T
    return found


def _half_sizes(rois: int, networks: int) -> NDArray[np.int64]:
    """Numbers of ROIs in the 2K network halves: unequal over networks, near equal over sides."""
    weight = np.repeat(_nature(1).uniform(0.5, 1.5, networks), 2)
    share = 1 + (rois - 2 * networks) * weight / weight.sum()  # at least one ROI a half
    edges = np.round(np.concatenate([[0.0], np.cumsum(share)])).astype(np.int64)
    return np.diff(edges)


def _places(networks: int) -> Float64:
    """Places [K, 2] of the networks: two sensory ends that meet at the association end.

    The first axis is the principal gradient, the second separates the two kinds of sensory
    networks (visual, somatomotor), as in Margulies et al. 2016 (PNAS).
    """
    rank = np.linspace(0.0, 1.0, networks)
    sides = np.where(np.arange(networks) % 2 == 0, 1.0, -1.0)
    return np.stack([2.0 * rank, sides * (1.0 - rank)], axis=1)


def _distances(places: Float64, others: Float64) -> Float64:
    found: Float64 = np.linalg.norm(places[:, None] - others[None], axis=-1)
    return found


def _group_connectivity(networks: int) -> Float64:
    """Correlation of networks that falls with distance.

    The identity's share bounds the eigenvalues away from zero, without which the exponential map
    would barely move some edges.
    """
    places = _places(networks)
    return 0.65 * np.exp(-(_distances(places, places) ** 2) / 2) + 0.35 * np.eye(networks)


def _mixing(network: NDArray[np.int64], networks: int) -> Float64:
    """Cortex is continuous: an ROI lies about its network's place and hears its neighbours."""
    places = _places(networks)
    own = places[network] + 0.3 * _nature(4).standard_normal((network.size, 2))
    squared = _distances(own, places) ** 2
    mixing = NEIGHBOUR_SHARE * np.exp(-squared / (2 * NEIGHBOUR_REACH**2))
    mixing[np.arange(network.size), network] = 1.0
    return mixing


def _directions(count: int, networks: int) -> Float64:
    """`count` orthogonal symmetric matrices [count, K, K], zero diagonal, unit r.m.s. elsewhere."""
    row, column = np.triu_indices(networks, k=1)
    basis, _ = np.linalg.qr(_nature(3).standard_normal((row.size, count)))
    directions = np.zeros((count, networks, networks))
    directions[:, row, column] = basis.T * np.sqrt(row.size)
    return directions + directions.transpose(0, 2, 1)
