"""Sizes and choices of a model: frozen, checked settings, with the published sizes as presets."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from brainjepa_core.models.brain_jepa.objective import ObjectiveSettings
from brainjepa_core.settings import Frozen

Size = dict[str, int]

PRESETS: dict[str, Size] = {
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

RECIPES: dict[str, dict[str, Any]] = {
    "default": {},  # the defaults of the fields below
    "published": {
        "position_scaling": "minmax",
        "patch_std": 0.02,
        "objective": ObjectiveSettings.published(),
    },
}


class ModelSettings(Frozen):
    """What a Brain-JEPA looks like.

    Attributes
    ----------
    rois, frames, patch, components : int
        R, T, p and m. A window is [R, T]; a token is one ROI over p frames; the ROI basis has
        m columns.
    width, depth, heads, predictor_width, predictor_depth, predictor_heads : int
        Transformer sizes.
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
    patch_std : float, optional
        Initial spread of the patch embedding's weights. The published 0.02 gives content an
        amplitude of 0.08 beside positions of 0.6; by default it is ``1 / sqrt(patch)``, which
        gives z-scored content unit amplitude.
    objective : ObjectiveSettings
    """

    rois: int = Field(ge=1)
    frames: int = Field(160, ge=1)
    patch: int = Field(16, ge=1)
    components: int = Field(30, ge=1)
    width: int = Field(ge=4)
    depth: int = Field(ge=1)
    heads: int = Field(ge=1)
    predictor_width: int = Field(384, ge=4)
    predictor_depth: int = Field(6, ge=1)
    predictor_heads: int = Field(ge=1)
    mlp_ratio: float = Field(4.0, gt=0)
    positions: Literal["gradient", "anatomical", "sincos"] = "gradient"
    position_scaling: Literal["minmax", "rows"] = "rows"
    position_scale: float = Field(1.0, gt=0)
    patch_std: float | None = Field(None, gt=0)
    objective: ObjectiveSettings = ObjectiveSettings()

    @property
    def time_patches(self) -> int:
        """W, patches a ROI's window is cut into."""
        return self.frames // self.patch

    @property
    def tokens(self) -> int:
        """N = R * W."""
        return self.rois * self.time_patches

    @model_validator(mode="after")
    def _check_divisions(self) -> ModelSettings:
        if self.frames % self.patch:
            raise ValueError(
                f"expected frames to be a multiple of patch, found {self.frames} frames and "
                f"patch {self.patch}; choose frames {self.time_patches * self.patch or self.patch}"
            )
        for name in ("", "predictor_"):
            width, heads = getattr(self, f"{name}width"), getattr(self, f"{name}heads")
            if width % heads or width % 4:
                raise ValueError(
                    f"expected {name}width to be a multiple of 4 and of {name}heads, found width "
                    f"{width} and {heads} heads; change one of the two"
                )
        return self

    @classmethod
    def preset(
        cls, name: str, *, rois: int, recipe: str = "default", **choices: Any
    ) -> ModelSettings:
        """Settings of a named size.

        Parameters
        ----------
        name : {"tiny", "small", "base", "large"}
        rois : int
            R of the atlas.
        recipe : {"default", "published"}
            The recipe that learns (README), or that of the paper.
        **choices
            Any other field; it wins over the preset.

        Raises
        ------
        ValueError
            If the name is unknown, or the fields do not fit together.
        """
        if name not in PRESETS:
            raise ValueError(
                f"expected a preset among {', '.join(PRESETS)}, found '{name}'; "
                "take one of these or give the sizes themselves"
            )
        if recipe not in RECIPES:
            raise ValueError(
                f"expected a recipe among {', '.join(RECIPES)}, found '{recipe}'; take one of these"
            )
        return cls(**{"rois": rois, **PRESETS[name], **RECIPES[recipe], **choices})
