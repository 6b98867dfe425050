"""The masked autoencoder with a Brain-JEPA's networks: BrainLM's objective as a baseline.

The encoder sees a quarter of the tokens; a decoder of the predictor's size gives back the signal
of the others (He et al., CVPR 2022; for fMRI: BrainLM, Caro et al., ICLR 2024). Encoder,
positions and sizes are those of the JEPA, so a difference between the two is the objective's.

Shapes: B batch, R ROIs, T frames, p patch length, N tokens, Nc visible and Nt masked tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from brainjepa_core.models.interface import BrainModel, Draws
from brainjepa_core.models.masked_autoencoder.masks import random_masks
from brainjepa_core.models.masked_autoencoder.settings import MaskedAutoencoderSettings
from brainjepa_core.models.masks.settings import MaskSettings
from brainjepa_core.models.parts.encoder import Encoder, Predictor
from brainjepa_core.models.parts.transformer import take_tokens
from brainjepa_core.models.roles import Roles


class MaskedAutoencoder(BrainModel):
    """An encoder of visible patches, and a decoder that gives back the signal of the others.

    Parameters
    ----------
    settings : MaskedAutoencoderSettings
    basis : Tensor [R, m]
        As in `BrainModel`.
    """

    roles = Roles(("encoder.", "decoder."), {}, embedding=("encoder.",))
    settings: MaskedAutoencoderSettings

    def __init__(self, settings: MaskedAutoencoderSettings, basis: Tensor) -> None:
        super().__init__(settings, basis)
        # First, so that the encoder of a seed starts as that of a Brain-JEPA of the same seed.
        self.encoder = Encoder(settings)
        self.decoder = Predictor(settings, settings.patch)

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
    def embedder(self) -> Encoder:
        """The encoder."""
        return self.encoder

    def sample_losses(
        self,
        x: Tensor,
        context_index: Tensor,
        target_index: Tensor,
        context_valid: Tensor | None = None,
        target_valid: Tensor | None = None,
        **_: Any,
    ) -> Tensor:
        """Mean squared error of the masked patches' signal, one loss a sample [B].

        Parameters
        ----------
        x : Tensor [B, R, T]
        context_index, target_index : Tensor [B, Nc] and [B, Nt]
            int64 indices of visible and masked tokens.
        context_valid, target_valid : Tensor like the indices, optional
            bool; False for padding. No invalid token is among the visible or masked ones, so which
            are valid besides makes no difference.
        """
        basis, patches = self.basis_of(len(x)), self.patches(x)
        visible = self.encoder(patches, basis, context_index, context_valid)
        signal = self.decoder(
            visible, basis, context_index, target_index, context_valid, target_valid
        )
        error: Tensor = (signal - take_tokens(patches, target_index)).square().mean(-1)
        if target_valid is None:
            return error.mean(1)
        return (error * target_valid).sum(1) / target_valid.sum(1)
