"""A yardstick that compares models: how much of a person their pooled embedding tells.

The JEPA loss is measured against each model's own target and falls to zero in a collapse. Ridge
probes of held-out people do not: outcomes are fixed before training, and random weights under
the same pool are the zero of the scale.

Shapes: n people, R ROIs, F frames, C components, T frames of a window.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final, NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from brainjepa_core.arrays import Float32, Float64
from brainjepa_core.evaluation.readout.connectivity import pairs_of
from brainjepa_core.evaluation.readout.latent import LatentReader, WholeScans
from brainjepa_core.models.interface import BrainModel
from brainjepa_core.models.pooling import pool_tokens
from brainjepa_core.models.tokens import token_validity

LATENT_CONNECTIVITY: Final = "latent_connectivity"
"""The read-out of a person by a network; beside the pools of windows, by a name as they have."""
LATENT_LOG: Final = "latent_log_connectivity"
"""The same as the consensus sees it."""
BATCH_TOKENS = 1 << 16  # of a pass: enough for a GPU, and 0.25 GB a layer at a width of 1024


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
    found: Float64 = ((known @ components) * components).sum(0)
    return found


@torch.no_grad()
def embed_people(
    model: BrainModel,
    windows: ScanWindows,
    people: Iterable[int],
    pools: Sequence[str] = ("mean",),
    networks: NDArray[np.int64] | None = None,
    reader: LatentReader | None = None,
    progress: Callable[[int], None] = lambda _: None,
) -> dict[str, Float64]:
    """Embeddings of people: of a pool the mean over the windows of their scans, or a read-out.

    Windows go through the model several people at once, as many as `BATCH_TOKENS` allow; a person's
    figures are those of the person alone, to rounding.

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
    progress : callable, optional
        Called with the number of people read, before each person's connectivity and each batch of
        the others; what it raises ends the reading.

    Returns
    -------
    dict
        ndarray [n, features] by pool.
    """
    reader = reader or LatentReader(model)
    of_windows = [p for p in pools if p != LATENT_CONNECTIVITY]
    rows: dict[str, list[Float64]] = {pool: [] for pool in pools}
    people = list(people)
    for person in people if LATENT_CONNECTIVITY in rows else ():
        progress(len(rows[LATENT_CONNECTIVITY]))
        rows[LATENT_CONNECTIVITY].append(pairs_of(reader.connectivity(windows, person)))
    most = max(1, BATCH_TOKENS // model.settings.tokens)
    for batch in _batches(windows, people, most) if of_windows else ():
        progress(len(rows[of_windows[0]]))
        for pool, pooled in _pooled(model, batch, of_windows, networks).items():
            rows[pool] += pooled
    return {pool: np.stack(vectors) for pool, vectors in rows.items()}


class _Batch(NamedTuple):
    """Windows of some people, one person's after the other's: `x` [n, R, T] and what is valid."""

    counts: list[int]
    x: Float32
    frame_valid: NDArray[np.bool_]
    roi_valid: NDArray[np.bool_]


def _batches(windows: ScanWindows, people: Iterable[int], most: int) -> Iterator[_Batch]:
    """People in turn, with all their windows: at most `most` windows, but one person at least."""
    parts: list[tuple[Float32, NDArray[np.bool_], NDArray[np.bool_]]] = []
    count = 0
    for person in people:
        part = windows.full_windows(person)
        if parts and count + len(part[0]) > most:
            yield _joined(parts)
            parts, count = [], 0
        parts.append(part)
        count += len(part[0])
    if parts:
        yield _joined(parts)


def _joined(parts: Sequence[tuple[Float32, NDArray[np.bool_], NDArray[np.bool_]]]) -> _Batch:
    x, frame_valid, roi_valid = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    return _Batch([len(part[0]) for part in parts], x, frame_valid, roi_valid)


def _pooled(
    model: BrainModel,
    batch: _Batch,
    pools: Sequence[str],
    networks: NDArray[np.int64] | None,
) -> dict[str, list[Float64]]:
    """Mean over each person's windows of each pool [features], a list of people."""
    if not pools:
        return {}
    device = next(model.parameters()).device
    labels = None if networks is None else torch.from_numpy(networks).to(device)
    found = token_validity(batch.frame_valid, batch.roi_valid, model.settings.patch)
    valid = None if found is None else torch.from_numpy(found).to(device)
    tokens = model.encode(torch.from_numpy(batch.x).to(device), valid)
    s = model.settings
    each = {
        pool: pool_tokens(tokens, s.time_patches, (pool,), valid, labels, still=s.still)
        for pool in pools
    }
    return {
        pool: [part.mean(0).cpu().numpy() for part in pooled.double().split(batch.counts)]
        for pool, pooled in each.items()
    }


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
