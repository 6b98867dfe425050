"""The encoder of a person JEPA: that of a Brain-JEPA, behind signals that are evened out.

A correlation counts what it sees by the square of its amplitude, so that a few slow waves, and a
few moments in which the whole brain is loud (motion, breath), decide what a short window shows. How
much frequencies and frames are evened out are two numbers that are learned, from not at all: at the
start the network's connectivity is that of the signals. Either amplitude is that over the whole
brain, so that what regions do together in a band, or at a moment, stays.

Shapes: B batch, R ROIs, T frames, F = T // 2 + 1 frequencies, p patch length, N = R * T / p tokens.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from brainjepa_core.models.parts.encoder import Encoder
from brainjepa_core.models.person_jepa.settings import PersonJepaSettings

QUIET = 1e-2  # of the mean power: what is added to each, so that silence is not blown up
NOTHING = 1e-12  # power of a window without a signal


class Evenness(nn.Module):
    """Divides each frequency, then each frame, by its amplitude over the brain to a learned power.

    Parameters
    ----------
    rois : int
        R.
    """

    def __init__(self, rois: int) -> None:
        super().__init__()
        self.rois = rois
        self.frequencies = nn.Parameter(torch.zeros(1))
        self.frames = nn.Parameter(torch.zeros(1))

    def forward(self, patches: Tensor) -> Tensor:
        """Patches [B, N, p] of windows whose frequencies and frames are nearer to one amplitude.

        A window keeps its scale as a whole, which no correlation depends on.
        """
        x = patches.reshape(patches.shape[0], self.rois, -1)
        spectrum = torch.fft.rfft(x)  # [B, R, F]
        power = spectrum.real.square() + spectrum.imag.square()
        spectrum = spectrum * loudness(power) ** (-self.frequencies / 2)
        x = torch.fft.irfft(spectrum, n=x.shape[-1])
        out: Tensor = x * loudness(x.square()) ** (-self.frames / 2)
        return out.reshape(patches.shape)


def loudness(power: Tensor) -> Tensor:
    """Power [B, R, K] over the brain, relative to its mean: [B, 1, K]."""
    over_brain = power.mean(1, keepdim=True) + NOTHING
    mean = over_brain.mean(2, keepdim=True)
    return (over_brain + QUIET * mean) / mean


class PersonEncoder(Encoder):
    """An `Encoder` of patches whose frequencies and frames are evened out."""

    def __init__(self, settings: PersonJepaSettings) -> None:
        super().__init__(settings)
        self.evenness = Evenness(settings.rois)

    def tokens(self, patches: Tensor, basis: Tensor, index: Tensor | None = None) -> Tensor:
        """Embed patches [B, N, p], all of them given, at `index` (all of them without it)."""
        return super().tokens(self.evenness(patches), basis, index)
