"""BrainLM: give back the signal of patches that are hidden, from those that are not.

Ortega Caro et al., ICLR 2024 ("BrainLM: a foundation model for brain activity recordings"); the
paper's own model. Another one that carries the name, a picture model, is read by
`brainlm_picture`.

Decided where paper and published code differ or are silent:

* Attention is full by default. The published network is one too, but for a convolution over tokens
  in an order that masking has shuffled: a setting (`BrainLmSettings.convolution`). Where a window
  is embedded, nothing is masked and tokens are in their natural order.
* ROIs are placed by whatever basis the study has; published are coordinates in millimetres.
* Dropout (0.1) is left out: steps are functions of their number.
* Signals are scaled as the study's windows say; the published robust scaling is
  ``windows.scaling: official``.
* A layer of the released checkpoints that nothing reads (``decoder_pred``, 197,376 weights) is
  left out. The decoder may have a width of its own, where the published code needs the encoder's.
* Missing ROIs and padded frames are neither seen, nor asked for, nor neighbours of others.

Shapes: B batch, R ROIs, T frames, p patch length, N tokens, Nc visible and Nt masked tokens.
"""

from __future__ import annotations

from torch import Tensor

from brainjepa_core.models.brainlm.network import BrainLmDecoder, BrainLmEncoder
from brainjepa_core.models.brainlm.settings import BrainLmSettings
from brainjepa_core.models.parts.hidden_tokens import HidesTokens, error_of_hidden
from brainjepa_core.models.parts.transformer import take_tokens
from brainjepa_core.models.roles import Roles


class BrainLM(HidesTokens):
    """An encoder of visible patches, and a decoder of all of them.

    Parameters
    ----------
    settings : BrainLmSettings
    basis : Tensor [R, m]
        Coordinates of the ROIs, or their gradients.
    """

    roles = Roles(("encoder.", "decoder."), {}, embedding=("encoder.",))
    encoder: BrainLmEncoder
    settings: BrainLmSettings

    def __init__(self, settings: BrainLmSettings, basis: Tensor) -> None:
        super().__init__(settings, basis)
        self.encoder = BrainLmEncoder(settings)
        self.decoder = BrainLmDecoder(settings)

    def sample_losses(
        self,
        x: Tensor,
        context_index: Tensor,
        target_index: Tensor,
        context_valid: Tensor | None = None,
        target_valid: Tensor | None = None,
        token_valid: Tensor | None = None,
    ) -> Tensor:
        """Mean squared error of the masked patches' signal, one loss a sample [B].

        Parameters
        ----------
        x : Tensor [B, R, T]
        context_index, target_index : Tensor [B, Nc] and [B, Nt]
            int64 indices of visible and masked tokens.
        context_valid, target_valid : Tensor like the indices, optional
            bool; False for padding.
        token_valid : Tensor [B, N], optional
            bool; False for tokens without a signal.
        """
        patches, basis = self.patches(x), self.basis_of(len(x))
        states = self.encoder.states(patches, basis, context_index, context_valid)
        signal = self.decoder(
            self.encoder.norm(states), basis, context_index, context_valid, token_valid
        )
        hidden, truth = take_tokens(signal, target_index), take_tokens(patches, target_index)
        return error_of_hidden(hidden, truth, target_valid)
