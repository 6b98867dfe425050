"""Choices of a person JEPA: sizes of its encoder, and what it predicts of a person."""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import Field

from brainjepa_core.models.parts.settings import PRESETS, EncoderSettings

SIZES: dict[str, dict[str, int]] = {
    "tiny": {"width": 32, "depth": 2, "heads": 4},
    **{
        name: {size: sizes[size] for size in ("width", "depth", "heads")}
        for name, sizes in PRESETS.items()
        if name != "tiny"
    },
}


class PersonJepaSettings(EncoderSettings):
    """What a person JEPA looks like.

    Attributes
    ----------
    directions : int
        Of the consensus, between which connectivity is predicted: the mean over ROIs and the
        leading gradients of the basis. At most all of them are taken. More tell of smaller
        networks, which a window knows less about.
    """

    presets = SIZES
    recipes: ClassVar[dict[str, dict[str, Any]]] = {
        "default": {},
        "published": {"position_scaling": "minmax", "start": "published"},  # as a Brain-JEPA's
    }
    predicts_rest = True

    directions: int = Field(20, ge=2)
