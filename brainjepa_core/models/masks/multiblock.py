"""Rectangles of ROIs x time as targets, one larger rectangle less these as context.

The masking of I-JEPA (Assran et al. 2023) on the grid of ROIs and time patches; an ablation.
"""

from __future__ import annotations

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from brainjepa_core.models.masks.settings import Indices, MaskSettings


def multiblock_regions(
    settings: MaskSettings, rois: int, patches: int, sizes: Generator, members: Generator
) -> tuple[Indices, Indices]:
    """Context and target tokens of one sample; overlaps make the context's size its own."""
    seen = max(2, round(rois * sizes.uniform(*settings.observation)))
    run = max(1, round(patches * sizes.uniform(*settings.observation)))
    block_rois = max(1, round(rois * sizes.uniform(*settings.beta_gamma_roi)))
    block_run = max(1, int(patches * sizes.uniform(*settings.alpha_time)))
    context = _rectangle(rois, patches, seen, run, members)
    target = np.zeros((rois, patches), bool)
    for _ in range(settings.blocks):
        target |= _rectangle(rois, patches, block_rois, block_run, members)
    return np.flatnonzero(context & ~target), np.flatnonzero(target)


def _rectangle(
    rois: int, patches: int, height: int, run: int, members: Generator
) -> NDArray[np.bool_]:
    start = members.integers(0, patches - run + 1)
    block = np.zeros((rois, patches), bool)
    block[members.permutation(rois)[:height], start : start + run] = True
    return block
