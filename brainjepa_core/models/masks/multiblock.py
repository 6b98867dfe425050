"""Rectangles of ROIs x time as targets, one larger rectangle less these as context.

The masking of I-JEPA (Assran et al. 2023) on the grid of ROIs and time patches; an ablation.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from brainjepa_core.models.masks.settings import Indices, MaskSettings


class Rectangles(NamedTuple):
    """Sizes of a step's rectangles: the one that holds the context, and those of targets."""

    seen: int  # ROIs
    run: int  # time patches
    block_rois: int
    block_run: int
    blocks: int

    @classmethod
    def drawn(cls, settings: MaskSettings, rois: int, patches: int, rng: Generator) -> Rectangles:
        """Draw sizes for R ROIs and W time patches."""
        return cls(
            seen=max(2, round(rois * rng.uniform(*settings.observation))),
            run=max(1, round(patches * rng.uniform(*settings.observation))),
            block_rois=max(1, round(rois * rng.uniform(*settings.beta_gamma_roi))),
            block_run=max(1, int(patches * rng.uniform(*settings.alpha_time))),
            blocks=settings.blocks,
        )


def multiblock_regions(
    sizes: Rectangles, rois: int, patches: int, members: Generator
) -> tuple[Indices, Indices]:
    """Context and target tokens of one sample; overlaps make the context's size its own."""
    context = _rectangle(rois, patches, sizes.seen, sizes.run, members)
    target = np.zeros((rois, patches), bool)
    for _ in range(sizes.blocks):
        target |= _rectangle(rois, patches, sizes.block_rois, sizes.block_run, members)
    return np.flatnonzero(context & ~target), np.flatnonzero(target)


def _rectangle(
    rois: int, patches: int, height: int, run: int, members: Generator
) -> NDArray[np.bool_]:
    start = members.integers(0, patches - run + 1)
    block = np.zeros((rois, patches), bool)
    block[members.permutation(rois)[:height], start : start + run] = True
    return block
