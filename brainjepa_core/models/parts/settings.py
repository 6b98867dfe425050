"""Sizes and positions of a transformer over patches, with the published sizes as presets."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from brainjepa_core.models.interface import ModelShape

PRESETS: dict[str, dict[str, int]] = {
    "tiny": {
        "width": 96,
        "depth": 4,
        "heads": 4,
        "predictor_width": 48,
        "predictor_depth": 2,
        "predictor_heads": 4,
    },
    # The published S, B and L (arXiv 2409.19407): the predictor has as many heads as the encoder.
    "small": {"width": 384, "depth": 12, "heads": 6, "predictor_heads": 6},
    "base": {"width": 768, "depth": 12, "heads": 12, "predictor_heads": 12},
    "large": {"width": 1024, "depth": 24, "heads": 16, "predictor_heads": 16},
}


class EncoderSettings(ModelShape):
    """An encoder of patches.

    Attributes
    ----------
    width, depth, heads : int
        Of a token, blocks and heads of attention. Without blocks, the patch embedding is all there
        is: a temporal filter.
    mlp_ratio : float
        Hidden width of a block's MLP over its width.
    positions : {"gradient", "anatomical", "sincos"}
        Basis of the ROI half of a position: functional gradients (published), centroids in
        millimetres, or the fixed sines and cosines of the ROI's index.
    position_scaling : {"minmax", "rows"}
        ``minmax`` is published: one global minimum and maximum, so that one outlying ROI shrinks
        all the others. ``rows`` brings every ROI's vector to the amplitude of the time half.
    position_scale : float
        Amplitude of positions against content.
    start : {"connectivity", "published"}
        How the encoder begins. ``connectivity``: the patch embedding keeps the signal (orthogonal
        columns; z-scored content of unit amplitude) and the blocks add nothing yet, so that the
        network's latent connectivity is that of the signals, and training is judged against it.
        ``published``: truncated normal weights of spread 0.02, which give content an amplitude
        of 0.08 beside positions of 0.6.
    """

    width: int = Field(ge=4)
    depth: int = Field(ge=0)
    heads: int = Field(ge=1)
    mlp_ratio: float = Field(4.0, gt=0)
    positions: Literal["gradient", "anatomical", "sincos"] = "gradient"
    position_scaling: Literal["minmax", "rows"] = "rows"
    position_scale: float = Field(1.0, gt=0)
    start: Literal["connectivity", "published"] = "connectivity"

    @model_validator(mode="after")
    def _heads_divide(self) -> Self:
        require_heads(self.width, self.heads, multiple=4)
        return self

    @model_validator(mode="after")
    def _signal_fits(self) -> Self:
        if self.start == "connectivity" and self.width < self.patch:
            raise ValueError(
                f"expected a width of at least the patch to start as connectivity, found width "
                f"{self.width} and patch {self.patch}; widen the model, shorten the patch, or take "
                "start: published"
            )
        return self


class TransformerSettings(EncoderSettings):
    """An encoder of patches, and a smaller network that predicts from its tokens.

    Attributes
    ----------
    predictor_width, predictor_depth, predictor_heads : int
        Sizes of the predictor. All else is said by `EncoderSettings`.
    """

    presets = PRESETS

    predictor_width: int = Field(384, ge=4)
    predictor_depth: int = Field(6, ge=1)
    predictor_heads: int = Field(ge=1)

    @model_validator(mode="after")
    def _predictor_heads_divide(self) -> Self:
        require_heads(self.predictor_width, self.predictor_heads, "predictor_", multiple=4)
        return self


def require_heads(width: int, heads: int, name: str = "", multiple: int = 1) -> None:
    """Refuse a width that heads of attention cannot share.

    Parameters
    ----------
    width, heads : int
    name : str
        Before both in settings: ``decoder_``.
    multiple : int
        What the width has to be a multiple of besides.

    Raises
    ------
    ValueError
    """
    if width % heads or width % multiple:
        besides = f"{multiple} and of " if multiple > 1 else ""
        raise ValueError(
            f"expected {name}width to be a multiple of {besides}{name}heads, found width "
            f"{width} and {heads} heads; change one of the two"
        )
