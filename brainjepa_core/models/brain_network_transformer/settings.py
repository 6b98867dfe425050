"""Sizes of a Brain Network Transformer."""

from __future__ import annotations

from typing import Any, ClassVar, Self

from pydantic import Field, model_validator

from brainjepa_core.models.brain_network_transformer.network import BrainNetworkTransformer
from brainjepa_core.models.parts.connectivity_learner import ConnectivityLearnerSettings
from brainjepa_core.models.sizes import NetworkSize

RATIO = 2.0  # of a block's inner layer


class BrainNetworkTransformerSettings(ConnectivityLearnerSettings):
    """What a Brain Network Transformer looks like.

    Attributes
    ----------
    width, depth, heads : int
        Of a token, blocks and heads of attention.
    clusters : int
        That ROIs are read out by.
    """

    presets: ClassVar[dict[str, dict[str, Any]]] = {
        "tiny": {"width": 32, "depth": 1, "clusters": 5},
        "base": {},
    }

    width: int = Field(64, ge=4)
    depth: int = Field(2, ge=1)
    heads: int = Field(4, ge=1)
    clusters: int = Field(10, ge=1)

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.width % self.heads or self.clusters > self.width:
            raise ValueError(
                f"expected a width that heads divide and no fewer channels than clusters, found "
                f"width {self.width}, {self.heads} heads and {self.clusters} clusters; change one"
            )
        return self

    @property
    def networks(self) -> tuple[NetworkSize, ...]:
        """The blocks, over ROIs."""
        return (NetworkSize(self.width, self.depth, RATIO, self.rois),)

    @property
    def other_weights(self) -> int:
        """Of what brings profiles to the width."""
        return self.rois * self.width

    @property
    def other_kept(self) -> int:
        """Matrices, and what is made of each ROI outside the blocks."""
        return super().other_kept + 4 * self.rois * self.width

    def network(self) -> BrainNetworkTransformer:
        """A new network, with one output a phenotype."""
        return BrainNetworkTransformer(
            self.rois,
            len(self.phenotypes),
            width=self.width,
            heads=self.heads,
            depth=self.depth,
            clusters=self.clusters,
            dropout=0.0,
        )
