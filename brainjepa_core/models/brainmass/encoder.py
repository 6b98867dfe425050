"""The network of a BrainMass: post-norm blocks over rows of connectivity, then few numbers an ROI.

Shapes: B batch, R ROIs, T frames, W time patches, N = R * W tokens, p patch length, Q numbers an
ROI is told by.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from brainjepa_core.models.brainmass.settings import BrainMassSettings
from brainjepa_core.models.parts.connectivity import shrunk_correlation, there
from brainjepa_core.models.parts.post_norm import PostNormBlock
from brainjepa_core.models.parts.transformer import Attention, take_tokens, valid_of

EPS = 1e-5  # of torch's norms


class BrainMassEncoder(nn.Module):
    """Connectivity to tokens; an ROI's token is the same at all times of a window."""

    def __init__(self, settings: BrainMassSettings) -> None:
        super().__init__()
        self.rois = settings.rois
        self.blocks = nn.ModuleList(
            PostNormBlock(
                self.rois,
                settings.inner,
                Attention(self.rois, settings.heads_of_trunk),
                F.relu,
                EPS,
            )
            for _ in range(settings.depth)
        )
        self.reduction = nn.Linear(self.rois, settings.reduced)

    def trunk(self, rows: Tensor, valid: Tensor | None = None) -> Tensor:
        """Map rows [B, n, R] to as many; nothing attends to those that `valid` [B, n] leaves out.

        Neither positions nor a class token are added: a row tells which ROI it is of.
        """
        for block in self.blocks:
            rows = block(rows, valid)
        return rows

    def features(self, rows: Tensor, valid: Tensor | None = None) -> Tensor:
        """What ROIs are told by [B, R, Q], of connectivity [B, R, R]; 0 of those not there."""
        told = F.leaky_relu(self.reduction(self.trunk(rows, valid)))
        return told if valid is None else told * valid[..., None]

    def latents(self, patches: Tensor, basis: Tensor, index: Tensor | None = None) -> Tensor:
        """Rows [B, n, R] that the trunk makes of the ROIs, at the tokens `index` [B, n].

        Before the reduction, by whose few numbers ROIs could hardly be compared.
        """
        rows, known = self._rows(patches, valid_of(index, patches.shape[1]))
        tokens = self._at_all_times(self.trunk(rows, known), patches)
        return tokens if index is None else take_tokens(tokens, index)

    def forward(self, patches: Tensor, basis: Tensor, valid: Tensor | None = None) -> Tensor:
        """Tokens [B, N, Q] of patches [B, N, p]; `basis` is not read."""
        return self._at_all_times(self.features(*self._rows(patches, valid)), patches)

    def _rows(self, patches: Tensor, valid: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Connectivity [B, R, R] of the whole window, and which ROIs are there [B, R]."""
        x = patches.reshape(patches.shape[0], self.rois, -1)
        frames, rois = there(x, valid)
        return shrunk_correlation(x, frames, rois), None if valid is None else rois

    def _at_all_times(self, rows: Tensor, patches: Tensor) -> Tensor:
        """Repeat each of [B, R, D] for the time patches of its ROI: [B, N, D]."""
        return rows.repeat_interleave(patches.shape[1] // self.rois, dim=1)
