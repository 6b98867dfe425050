"""Choices of a masked autoencoder beside its sizes."""

from __future__ import annotations

from typing import Any

from brainjepa_core.models.parts.hidden_tokens import HidesTokensSettings
from brainjepa_core.models.parts.settings import TransformerSettings

RECIPES: dict[str, dict[str, Any]] = {
    "default": {},
    "published": {"position_scaling": "minmax", "start": "published"},  # as a Brain-JEPA's
}


class MaskedAutoencoderSettings(HidesTokensSettings, TransformerSettings):
    """What a masked autoencoder looks like; the decoder has the sizes named ``predictor_``.

    Three quarters of the tokens are hidden in the papers (`mask_ratio`).
    """

    recipes = RECIPES
