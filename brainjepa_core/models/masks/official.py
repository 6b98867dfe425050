"""The published distribution of masks, its defects included (but for truncation in a batch).

Every size is drawn anew for every sample; the observation never reaches the last time patch and
cross-ROI targets lean to early times; double-cross targets may repeat cross-ROI targets.
"""

from __future__ import annotations

import numpy as np
from numpy.random import Generator

from brainjepa_core.models.masks.settings import Indices, MaskSettings

EDGE = 3  # time patches at either end that can be hidden


def official_regions(
    settings: MaskSettings, rois: int, patches: int, members: Generator
) -> tuple[Indices, Indices]:
    """Context and target tokens of one sample, which shares nothing with the others of its step."""
    draw = members
    seen = draw.permutation(rois)[: int(rois * draw.uniform(*settings.observation))]
    run = max(2, int(patches * draw.uniform(*settings.observation)))
    # The upper bound is exclusive here and below, as published: the last start never happens.
    start = draw.integers(0, max(1, patches - run))
    alpha = draw.permutation(rois)[: int(rois * draw.uniform(*settings.alpha_roi))]
    alpha_run = min(run, max(1, int(patches * draw.uniform(*settings.alpha_time))))
    alpha_start = start + draw.integers(0, max(1, run - alpha_run))
    alpha_times = np.arange(alpha_start, alpha_start + alpha_run)
    is_beta = np.zeros(rois, bool)
    is_beta[seen] = True
    is_beta[alpha] = False
    beta, gamma = np.flatnonzero(is_beta), np.flatnonzero(~is_beta)
    targets = [_tokens(alpha, alpha_times, patches)]
    observed = np.zeros(patches, bool)
    observed[start : start + run] = True
    for first in (0, patches - EDGE):
        count = min(EDGE, int(patches * draw.uniform(*settings.beta_gamma_time)))
        times = first + draw.permutation(EDGE)[:count]
        share = draw.uniform(*settings.beta_gamma_roi)
        observed[times] = False
        for group in (beta, gamma):
            asked = draw.permutation(group)[: int(len(group) * share)]
            targets.append(_tokens(asked, times, patches))
    return _tokens(beta, np.flatnonzero(observed), patches), np.concatenate(targets)


def _tokens(rois: Indices, times: Indices, patches: int) -> Indices:
    return (rois[:, None] * patches + times).ravel()
