"""What a step sees of a sample: frames of two views, ROIs whose rows are masked.

Shapes: B batch, R ROIs, T frames, W time patches, N = R * W tokens, k masked ROIs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray
from torch import Tensor

from brainjepa_core.models.brainmass.settings import BrainMassSettings
from brainjepa_core.models.interface import Draws
from brainjepa_core.models.streams import sample_stream
from brainjepa_core.usable import MIN_FRAMES, MIN_ROIS

Mask = NDArray[np.bool_]


def draw_views(
    settings: BrainMassSettings,
    *,
    seed: int,
    step: int,
    samples: Sequence[int],
    token_valid: Mask | None,
) -> Draws:
    """Frames and masked ROIs of each sample, a function of (seed, step, sample).

    Parameters
    ----------
    settings : BrainMassSettings
    seed, step : int
    samples : sequence of int
    token_valid : ndarray of bool [B, N], optional

    Returns
    -------
    dict
        ``view_frames`` bool [B, 2, T]; ``contrasted`` and ``rebuilt`` int64 [B, k], with
        ``contrasted_valid`` and ``rebuilt_valid`` bool [B, k] where some are padding, else None.

    Raises
    ------
    ValueError
        If a sample has too few frames or ROIs for a correlation.
    """
    frames, rois = _there(settings, len(samples), token_valid)
    chances = [sample_stream(seed, step, sample) for sample in samples]
    few = min(round(settings.frames_kept * n) for n in frames.sum(1).tolist())
    if few < MIN_FRAMES or rois.sum(1).min() < MIN_ROIS:
        raise ValueError(
            f"expected at least {MIN_FRAMES} frames in every view and {MIN_ROIS} ROIs, found "
            f"{few} frames and {rois.sum(1).min()} ROIs; leave this scan out, use shorter patches "
            "or raise frames_kept"
        )
    views = [_chosen(frames, chances, lambda n: round(settings.frames_kept * n)) for _ in range(2)]
    masked: Draws = {}
    for name in ("contrasted", "rebuilt"):
        most = getattr(settings, name)
        chosen = _chosen(rois, chances, lambda n, most=most: min(most, n // 2))  # type: ignore[misc]
        masked[name], masked[f"{name}_valid"] = _indices(chosen)
    return {"view_frames": torch.from_numpy(np.stack(views, 1)), **masked}


def _there(settings: BrainMassSettings, batch: int, token_valid: Mask | None) -> tuple[Mask, Mask]:
    """Frames [B, T] and ROIs [B, R] of windows that carry a signal."""
    if token_valid is None:
        return np.ones((batch, settings.frames), bool), np.ones((batch, settings.rois), bool)
    tokens = token_valid.reshape(batch, settings.rois, settings.time_patches)
    frames: Mask = np.logical_or.reduce(tokens, axis=1).repeat(settings.patch, 1)
    rois: Mask = np.logical_or.reduce(tokens, axis=2)
    return frames, rois


def _chosen(there: Mask, chances: Sequence[Generator], share: Callable[[int], int]) -> Mask:
    """A random part of what is there in each row, of as many as `share` makes of their number."""
    chosen = np.zeros_like(there)
    for row, found, chance in zip(chosen, there, chances, strict=True):
        places = np.flatnonzero(found)
        row[chance.permutation(places)[: share(len(places))]] = True
    return chosen


def _indices(chosen: Mask) -> tuple[Tensor, Tensor | None]:
    """Places [B, k] of what is chosen in each row, padded with 0; which are real, None if all."""
    counts = chosen.sum(1)
    real = np.arange(counts.max()) < counts[:, None]
    index = np.zeros(real.shape, np.int64)
    index[real] = np.nonzero(chosen)[1]
    return torch.from_numpy(index), None if real.all() else torch.from_numpy(real)
