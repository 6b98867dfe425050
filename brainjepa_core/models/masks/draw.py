"""Which tokens are context and which are targets.

A mask is drawn from counter-based seeds: its sizes from (seed, step, mask), its members from
(seed, step, sample, mask). So it is the same whoever else is in the batch, every sample of a
step has equally many tokens (nothing is padded where all ROIs and frames exist), and how many
tokens there are says nothing about the people.

Shapes: B batch, K masks per sample, R ROIs, W time patches. Token index = roi * W + time patch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial

import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray
from torch import Tensor

from brainjepa_core.models.masks.balanced import Layout, balanced_regions
from brainjepa_core.models.masks.multiblock import Rectangles, multiblock_regions
from brainjepa_core.models.masks.official import official_regions
from brainjepa_core.models.masks.settings import Indices, MaskSettings
from brainjepa_core.models.streams import sample_stream

ATTEMPTS = 32  # redraws of a mask that missing ROIs or padded frames left empty


@dataclass(frozen=True)
class Mask:
    """Token indices of one mask: `context` sorted, `target` without order."""

    context: Indices
    target: Indices


@dataclass(frozen=True)
class MaskBatch:
    """Masks of a batch, padded with index 0 where some are shorter.

    Attributes
    ----------
    context_index, target_index : Tensor [B, K, Nc] and [B, K, Nt]
        int64.
    context_valid, target_valid : Tensor like the indices, or None
        bool; False for padding. None where nothing is padded.
    """

    context_index: Tensor
    target_index: Tensor
    context_valid: Tensor | None
    target_valid: Tensor | None


def sample_mask(
    settings: MaskSettings,
    *,
    rois: int,
    patches: int,
    seed: int,
    step: int,
    sample: int,
    mask: int = 0,
    token_valid: NDArray[np.bool_] | None = None,
) -> Mask:
    """Draw one mask.

    Parameters
    ----------
    settings : MaskSettings
    rois, patches : int
        R and W; at least 4 ROIs (and 6 time patches for ``official``).
    seed, step, sample, mask : int
        What the mask is a function of.
    token_valid : ndarray [R * W], optional
        bool; tokens without a signal are left out of context and targets.

    Returns
    -------
    Mask
        Context and targets never overlap; neither is empty. Where what is valid is so short that
        no draw has both, such as one time patch of ten, it is cut in half at random.

    Raises
    ------
    ValueError
        If the grid is too small, fewer than two tokens are valid, the shares leave no context, or
        a number is negative.
    """
    _check_grid(settings, rois, patches)
    possible = False
    for attempt in range(ATTEMPTS):
        members = sample_stream(seed, step, sample, mask, 2 * attempt + 1)
        regions = _regions(settings, rois, patches, (seed, step, 0, mask, 2 * attempt))
        context, target = regions(rois, patches, members)
        possible |= len(context) > 0 and len(target) > 0
        if token_valid is not None:
            context, target = context[token_valid[context]], target[token_valid[target]]
        if len(context) and len(target):
            return Mask(np.sort(context), target)
    n_valid = rois * patches if token_valid is None else int(token_valid.sum())
    if token_valid is not None and possible and n_valid > 1:
        return _halves(token_valid, sample_stream(seed, step, sample, mask, 2 * ATTEMPTS))
    raise ValueError(
        f"expected enough valid tokens for context and targets, found {n_valid} of "
        f"{rois * patches} valid and no usable mask in {ATTEMPTS} draws; leave this scan out, use "
        "shorter windows, or ask for smaller shares of targets"
    )


@lru_cache(maxsize=64)  # drawn once a step, whatever the number of samples
def _regions(
    settings: MaskSettings, rois: int, patches: int, sizes: tuple[int, int, int, int, int]
) -> Callable[[int, int, Generator], tuple[Indices, Indices]]:
    """What draws a sample's regions, with the sizes that it has in common with others."""
    if settings.mode == "official":
        return partial(official_regions, settings)
    drawn = settings, rois, patches, sample_stream(*sizes)
    if settings.mode == "multiblock":
        return partial(multiblock_regions, Rectangles.drawn(*drawn))
    return partial(balanced_regions, Layout.drawn(*drawn))


def _halves(token_valid: NDArray[np.bool_], rng: Generator) -> Mask:
    """All valid tokens, at least two, half of them context."""
    tokens = rng.permutation(np.flatnonzero(token_valid))
    context, target = np.split(tokens, [len(tokens) // 2])
    return Mask(np.sort(context), target)


def _check_grid(settings: MaskSettings, rois: int, patches: int) -> None:
    least = 6 if settings.mode == "official" else 1
    if rois < 4 or patches < least:
        raise ValueError(
            f"expected at least 4 ROIs and {least} time patches for mode '{settings.mode}', found "
            f"{rois} and {patches}; use longer windows, shorter patches or another mode"
        )


def mask_batch(
    settings: MaskSettings,
    *,
    rois: int,
    patches: int,
    seed: int,
    step: int,
    samples: Sequence[int],
    token_valid: NDArray[np.bool_] | None = None,
) -> MaskBatch:
    """Draw the masks of a batch.

    Parameters
    ----------
    settings : MaskSettings
    rois, patches, seed, step : int
        As in `sample_mask`.
    samples : sequence of int
        Number of each sample; a number stands for a mask, so equal numbers get equal masks.
    token_valid : ndarray [B, R * W], optional

    Returns
    -------
    MaskBatch
    """
    masks = [
        sample_mask(
            settings,
            rois=rois,
            patches=patches,
            seed=seed,
            step=step,
            sample=sample,
            mask=k,
            token_valid=None if token_valid is None else token_valid[place],
        )
        for place, sample in enumerate(samples)
        for k in range(settings.masks_per_sample)
    ]
    shape = (len(samples), settings.masks_per_sample)
    context_index, context_valid = _pad([m.context for m in masks], shape)
    target_index, target_valid = _pad([m.target for m in masks], shape)
    return MaskBatch(context_index, target_index, context_valid, target_valid)


def _pad(rows: list[Indices], shape: tuple[int, int]) -> tuple[Tensor, Tensor | None]:
    """Rows to one tensor [B, K, longest], and which entries are real (None where all are)."""
    lengths = np.array([len(row) for row in rows])
    padded = np.zeros((len(rows), lengths.max()), np.int64)
    for place, row in enumerate(rows):
        padded[place, : len(row)] = row
    index = torch.from_numpy(padded.reshape(*shape, -1))
    if (lengths == lengths.max()).all():
        return index, None
    real = np.arange(lengths.max()) < lengths[:, None]
    return index, torch.from_numpy(real.reshape(*shape, -1))
