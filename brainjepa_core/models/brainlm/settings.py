"""Sizes of a BrainLM, and what of the published code is kept."""

from __future__ import annotations

from typing import Any, ClassVar, Self

from pydantic import Field, model_validator

from brainjepa_core.models.parts.hidden_tokens import HidesTokensSettings
from brainjepa_core.models.parts.settings import require_heads


class BrainLmSettings(HidesTokensSettings):
    """What a BrainLM looks like.

    ROIs are placed by the study's basis: their coordinates with ``basis: {kind: centroids}``, as
    published, or else their gradients.

    Attributes
    ----------
    width, depth, heads : int
        Of a token, and of the encoder.
    decoder_width, decoder_depth, decoder_heads : int
    mlp_ratio : float
        Inner layer over width.
    convolution : bool
        Add to every attention what 65 neighbouring tokens have for values, as the published network
        does. After masking, neighbours are whichever tokens chance has put side by side.
    even_basis : bool
        Bring the basis to a mean square of one, so that its unit (millimetres, say) does not decide
        how much of a token is its place. The published network takes it as it is.
    """

    presets: ClassVar[dict[str, dict[str, int]]] = {
        "tiny": {
            "width": 64,
            "depth": 2,
            "heads": 4,
            "decoder_width": 32,
            "decoder_depth": 1,
            "decoder_heads": 4,
        },
        "released": {
            "patch": 20,
            "width": 256,
            "depth": 4,
            "heads": 4,
            "decoder_width": 256,
            "decoder_depth": 2,
            "decoder_heads": 4,
        },
        # The sizes of a Brain-JEPA's encoder and predictor, to stand beside it.
        "base": {
            "width": 768,
            "depth": 12,
            "heads": 12,
            "decoder_width": 384,
            "decoder_depth": 6,
            "decoder_heads": 12,
        },
    }
    recipes: ClassVar[dict[str, dict[str, Any]]] = {
        "default": {},
        "published": {"convolution": True, "even_basis": False, "mask_ratio": 0.2},
    }

    width: int = Field(ge=2)
    depth: int = Field(ge=1)
    heads: int = Field(ge=1)
    decoder_width: int = Field(ge=2)
    decoder_depth: int = Field(ge=1)
    decoder_heads: int = Field(ge=1)
    mlp_ratio: float = Field(4.0, gt=0)
    convolution: bool = False
    even_basis: bool = True

    @model_validator(mode="after")
    def _heads_divide(self) -> Self:
        require_heads(self.width, self.heads)
        require_heads(self.decoder_width, self.decoder_heads, "decoder_")
        return self
