"""How masks are drawn: the settings that all modes read."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from brainjepa_core.settings import Frozen

Interval = tuple[float, float]
Indices = NDArray[np.int64]


class MaskSettings(Frozen):
    """How masks are drawn; shares are intervals to draw uniformly from, published by default.

    Attributes
    ----------
    mode : {"balanced", "official", "multiblock"}
        ``balanced``: the published kinds of regions without their defects. ``official``: the
        published distribution, duplicates and asymmetry included. ``multiblock``: rectangles of
        ROIs x time as in I-JEPA, an ablation.
    observation : (float, float)
        Share of ROIs and of time patches that the context is taken from.
    alpha_roi, alpha_time : (float, float)
        Cross-ROI targets: share of ROIs that leave the context, and of time patches asked for.
    beta_gamma_roi, beta_gamma_time : (float, float)
        Cross-time and double-cross targets: share of the seen (beta) and unseen (gamma) ROIs
        asked for at hidden times, and share of time patches hidden at the edges.
    blocks : int
        Target blocks of ``multiblock``; their sizes are `alpha_time` of time patches and
        `beta_gamma_roi` of ROIs.
    masks_per_sample : int
        K masks that share one target pass.
    """

    mode: Literal["balanced", "official", "multiblock"] = "balanced"
    observation: Interval = (0.84, 1.0)
    alpha_roi: Interval = (0.45, 0.6)
    alpha_time: Interval = (0.2, 0.6)
    beta_gamma_roi: Interval = (0.15, 0.3)
    beta_gamma_time: Interval = (0.0, 0.4)
    blocks: int = Field(4, ge=1)
    masks_per_sample: int = Field(1, ge=1)

    @model_validator(mode="after")
    def _shares(self) -> MaskSettings:
        for name in ("observation", "alpha_roi", "alpha_time", "beta_gamma_roi", "beta_gamma_time"):
            low, high = getattr(self, name)
            if not 0 <= low <= high <= 1:
                raise ValueError(
                    f"expected {name} as (low, high) with 0 <= low <= high <= 1, found "
                    f"({low}, {high}); give shares, not counts"
                )
        return self
