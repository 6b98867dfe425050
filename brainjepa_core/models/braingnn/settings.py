"""Sizes of a BrainGNN, and what of the published code is kept."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from brainjepa_core.models.braingnn.network import BrainGnn
from brainjepa_core.models.parts.connectivity_learner import ConnectivityLearnerSettings


class BrainGnnSettings(ConnectivityLearnerSettings):
    """What a BrainGNN looks like.

    Attributes
    ----------
    channels, communities, hidden : int
        Of the convolutions; that an ROI's weights are mixed from; of the second linear layer.
    scored_by : {"rois", "ranks"}
        ``ranks`` is published: of the ROIs that are kept, the worse half is to score 0. ``rois``,
        of the paper: what is kept is to score 1, all else 0.
    """

    presets: ClassVar[dict[str, dict[str, Any]]] = {
        "tiny": {"channels": 16, "hidden": 64},
        "base": {},  # published
    }
    recipes: ClassVar[dict[str, dict[str, Any]]] = {
        "default": {},
        "published": {"scored_by": "ranks"},
    }

    channels: int = Field(32, ge=1)
    communities: int = Field(8, ge=1)
    hidden: int = Field(512, ge=1)
    scored_by: Literal["rois", "ranks"] = "rois"

    @property
    def other_weights(self) -> int:
        """Of convolutions and linear layers."""
        by_community = self.channels * (self.rois + self.channels) * (self.communities + 1)
        return by_community + 2 * self.communities * self.rois + self.channels * self.hidden

    @property
    def other_kept(self) -> int:
        """Matrices of both layers, and what communities make of each node."""
        return 3 * super().other_kept + self.rois * self.channels * (self.communities + 4)

    def network(self) -> BrainGnn:
        """A new network, with one output a phenotype."""
        return BrainGnn(
            self.rois,
            len(self.phenotypes),
            channels=self.channels,
            communities=self.communities,
            hidden=self.hidden,
            scored_by=self.scored_by,
            dropout=0.0,
        )

    def require_usable(self, rois: NDArray[np.bool_]) -> None:
        """Refuse people [B, R] of whom ROIs are missing where scores are compared by rank."""
        if self.scored_by == "ranks" and not rois.all():
            raise ValueError(
                "expected people of equal ROIs where scores are compared by rank (scored_by: "
                "ranks), found missing ROIs; take scored_by: rois, or leave these people out"
            )
