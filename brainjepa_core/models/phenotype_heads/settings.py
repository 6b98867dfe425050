"""Which phenotypes are learned, by what constants, and what of the network moves."""

from __future__ import annotations

from typing import Any, ClassVar, Self

from pydantic import model_validator

from brainjepa_core.models.parts.phenotypes import LearnsPhenotypes
from brainjepa_core.models.parts.settings import PRESETS, EncoderSettings

SIZES: dict[str, dict[str, int]] = {
    name: {size: sizes[size] for size in ("width", "depth", "heads")}
    for name, sizes in PRESETS.items()
}


class PhenotypeHeadsSettings(LearnsPhenotypes, EncoderSettings):
    """What a network with heads on phenotypes looks like.

    Attributes
    ----------
    freeze_encoder : bool
        The heads alone are trained.
    """

    presets = SIZES
    recipes: ClassVar[dict[str, dict[str, Any]]] = {
        "default": {},
        "published": {"position_scaling": "minmax", "start": "published"},  # as a Brain-JEPA's
    }

    freeze_encoder: bool = False

    @property
    def other_weights(self) -> int:
        """Of the heads."""
        return len(self.phenotypes) * self.rois * (self.rois - 1) // 2

    @model_validator(mode="after")
    def _something_moves(self) -> Self:
        if self.freeze_encoder and self.adapters:
            raise ValueError(
                "expected adapters or freeze_encoder, found both; set training.train: all with "
                "freeze_encoder, where the heads alone are trained"
            )
        return self
