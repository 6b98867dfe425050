"""Choices of a Brain-JEPA beside its sizes: what is asked of it, and the published recipe."""

from __future__ import annotations

from typing import Any

from brainjepa_core.models.brain_jepa.objective import ObjectiveSettings
from brainjepa_core.models.parts.settings import TransformerSettings

RECIPES: dict[str, dict[str, Any]] = {
    "default": {},  # the defaults of the fields below
    "published": {
        "position_scaling": "minmax",
        "start": "published",
        "objective": ObjectiveSettings.published(),
    },
}


class BrainJepaSettings(TransformerSettings):
    """What a Brain-JEPA looks like.

    Attributes
    ----------
    objective : ObjectiveSettings
        All else is said by `TransformerSettings`.
    """

    recipes = RECIPES

    objective: ObjectiveSettings = ObjectiveSettings()
