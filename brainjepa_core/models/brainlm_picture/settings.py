"""Sizes of a BrainLM of pictures."""

from __future__ import annotations

from typing import Any, ClassVar, Self

from pydantic import Field, model_validator

from brainjepa_core.models.interface import ModelShape
from brainjepa_core.models.parts.settings import require_heads
from brainjepa_core.models.sizes import NetworkSize, networks_named

Y = 1  # column of the basis that ROIs are sorted by


class BrainLmPictureSettings(ModelShape):
    """What a BrainLM of pictures looks like.

    A picture has a row an ROI and a column a frame, and is padded to a square of whole tiles. ROIs
    are in the order of the basis's second column: their Y with ``basis: {kind: centroids}``.

    Attributes
    ----------
    patch : int
        Frames of a token where a window is read: a divisor of the tile, so that it lies in one.
    tile : int
        Rows and columns of a tile, which the network reads as one.
    width, depth, heads : int
        Of a tile, blocks and heads of the encoder.
    decoder_width, decoder_depth, decoder_heads : int
    mlp_ratio : float
    mask_ratio : float
        Share of tiles that is hidden.
    """

    presets: ClassVar[dict[str, dict[str, int]]] = {
        "tiny": {
            "tile": 16,
            "width": 32,
            "depth": 2,
            "heads": 4,
            "decoder_width": 32,
            "decoder_depth": 1,
            "decoder_heads": 4,
        },
        "base": {  # vitmae_111M
            "patch": 8,
            "tile": 16,
            "width": 768,
            "depth": 12,
            "heads": 12,
            "decoder_width": 512,
            "decoder_depth": 8,
            "decoder_heads": 16,
        },
        "huge": {  # vitmae_650M
            "patch": 2,
            "tile": 14,
            "width": 1280,
            "depth": 32,
            "heads": 16,
            "decoder_width": 512,
            "decoder_depth": 8,
            "decoder_heads": 16,
        },
    }
    recipes: ClassVar[dict[str, dict[str, Any]]] = {"default": {}, "published": {}}

    components: int = Field(3, ge=2)
    tile: int = Field(ge=1)
    width: int = Field(ge=4, multiple_of=4)
    depth: int = Field(ge=1)
    heads: int = Field(ge=1)
    decoder_width: int = Field(ge=4, multiple_of=4)
    decoder_depth: int = Field(ge=1)
    decoder_heads: int = Field(ge=1)
    mlp_ratio: float = Field(4.0, gt=0)
    mask_ratio: float = Field(0.75, gt=0, lt=1)

    @property
    def tiles_a_side(self) -> int:
        """Of the square picture."""
        return -(-max(self.rois, self.frames) // self.tile)

    @property
    def networks(self) -> tuple[NetworkSize, ...]:
        """Encoder and decoder, over tiles."""
        return networks_named(self.model_dump(), self.tiles_a_side**2)

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.tile % self.patch:
            raise ValueError(
                f"expected patch to divide tile, found patch {self.patch} and tile {self.tile}; "
                "change one of the two"
            )
        require_heads(self.width, self.heads)
        require_heads(self.decoder_width, self.decoder_heads, "decoder_")
        return self
