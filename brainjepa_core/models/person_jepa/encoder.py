"""The encoder of a person JEPA: that of a Brain-JEPA, behind moments that count alike.

A correlation counts a frame by the square of its amplitude, so that a few moments in which the
whole brain is loud (motion, breath) decide what a short window shows. How much they are evened out
is learned, from not at all: at the start the network's connectivity is that of the signals.

Shapes: B batch, R ROIs, p patch length, W time patches, N = R * W tokens.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from brainjepa_core.models.parts.encoder import Encoder
from brainjepa_core.models.person_jepa.settings import PersonJepaSettings

QUIET = 1e-3  # of a mean square: what is added to it, so that a silent window stays silent


class Evenness(nn.Module):
    """Divides each frame by its amplitude over the brain, to a learned power.

    Parameters
    ----------
    time_patches : int
        W.
    """

    def __init__(self, time_patches: int) -> None:
        super().__init__()
        self.time_patches = time_patches
        self.power = nn.Parameter(torch.zeros(1))

    def forward(self, patches: Tensor) -> Tensor:
        """Patches [B, N, p] with every frame over (mean square over ROIs / window's) ^ (power / 2).

        The window as a whole keeps its scale, which no correlation depends on.
        """
        frames = patches.unflatten(1, (-1, self.time_patches))
        energy = frames.square().mean(1, keepdim=True) + QUIET  # [B, 1, W, p]
        loudness = energy / energy.mean((2, 3), keepdim=True)
        out: Tensor = (frames * loudness ** (-self.power / 2)).flatten(1, 2)
        return out


class PersonEncoder(Encoder):
    """An `Encoder` of patches whose frames are evened out."""

    def __init__(self, settings: PersonJepaSettings) -> None:
        super().__init__(settings)
        self.evenness = Evenness(settings.time_patches)

    def tokens(self, patches: Tensor, basis: Tensor, index: Tensor | None = None) -> Tensor:
        """Embed patches [B, N, p], all of them given, at `index` (all of them without it)."""
        return super().tokens(self.evenness(patches), basis, index)
