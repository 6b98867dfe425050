"""A SwiFT as a network of ROIs: each is told by the place of the last stage that it lies in.

Shapes: n windows, T frames, X, Y, Z voxels, R ROIs, W = T / p time patches, N = R * W tokens, C
features.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from brainjepa_core.models.parts.transformer import take_tokens, valid_of
from brainjepa_core.models.swift.network import Swift
from brainjepa_core.models.swift.settings import SwiftSettings
from brainjepa_core.volume_grid import VolumeGrid


class SwiftEncoder(nn.Module):
    """A SwiFT, and which of its places each ROI lies in."""

    def __init__(self, settings: SwiftSettings) -> None:
        super().__init__()
        self.settings = settings
        self.network = Swift(settings)

    def features(self, x: Tensor, valid: Tensor | None = None) -> Tensor:
        """Mean features [n, C] of windows [n, T, X, Y, Z] over places, and frames that are there.

        Parameters
        ----------
        x : Tensor [n, T, X, Y, Z]
        valid : Tensor [n, N], optional
            bool.
        """
        return self.network.pooled(x.movedim(1, -1), self._frames(valid))

    def forward(self, x: Tensor, basis: Tensor, valid: Tensor | None = None) -> Tensor:
        """Tokens [n, N, C] of windows [n, T, X, Y, Z]: of each ROI its place at each time.

        Parameters
        ----------
        x : Tensor [n, T, X, Y, Z]
        basis : Tensor [n, R, 3]
            Centres of the ROIs in mm of MNI space.
        valid : Tensor [n, N], optional
            bool; frames in which no token is valid are not attended to.
        """
        s = self.settings
        found = self.network(x.movedim(1, -1), self._frames(valid)).flatten(1, 3)
        of_rois = take_tokens(found.flatten(2), self.places(basis))
        frames = of_rois.reshape(len(x), s.rois, s.time_patches, s.patch, s.features)
        return frames.mean(3).flatten(1, 2)

    def latents(self, x: Tensor, basis: Tensor, index: Tensor | None = None) -> Tensor:
        """Tokens [n, k, C] at `index` [n, k], the only ones that are there; all by default."""
        tokens = self(x, basis, valid_of(index, self.settings.tokens))
        return tokens if index is None else take_tokens(tokens, index)

    def places(self, basis: Tensor) -> Tensor:
        """Number of each ROI's place [n, R] in the grid of the last stage, by its centre in mm."""
        s = self.settings
        stage = len(s.depths) - 1
        grid, wide = s.grid_of(stage), s.cube * 2**stage
        centres = basis.detach().cpu().numpy().reshape(-1, 3)
        voxels = VolumeGrid(s.volume, s.mm).places(centres) + 0.5  # from their middles
        place = np.floor(voxels / wide).astype(int).clip(0, np.array(grid) - 1)
        numbers = np.ravel_multi_index(place.T, grid).reshape(basis.shape[:2])
        return torch.from_numpy(numbers).to(basis.device)

    def _frames(self, valid: Tensor | None) -> Tensor | None:
        """Frames [n, T] in which a token [n, N] is valid."""
        if valid is None:
            return None
        s = self.settings
        there = valid.reshape(len(valid), s.rois, s.time_patches).any(1)
        return there.repeat_interleave(s.patch, 1)
