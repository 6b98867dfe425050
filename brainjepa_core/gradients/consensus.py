"""The consensus basis: one gradient basis for all sites, fixed before training.

Shapes: R ROIs, m gradient components.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike

from brainjepa_core.arrays import (
    Arrays,
    AsArrays,
    Float64,
    take_array,
    take_keys,
    take_rois,
)
from brainjepa_core.gradients.diffusion import diffusion_map
from brainjepa_core.gradients.drift import procrustes_align
from brainjepa_core.sums.connectivity import ConnectivitySum
from brainjepa_core.sums.rois import basis_hash, check_rois, require_same_rois

SWAPPABLE_GAP = 0.05  # neighbours closer than this swap or rotate between cohorts


@dataclass(frozen=True, eq=False)
class ConsensusBasis(AsArrays):
    """Gradients by which every site places its ROIs; frozen, since trained weights depend on it.

    Compare bases by `hash`. The arrays are read-only copies. The gradients are as the diffusion
    map yields them: the model scales them itself.

    Parameters
    ----------
    rois : tuple of str
        Ordered ROI names.
    gradients : array_like, shape (R, m)
        Kept as float64.
    eigenvalues : array_like, shape (m,)
        Of the diffusion map, descending, kept as float64. Those of the components before any
        alignment, which mixes neighbours. NaN where not known (a published basis).

    Raises
    ------
    ValueError
        If the shapes do not match, a gradient is not finite, or a name is repeated.
    """

    rois: tuple[str, ...]
    gradients: Float64
    eigenvalues: Float64

    KEYS = ("rois", "gradients", "eigenvalues", "hash")

    def __post_init__(self) -> None:
        rois = check_rois(self.rois)
        gradients = np.array(self.gradients, dtype=np.float64, order="C")
        eigenvalues = np.array(self.eigenvalues, dtype=np.float64)
        if gradients.ndim != 2 or len(gradients) != len(rois) or gradients.shape[1] < 1:
            raise ValueError(
                f"expected gradients with shape ({len(rois)}, components), one row for each ROI "
                f"name, found {gradients.shape}"
            )
        if eigenvalues.shape != gradients.shape[1:]:
            raise ValueError(
                f"expected one eigenvalue for each of the {gradients.shape[1]} gradients, found "
                f"shape {eigenvalues.shape}"
            )
        if not np.isfinite(gradients).all() or np.isinf(eigenvalues).any():
            raise ValueError("expected finite gradients and eigenvalues, found NaN or infinity")
        gradients.flags.writeable = eigenvalues.flags.writeable = False
        object.__setattr__(self, "rois", rois)
        object.__setattr__(self, "gradients", gradients)
        object.__setattr__(self, "eigenvalues", eigenvalues)

    @classmethod
    def from_sum(
        cls,
        connectivity_sum: ConnectivitySum,
        n_components: int = 30,
        sparsity: float = 0.9,
        reference: ConsensusBasis | ArrayLike | None = None,
    ) -> Self:
        """Basis of the summed connectivity of all sites.

        Parameters
        ----------
        connectivity_sum : ConnectivitySum
            The total over sites; equal, to rounding, to that of the pooled subjects.
        n_components : int
            m, from 1 to R - 1.
        sparsity : float
            Share of each connectivity row set to zero, in [0, 1).
        reference : ConsensusBasis or array_like of shape (R, m), optional
            Basis to rotate onto (orthogonal Procrustes, once), which also decides the signs. An
            array must have its rows in the order of ``connectivity_sum.rois``. Without it,
            the entry of largest magnitude of each gradient is positive.

        Returns
        -------
        ConsensusBasis

        Raises
        ------
        ValueError
            If pairs of ROIs were never observed, the connectivity has no diffusion map (see
            `diffusion_map`), or the reference has other ROIs or another number of components.
        """
        rois = connectivity_sum.rois
        found = diffusion_map(connectivity_sum.mean_fc(), n_components, sparsity, rois=rois)
        gradients = found.gradients
        if isinstance(reference, ConsensusBasis):
            reference.require_rois(rois)
            gradients = procrustes_align(gradients, reference.gradients)
        elif reference is not None:
            gradients = procrustes_align(gradients, reference)
        return cls(rois, gradients, found.eigenvalues)

    @property
    def eigengaps(self) -> Float64:
        """Relative gap of each eigenvalue to the next, shape (m - 1,); NaN where not known."""
        return -np.diff(self.eigenvalues) / np.abs(self.eigenvalues[:-1])

    @cached_property
    def hash(self) -> str:
        """`brainjepa_core.sums.rois.basis_hash` of ROI names and gradients.

        Eigenvalues do not enter, as nothing trained depends on them.
        """
        return basis_hash(self.rois, self.gradients)

    def require_rois(self, names: Iterable[str]) -> None:
        """Refuse data whose ROIs are not the basis's, by name and order.

        Parameters
        ----------
        names : iterable of str
            Ordered ROI names of the data.

        Raises
        ------
        ValueError
            Saying which names are missing or foreign, or where the order differs.
        """
        require_same_rois(self.rois, tuple(names))

    def to_arrays(self) -> Arrays:
        """The basis as named arrays (`KEYS`), for a file or a message.

        Returns
        -------
        dict of str to ndarray
            rois text [R], gradients float64 [R, m], eigenvalues float64 [m], hash text scalar.
        """
        return {
            "rois": np.array(self.rois, dtype=np.str_),
            "gradients": self.gradients.copy(),
            "eigenvalues": self.eigenvalues.copy(),
            "hash": np.array(self.hash, dtype=np.str_),
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Any]) -> Self:
        """Check foreign arrays, as `to_arrays` gives them, hash included, and rebuild their basis.

        Raises
        ------
        ValueError
            If keys, dtypes, shapes or values are wrong, or the hash is not that of the content.
        """
        found = take_keys(arrays, cls.KEYS, "consensus basis")
        shape = found["gradients"].shape
        gradients = take_array(found["gradients"], "gradients", np.float64, shape)
        eigenvalues = take_array(found["eigenvalues"], "eigenvalues", np.float64, shape[1:])
        basis = cls(tuple(take_rois(found["rois"])), gradients, eigenvalues)
        if str(found["hash"]) != basis.hash:
            raise ValueError(
                f"expected a consensus basis with the hash {str(found['hash'])[:12]}..., found "
                f"content with {basis.hash[:12]}...; it was altered or damaged: fetch it again"
            )
        return basis
