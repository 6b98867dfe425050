"""A yardstick that compares models: how much of a person their pooled embedding tells.

The JEPA loss is measured against each model's own target and falls to zero in a collapse. Ridge
probes of held-out people do not: outcomes are fixed before training, and random weights under
the same pool are the zero of the scale.

Shapes: n people, R ROIs, F frames, C components, T frames of a window.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from brainjepa_core.arrays import Float32, Float64
from brainjepa_core.evaluation.readout.connectivity import pairs_of
from brainjepa_core.evaluation.readout.latent import LatentReader, WholeScans
from brainjepa_core.models.interface import BrainModel
from brainjepa_core.models.pooling import pool_tokens
from brainjepa_core.models.tokens import token_validity

LATENT_CONNECTIVITY = "latent_connectivity"
"""The read-out of a person by a network; beside the pools of windows, by a name as they have."""


class ScanWindows(WholeScans, Protocol):
    """What embedding asks of data; `brainjepa_core.signals.windows.Windows` is one."""

    @property
    def subjects(self) -> int:
        """Number of people."""

    def full_windows(self, subject: int) -> tuple[Float32, NDArray[np.bool_], NDArray[np.bool_]]:
        """All windows of a person: [n, R, T], valid frames [n, T], valid ROIs [n, R]."""


def connectivity_components(mean_fc: ArrayLike, components: int = 20) -> Float64:
    """Leading eigenvectors [R, C] of a consensus connectivity, fixed before training.

    They need nothing but the summed connectivity, so no person's matrix leaves a site.
    """
    values, vectors = np.linalg.eigh(np.asarray(mean_fc, np.float64))
    return vectors[:, np.argsort(values)[::-1][:components]]


def connectivity_scores(fc: ArrayLike, components: Float64) -> Float64:
    """A person's connectivity along the components: ``v' FC v`` for each of C.

    Parameters
    ----------
    fc : array [R, R]
        Missing ROIs may be NaN; they count as uncorrelated.
    components : ndarray [R, C]

    Returns
    -------
    ndarray [C]
    """
    known = np.nan_to_num(np.asarray(fc, np.float64))
    found: Float64 = np.einsum("rc,rs,sc->c", components, known, components)
    return found


@torch.no_grad()
def embed_people(
    model: BrainModel,
    windows: ScanWindows,
    people: Iterable[int],
    pools: Sequence[str] = ("mean",),
    networks: NDArray[np.int64] | None = None,
    reader: LatentReader | None = None,
) -> dict[str, Float64]:
    """Embeddings of people: of a pool the mean over the windows of their scans, or a read-out.

    Parameters
    ----------
    model : BrainModel
    windows : ScanWindows
    people : iterable of int
    pools : sequence of str
        Names of `brainjepa_core.models.pooling.POOLS`, all taken from one pass; or
        `LATENT_CONNECTIVITY`: Fisher z of each pair of ROIs (`readout.latent`), NaN of pairs that a
        person misses.
    networks : ndarray [R], optional
        Network of each ROI as a number.
    reader : LatentReader, optional
        Of the same model, for calls one after another: it keeps the responses to blank windows,
        which people share, and each of them costs as much as a window.

    Returns
    -------
    dict
        ndarray [n, features] by pool.
    """
    reader = reader or LatentReader(model)
    of_windows = [p for p in pools if p != LATENT_CONNECTIVITY]
    rows: dict[str, list[Float64]] = {pool: [] for pool in pools}
    for person in people:
        if LATENT_CONNECTIVITY in rows:
            found = pairs_of(reader.connectivity(windows, person))
            rows[LATENT_CONNECTIVITY].append(found)
        for pool, pooled in _pooled(model, windows, person, of_windows, networks).items():
            rows[pool].append(pooled)
    return {pool: np.stack(vectors) for pool, vectors in rows.items()}


def _pooled(
    model: BrainModel,
    windows: ScanWindows,
    person: int,
    pools: Sequence[str],
    networks: NDArray[np.int64] | None,
) -> dict[str, Float64]:
    """Mean over a person's windows of each pool [features]."""
    if not pools:
        return {}
    device = next(model.parameters()).device
    labels = None if networks is None else torch.from_numpy(networks).to(device)
    x, frame_valid, roi_valid = windows.full_windows(person)
    found = token_validity(frame_valid, roi_valid, model.settings.patch)
    valid = None if found is None else torch.from_numpy(found).to(device)
    tokens = model.encode(torch.from_numpy(x).to(device), valid)
    s = model.settings
    each = {
        pool: pool_tokens(tokens, s.time_patches, (pool,), valid, labels, still=s.still)
        for pool in pools
    }
    return {pool: pooled.double().mean(0).cpu().numpy() for pool, pooled in each.items()}


def within_groups(values: ArrayLike, groups: ArrayLike) -> Float64:
    """Values [n, Q] less the mean of each person's group (site).

    A site's mean alone predicts age well, so a target that sites are confounded with is judged
    by what is left within them.
    """
    result = np.array(values, np.float64)
    for group in np.unique(groups):
        members = np.asarray(groups) == group
        result[members] -= result[members].mean(0)
    return result
