"""The published kinds of regions, without their defects: ROIs alike, time symmetric, no repeats.

``sizes`` (shared by all samples of a step) draws how many ROIs and time patches each region has
and how they lie relative to one another; ``members`` (the sample's own) draws which ROIs they
are, where the layout starts, and whether it is mirrored in time. Mirroring makes the two ends of
a window alike; a random order of ROIs makes ROIs alike; disjoint groups leave nothing to repeat.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

if TYPE_CHECKING:
    from brainjepa_core.model.masks import MaskSettings

EDGE = 3  # time patches at either end of the observed run that can be hidden
Indices = NDArray[np.int64]


@dataclass(frozen=True)
class Layout:
    """Sizes of a step's regions, and their times counted from the start of the observed run."""

    alpha: int  # ROIs that leave the context
    seen: int  # ROIs of the context
    beta: int  # of the seen, asked for at hidden times
    gamma_alpha: int  # of alpha, asked for at hidden times
    gamma_rest: int  # of neither seen nor alpha, asked for at hidden times
    run: int  # time patches that are observed or hidden
    hidden: Indices
    alpha_times: Indices

    @classmethod
    def draw(cls, settings: MaskSettings, rois: int, patches: int, rng: Generator) -> Layout:
        """Draw a layout for R ROIs and W time patches; context and targets are never empty."""
        alpha = int(np.clip(round(rois * rng.uniform(*settings.alpha_roi)), 1, rois - 2))
        rest = rois - alpha
        seen = max(1, round(rest * rng.uniform(*settings.observation)))
        run = int(np.clip(int(patches * rng.uniform(*settings.observation)), min(2, patches), None))
        length = int(np.clip(int(patches * rng.uniform(*settings.alpha_time)), 1, run))
        start = rng.integers(0, run - length + 1)
        reach = min(EDGE, run // 2)
        edges = np.concatenate([np.arange(reach), np.arange(run - reach, run)])
        count = 0
        for _ in range(2):  # one draw for each end, as published, but pooled over both
            count += min(EDGE, int(patches * rng.uniform(*settings.beta_gamma_time)))
        hidden = rng.permutation(edges)[: min(count, run - 1)]
        share = rng.uniform(*settings.beta_gamma_roi)
        return cls(
            alpha=alpha,
            seen=seen,
            beta=round(seen * share),
            gamma_alpha=round(alpha * share),
            gamma_rest=round((rest - seen) * share),
            run=run,
            hidden=np.sort(hidden),
            alpha_times=np.arange(start, start + length),
        )


def balanced_regions(
    settings: MaskSettings, rois: int, patches: int, sizes: Generator, members: Generator
) -> tuple[Indices, Indices]:
    """Context and target tokens of one sample."""
    layout = Layout.draw(settings, rois, patches, sizes)
    order = members.permutation(rois)
    alpha, seen, rest = np.split(order, [layout.alpha, layout.alpha + layout.seen])
    place = np.arange(layout.run) + members.integers(0, patches - layout.run + 1)
    if members.random() < 0.5:
        place = place[::-1]
    observed = np.setdiff1d(np.arange(layout.run), layout.hidden)
    hidden_alpha = np.union1d(layout.hidden, layout.alpha_times)
    context = _tokens(seen, place[observed], patches)
    target = np.concatenate(
        [
            _tokens(alpha[: layout.gamma_alpha], place[hidden_alpha], patches),
            _tokens(alpha[layout.gamma_alpha :], place[layout.alpha_times], patches),
            _tokens(seen[: layout.beta], place[layout.hidden], patches),
            _tokens(rest[: layout.gamma_rest], place[layout.hidden], patches),
        ]
    )
    return context, target


def _tokens(rois: Indices, times: Indices, patches: int) -> Indices:
    return (rois[:, None] * patches + times).ravel()
