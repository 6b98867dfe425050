"""Person JEPA: by one window of a person, predict the connectivity of the rest of their scans.

What masked tokens of one window need is the group's connectivity; what a window and the rest of a
person's scans share is the person. The target is what a frozen teacher sees in the rest: its plain
connectivity (a static teacher suffices: arXiv 2509.24317), between the consensus's directions. The
prediction is the network's latent connectivity of the window between the same directions, each
coordinate by one slope and one level: a head with weights between coordinates would learn the
people by heart. The loss is a function of one person and the weights.

Shapes: B batch, R ROIs, T frames, p patch length, W = T / p time patches, N = R * W tokens,
C coordinates.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from brainjepa_core.models.interface import BrainModel
from brainjepa_core.models.parts.latent import latent_fisher_z
from brainjepa_core.models.person_jepa.coordinates import (
    coordinates,
    directions_of,
    units_of,
)
from brainjepa_core.models.person_jepa.encoder import PersonEncoder
from brainjepa_core.models.person_jepa.settings import PersonJepaSettings
from brainjepa_core.models.roles import Roles

SLOPE = 0.5  # that training begins at: of what a window shows, about half is the moment


class Shrinkage(nn.Module):
    """A slope and a level for each coordinate, ``slope * x + level``."""

    def __init__(self, coordinates: int) -> None:
        super().__init__()
        self.slope = nn.Parameter(torch.full((coordinates,), SLOPE))
        self.level = nn.Parameter(torch.zeros(coordinates))

    def forward(self, x: Tensor) -> Tensor:
        """Map coordinates [B, C] of a window to those of the rest."""
        out: Tensor = self.slope * x + self.level
        return out


class PersonJEPA(BrainModel):
    """An encoder whose latent connectivity of a window tells that of the rest.

    Parameters
    ----------
    settings : PersonJepaSettings
    basis : Tensor [R, m]
        As in `BrainModel`; its directions are those that connectivity is predicted between.
    """

    roles = Roles(
        (
            "encoder.evenness.",
            "encoder.patch.",
            "encoder.positions.",
            "encoder.blocks.",
            "head.",
        ),
        {},
        embedding=("encoder.",),
    )
    settings: PersonJepaSettings

    def __init__(self, settings: PersonJepaSettings, basis: Tensor) -> None:
        super().__init__(settings, basis)
        self.encoder = PersonEncoder(settings)
        self.encoder.norm.requires_grad_(False)  # connectivity is read before it
        directions = min(settings.directions, settings.components + 1, settings.rois)
        self.head = Shrinkage(directions * (directions + 1) // 2)

    @property
    def embedder(self) -> PersonEncoder:
        """The encoder."""
        return self.encoder

    def latent_fisher_z(self, x: Tensor, token_valid: Tensor | None = None) -> Tensor:
        """Fisher z [B, R, R] of windows' latent connectivity, with gradients.

        Of tokens less the answer to a window in which every ROI stays at its mean, as
        `evaluation.readout.latent` reads them.

        Parameters
        ----------
        x : Tensor [B, R, T]
        token_valid : Tensor [B, N], optional
            bool; False for tokens without a signal, which count nothing.
        """
        patches, basis = self.patches(x), self.basis_of(len(x))
        return latent_fisher_z(self.encoder, patches, basis, self.settings.rois, token_valid)

    def sample_losses(self, x: Tensor, rest: Tensor, token_valid: Tensor | None = None) -> Tensor:
        """Squared error of the rest's coordinates, in units of what each varies by.

        Parameters
        ----------
        x : Tensor [B, R, T]
        rest : Tensor [B, R, R]
            Fisher z of the rest of each person's scans (`Windows.rest`); NaN where unknown. A pair
            that either side lacks counts as uncorrelated on both.
        token_valid : Tensor [B, N], optional
            bool; False for tokens without a signal.

        Returns
        -------
        Tensor [B]
            The mean over coordinates, a function of one person and the weights.
        """
        told = ~torch.isnan(rest)
        if token_valid is not None:
            there = token_valid.unflatten(1, (self.settings.rois, -1)).any(-1)
            told = told & there[:, :, None] & there[:, None, :]
        seen = self.latent_fisher_z(x, token_valid)
        with torch.autocast(x.device.type, enabled=False):
            directions = directions_of(self.basis, self.settings.directions)
            target = torch.where(told, rest, 0).to(seen.dtype)
            predicted = self.head(coordinates(torch.where(told, seen, 0), directions))
            error = (predicted - coordinates(target, directions)) / units_of(target, directions)
            losses: Tensor = error.square().mean(1)
        return losses
