"""Choices of a masked autoencoder beside its sizes."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from brainjepa_core.models.parts.settings import TransformerSettings

RECIPES: dict[str, dict[str, Any]] = {
    "default": {},
    "published": {"position_scaling": "minmax", "start": "published"},  # as a Brain-JEPA's
}


class MaskedAutoencoderSettings(TransformerSettings):
    """What a masked autoencoder looks like; the decoder has the sizes named ``predictor_``.

    Attributes
    ----------
    mask_ratio : float
        Share of a sample's valid tokens that is hidden; three quarters in the papers.
    """

    recipes = RECIPES

    mask_ratio: float = Field(0.75, gt=0, lt=1)
