"""The published kinds of regions, without their defects: ROIs alike, time symmetric, no repeats.

``sizes`` (shared by all samples of a step) draws how many ROIs and time patches each region has
and how they lie relative to one another; ``members`` (the sample's own) draws which ROIs they
are, where the layout starts, and whether it is mirrored in time. Mirroring makes the two ends of
a window alike; a random order of ROIs makes ROIs alike; disjoint groups leave nothing to repeat.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from brainjepa_core.models.masks.settings import Indices, MaskSettings

EDGE = 3  # time patches at either end of the observed run that can be hidden


@dataclass(frozen=True)
class Layout:
    """Sizes of a step's regions, and their times counted from the start of the observed run."""

    alpha: int  # ROIs that leave the context
    seen: int  # ROIs of the context
    beta: int  # of the seen, asked for at hidden times
    gamma_alpha: int  # of alpha, asked for at hidden times
    gamma_rest: int  # of neither seen nor alpha, asked for at hidden times
    hidden: NDArray[np.bool_]  # [run]
    alpha_times: NDArray[np.bool_]  # [run]

    @classmethod
    def drawn(cls, settings: MaskSettings, rois: int, patches: int, rng: Generator) -> Layout:
        """Draw a layout for R ROIs and W time patches; context and targets are never empty."""
        alpha = _within(round(rois * rng.uniform(*settings.alpha_roi)), 1, rois - 2)
        rest = rois - alpha
        seen = max(1, round(rest * rng.uniform(*settings.observation)))
        # Rounded, so that the mean share of time patches is the one asked for at any W. Cut off, as
        # published, an observation of 0.84 to 1 would lose one of 5 patches in nearly every mask.
        run = max(min(2, patches), round(patches * rng.uniform(*settings.observation)))
        length = _within(round(patches * rng.uniform(*settings.alpha_time)), 1, run)
        start = rng.integers(0, run - length + 1)
        alpha_times = np.zeros(run, bool)
        alpha_times[start : start + length] = True
        reach = min(EDGE, run // 2)
        edges = np.concatenate([np.arange(reach), np.arange(run - reach, run)])
        # One draw for each end, as published, but pooled over both.
        shares = rng.uniform(*settings.beta_gamma_time, size=2)
        count = sum(min(EDGE, int(patches * share)) for share in shares)
        hidden = np.zeros(run, bool)
        hidden[rng.permutation(edges)[: min(count, run - 1)]] = True
        share = rng.uniform(*settings.beta_gamma_roi)
        return cls(
            alpha=alpha,
            seen=seen,
            beta=round(seen * share),
            gamma_alpha=round(alpha * share),
            gamma_rest=round((rest - seen) * share),
            hidden=hidden,
            alpha_times=alpha_times,
        )


def balanced_regions(
    layout: Layout, rois: int, patches: int, members: Generator
) -> tuple[Indices, Indices]:
    """Context and target tokens of one sample."""
    order = members.permutation(rois)
    alpha, seen, rest = np.split(order, [layout.alpha, layout.alpha + layout.seen])
    run = len(layout.hidden)
    place = np.arange(run) + members.integers(0, patches - run + 1)
    if members.random() < 0.5:
        place = place[::-1]
    hidden, alpha_times = place[layout.hidden], place[layout.alpha_times]
    both = place[layout.hidden | layout.alpha_times]
    context = _tokens(seen, place[~layout.hidden], patches)
    target = np.concatenate(
        [
            _tokens(alpha[: layout.gamma_alpha], both, patches),
            _tokens(alpha[layout.gamma_alpha :], alpha_times, patches),
            _tokens(seen[: layout.beta], hidden, patches),
            _tokens(rest[: layout.gamma_rest], hidden, patches),
        ]
    )
    return context, target


def _within(value: int, low: int, high: int) -> int:
    return max(low, min(value, high))


def _tokens(rois: Indices, times: Indices, patches: int) -> Indices:
    return (rois[:, None] * patches + times).ravel()
