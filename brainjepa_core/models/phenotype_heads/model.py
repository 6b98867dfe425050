"""An encoder whose latent connectivity tells phenotypes, each by a head of its own.

What is proven to help where labels are few is to have learned many other phenotypes of other people
(meta-matching, He et al., Nature Neuroscience 2022): heads, or heads and encoder, are trained on
whatever phenotypes there are, and a new one is told from their outputs. The loss is a function of
one person and the weights; a phenotype that is not known of somebody adds nothing to it.

Shapes: B batch, R ROIs, T frames, N tokens, E = R (R - 1) / 2 pairs in the order of
``tril_indices(R, -1)``, Q phenotypes.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from brainjepa_core.models.interface import BrainModel
from brainjepa_core.models.parts.encoder import Encoder
from brainjepa_core.models.parts.latent import latent_fisher_z
from brainjepa_core.models.parts.phenotypes import squared_errors
from brainjepa_core.models.phenotype_heads.settings import PhenotypeHeadsSettings
from brainjepa_core.models.roles import Roles

REACH = 10.0  # learning rates that an optimiser step can move an output by, about


class Heads(nn.Module):
    """A linear head a phenotype.

    Weights are a vector, which optimisers do not decay: a site without a phenotype leaves its head
    as it is.

    Parameters
    ----------
    pairs, phenotypes : int
        E and Q.
    """

    def __init__(self, pairs: int, phenotypes: int) -> None:
        super().__init__()
        self.shape = (phenotypes, pairs)
        self.weight = nn.Parameter(torch.zeros(phenotypes * pairs))
        self.bias = nn.Parameter(torch.zeros(phenotypes))

    def forward(self, z: Tensor) -> Tensor:
        """Map Fisher z [B, E] to phenotypes [B, Q].

        AdamW moves every weight by the learning rate, so inputs count the less the more there are.
        """
        # A correlation of resting-state signals is about a quarter of Fisher z.
        scaled = z * (4 * REACH / max(self.shape[1], 1))
        return scaled @ self.weight.reshape(self.shape).T + self.bias


class PhenotypeHeads(BrainModel):
    """An encoder and a head a phenotype.

    Parameters
    ----------
    settings : PhenotypeHeadsSettings
    basis : Tensor [R, m]
        As in `BrainModel`.
    """

    roles = Roles(
        ("encoder.patch.", "encoder.positions.", "encoder.blocks.", "heads."),
        {},
        embedding=("encoder.",),
        heads=("heads.",),
    )
    settings: PhenotypeHeadsSettings

    def __init__(self, settings: PhenotypeHeadsSettings, basis: Tensor) -> None:
        super().__init__(settings, basis)
        # First, so that the encoder of a seed starts as that of a Brain-JEPA of the same seed.
        self.encoder = Encoder(settings)
        self.encoder.norm.requires_grad_(False)  # connectivity is read before it
        self.heads = Heads(settings.rois * (settings.rois - 1) // 2, len(settings.phenotypes))
        if settings.freeze_encoder:
            self.encoder.requires_grad_(False)
            self.roles = Roles(("heads.",), {}, embedding=("encoder.",), heads=("heads.",))

    @property
    def embedder(self) -> Encoder:
        """The encoder."""
        return self.encoder

    def outputs(self, x: Tensor, token_valid: Tensor | None = None) -> Tensor:
        """Phenotypes [B, Q] that windows [B, R, T] tell, in the units of the settings."""
        s = self.settings
        patches, basis = self.patches(x), self.basis_of(len(x))
        z = latent_fisher_z(self.encoder, patches, basis, s.rois, token_valid)
        rows, columns = torch.tril_indices(s.rois, s.rois, -1, device=x.device)
        found: Tensor = self.heads(z[:, rows, columns])
        return found

    def sample_losses(
        self, x: Tensor, told: Tensor, token_valid: Tensor | None = None, **_: Any
    ) -> Tensor:
        """Squared error of what is known, as a share of all phenotypes [B].

        Parameters
        ----------
        x : Tensor [B, R, T]
        told : Tensor [B, Q]
            As `Phenotype.encoded` gives them; NaN where not known.
        token_valid : Tensor [B, N], optional
            bool; False for tokens without a signal.
        """
        return squared_errors(self.outputs(x, token_valid), told)
