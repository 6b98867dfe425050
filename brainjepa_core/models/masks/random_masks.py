"""Random masking: a share of a sample's tokens is hidden, the rest is seen.

Shapes: B batch, N tokens, Nc visible and Nt masked tokens.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from brainjepa_core.models.masks.draw import MaskBatch
from brainjepa_core.models.streams import sample_stream


def random_masks(
    tokens: int,
    *,
    seed: int,
    step: int,
    samples: Sequence[int],
    token_valid: NDArray[np.bool_] | None = None,
    ratio: float = 0.75,
) -> MaskBatch:
    """Hide a random share of each sample's valid tokens, a function of (seed, step, sample).

    Parameters
    ----------
    tokens : int
        N.
    seed, step : int
    samples : sequence of int
        Number of each of B samples; equal numbers get equal masks.
    token_valid : ndarray of bool [B, N], optional
        Tokens without a signal are neither visible nor masked.
    ratio : float
        Share of valid tokens that is masked, rounded; at least one is masked and one visible.

    Returns
    -------
    MaskBatch
        Indices [B, Nc] and [B, Nt] in random order; every valid token is in one of the two.

    Raises
    ------
    ValueError
        If a sample has fewer than two valid tokens.
    """
    valid = np.ones((len(samples), tokens), bool) if token_valid is None else token_valid
    counts = valid.sum(1)
    if counts.min() < 2:
        raise ValueError(
            f"expected at least 2 valid tokens of {tokens} in every window, found {counts.min()}; "
            "leave this scan out or use shorter patches"
        )
    keys = np.stack([sample_stream(seed, step, sample).random(tokens) for sample in samples])
    order = np.argsort(np.where(valid, keys, np.inf), axis=1)  # invalid tokens come last
    visible = np.clip(np.rint(counts * (1 - ratio)).astype(np.int64), 1, counts - 1)
    context_index, context_valid = _cut(order, np.zeros_like(visible), visible)
    target_index, target_valid = _cut(order, visible, counts)
    return MaskBatch(context_index, target_index, context_valid, target_valid)


def _cut(
    order: NDArray[np.int64], start: NDArray[np.int64], stop: NDArray[np.int64]
) -> tuple[Tensor, Tensor | None]:
    """Each row's entries from start to stop, padded with 0, and which are real (None if all)."""
    place = start[:, None] + np.arange((stop - start).max())
    real = place < stop[:, None]
    taken = np.take_along_axis(order, np.minimum(place, order.shape[1] - 1), axis=1)
    index = torch.from_numpy(np.where(real, taken, 0))
    return index, None if real.all() else torch.from_numpy(real)
