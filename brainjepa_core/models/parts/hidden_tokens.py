"""Models that give back the signal of tokens that are hidden at random, from those that are not.

Shapes: B batch, N tokens, Nt masked tokens, p patch length.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor, nn

from brainjepa_core.models.interface import BrainModel, Draws, ModelShape
from brainjepa_core.models.masks.random_masks import random_masks
from brainjepa_core.models.masks.settings import MaskSettings


class HidesTokensSettings(ModelShape):
    """Settings of such a model.

    Attributes
    ----------
    mask_ratio : float
        Share of a sample's valid tokens that is hidden.
    """

    mask_ratio: float = Field(0.75, gt=0, lt=1)


class HidesTokens(BrainModel):
    """An encoder of visible tokens; what gives back the others is the family's."""

    settings: HidesTokensSettings
    encoder: nn.Module

    def draw(
        self,
        masks: MaskSettings,
        *,
        seed: int,
        step: int,
        samples: Sequence[int],
        token_valid: NDArray[np.bool_] | None,
    ) -> Draws:
        """Which tokens are hidden, as `random_masks` draws them; `masks` is not used."""
        drawn = random_masks(
            self.settings.tokens,
            seed=seed,
            step=step,
            samples=samples,
            token_valid=token_valid,
            ratio=self.settings.mask_ratio,
        )
        return vars(drawn)

    @property
    def embedder(self) -> nn.Module:
        """The encoder."""
        return self.encoder


def error_of_hidden(signal: Tensor, truth: Tensor, valid: Tensor | None) -> Tensor:
    """Mean squared error [B] of signals [B, Nt, p] at tokens that are `valid` [B, Nt], or all."""
    error: Tensor = (signal - truth).square().mean(-1)
    if valid is None:
        return error.mean(1)
    return (error * valid).sum(1) / valid.sum(1)
