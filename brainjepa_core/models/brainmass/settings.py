"""Sizes of a BrainMass, what its views and masks are, and what of the published code is kept."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import Field

from brainjepa_core.models.interface import ModelShape
from brainjepa_core.models.sizes import NetworkSize

TOKENS = 2  # before the ROIs where some are masked
PASSES = 4  # of the trunk in a step that are differentiated: two views, two masks


class BrainMassSettings(ModelShape):
    """What a BrainMass looks like; the width of its trunk is the number of ROIs.

    Attributes
    ----------
    depth, heads, inner : int
        Of the trunk: blocks, heads at most (as many as divide R are taken), inner layer.
    reduced : int
        Numbers that an ROI is told by at the end; R times as many are the published embedding.
    projection : int
        Width of what the two views are compared by.
    frames_kept : float
        Share of the frames that a view's correlations are taken from.
    contrasted, rebuilt : int
        ROIs whose rows are masked, to be told from one another and to be given back; at most half
        of those that a scan has.
    norm : {"layer", "batch"}
        In projector and predictor. ``batch`` is published: a loss then depends on who else is in
        the micro-batch. ``layer`` has as many weights, and BYOL needs no statistics of a batch
        (Richemond et al., arXiv 2010.10241).
    train_masks : bool
        Train mask tokens, and the heads on what is masked. The published code hands neither to the
        optimiser, so that they stay as they were drawn.
    """

    presets: ClassVar[dict[str, dict[str, int]]] = {
        "tiny": {"depth": 2, "heads": 4, "inner": 64, "reduced": 2, "projection": 32},
        "base": {"depth": 16, "heads": 10, "inner": 2048, "projection": 1024},  # released
    }
    recipes: ClassVar[dict[str, dict[str, Any]]] = {
        "default": {},
        "published": {"norm": "batch", "train_masks": False},
    }
    published_pool = "roi_mean"

    depth: int = Field(ge=1)
    heads: int = Field(ge=1)
    inner: int = Field(ge=1)
    reduced: int = Field(8, ge=1)
    projection: int = Field(ge=1)
    frames_kept: float = Field(0.8, gt=0, le=1)
    contrasted: int = Field(10, ge=1)
    rebuilt: int = Field(5, ge=1)
    norm: Literal["layer", "batch"] = "layer"
    train_masks: bool = True

    @property
    def mixes_people(self) -> bool:
        """Where a micro-batch is normalised."""
        return self.norm == "batch"

    @property
    def still(self) -> bool:
        """Always: a row of connectivity is of the whole window."""
        return True

    @property
    def heads_of_trunk(self) -> int:
        """Heads of attention: of those that divide R, the most up to `heads`."""
        return next(n for n in range(min(self.heads, self.rois), 0, -1) if self.rois % n == 0)

    @property
    def networks(self) -> tuple[NetworkSize, ...]:
        """The trunk, over all its passes."""
        tokens = PASSES * (self.rois + TOKENS)
        return (NetworkSize(self.rois, self.depth, self.inner / self.rois, tokens),)

    @property
    def other_weights(self) -> int:
        """Of projector, predictor and the two heads."""
        features = self.rois * self.reduced
        projector = 2 * features * (features + self.projection)
        return projector + 4 * self.projection**2 + 4 * self.rois * self.inner
