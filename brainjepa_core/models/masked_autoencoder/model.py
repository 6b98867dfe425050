"""The masked autoencoder with a Brain-JEPA's networks: BrainLM's objective as a baseline.

The encoder sees a quarter of the tokens; a decoder of the predictor's size gives back the signal
of the others (He et al., CVPR 2022; for fMRI: BrainLM, Caro et al., ICLR 2024). Encoder,
positions and sizes are those of the JEPA, so a difference between the two is the objective's.

Shapes: B batch, R ROIs, T frames, p patch length, N tokens, Nc visible and Nt masked tokens.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from brainjepa_core.models.masked_autoencoder.settings import MaskedAutoencoderSettings
from brainjepa_core.models.parts.encoder import Encoder, Predictor
from brainjepa_core.models.parts.hidden_tokens import HidesTokens, error_of_hidden
from brainjepa_core.models.parts.transformer import take_tokens
from brainjepa_core.models.roles import Roles


class MaskedAutoencoder(HidesTokens):
    """An encoder of visible patches, and a decoder that gives back the signal of the others.

    Parameters
    ----------
    settings : MaskedAutoencoderSettings
    basis : Tensor [R, m]
        As in `BrainModel`.
    """

    roles = Roles(("encoder.", "decoder."), {}, embedding=("encoder.",))
    encoder: Encoder
    settings: MaskedAutoencoderSettings

    def __init__(self, settings: MaskedAutoencoderSettings, basis: Tensor) -> None:
        super().__init__(settings, basis)
        # First, so that the encoder of a seed starts as that of a Brain-JEPA of the same seed.
        self.encoder = Encoder(settings)
        self.decoder = Predictor(settings, settings.patch)

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
        return error_of_hidden(signal, take_tokens(patches, target_index), target_valid)
