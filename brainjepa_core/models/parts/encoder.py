"""An encoder of patches, and a predictor of what is masked from the encoder's tokens.

Shapes: B batch, R ROIs, p patch length, W time patches, N = R * W tokens (index = roi * W + time
patch), Nc context and Nt target tokens, D width. Leading axes between B and the tokens are free
(masks of a sample).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from brainjepa_core.models.parts.positions import Positions
from brainjepa_core.models.parts.settings import EncoderSettings, TransformerSettings
from brainjepa_core.models.parts.transformer import (
    LAYER_NORM_EPS,
    Blocks,
    add_nothing,
    initialise,
    keep_signal,
    take_tokens,
)


def _positions(settings: EncoderSettings, width: int) -> Positions:
    return Positions(
        width,
        settings.time_patches,
        settings.rois,
        0 if settings.positions == "sincos" else settings.components,
        settings.position_scaling,
        settings.position_scale,
    )


class Encoder(nn.Module):
    """Patches of activity to tokens: linear patch embedding, positions, blocks, LayerNorm."""

    def __init__(self, settings: EncoderSettings) -> None:
        super().__init__()
        # The published convolution with kernel and stride (1, p) is this linear map.
        self.patch = nn.Linear(settings.patch, settings.width)
        self.positions = _positions(settings, settings.width)
        self.blocks = Blocks(settings.depth, settings.width, settings.heads, settings.mlp_ratio)
        self.norm = nn.LayerNorm(settings.width, eps=LAYER_NORM_EPS)
        self.apply(initialise)
        if settings.start == "connectivity":
            keep_signal(self.patch)
            self.blocks.apply(add_nothing)

    def tokens(self, patches: Tensor, basis: Tensor, index: Tensor | None = None) -> Tensor:
        """Embed patches [B, N, p] at `index` [B, ..., Nc] (all of them without it)."""
        if index is not None:
            patches = patches.reshape(len(patches), *[1] * (index.dim() - 2), *patches.shape[1:])
            patches = take_tokens(patches.expand(*index.shape[:-1], -1, -1), index)
        out: Tensor = self.patch(patches) + self.positions(basis, index)
        return out

    def latents(
        self,
        patches: Tensor,
        basis: Tensor,
        index: Tensor | None = None,
        valid: Tensor | None = None,
        query_index: Tensor | None = None,
    ) -> Tensor:
        """What the blocks make of the tokens at `index`, before the last norm."""
        out: Tensor = self.blocks(self.tokens(patches, basis, index), valid, query_index)
        return out

    def forward(
        self,
        patches: Tensor,
        basis: Tensor,
        index: Tensor | None = None,
        valid: Tensor | None = None,
        query_index: Tensor | None = None,
    ) -> Tensor:
        """Encode the tokens at `index`; only those at `query_index` where that is given."""
        out: Tensor = self.norm(self.latents(patches, basis, index, valid, query_index))
        return out


class Predictor(nn.Module):
    """Context tokens and target positions to what is at the targets.

    Parameters
    ----------
    settings : TransformerSettings
    outputs : int
        Numbers a target: the width of a latent, or the frames of a patch.
    """

    def __init__(self, settings: TransformerSettings, outputs: int) -> None:
        super().__init__()
        width = settings.predictor_width
        self.embed = nn.Linear(settings.width, width)
        # One learned vector. An embedding of one entry is a leaf that per-sample gradient hooks
        # know, which a bare parameter is not.
        self.mask_token = nn.Embedding(1, width)
        self.positions = _positions(settings, width)
        self.blocks = Blocks(
            settings.predictor_depth, width, settings.predictor_heads, settings.mlp_ratio
        )
        self.norm = nn.LayerNorm(width, eps=LAYER_NORM_EPS)
        self.head = nn.Linear(width, outputs)
        self.apply(initialise)

    def forward(
        self,
        context: Tensor,
        basis: Tensor,
        context_index: Tensor,
        target_index: Tensor,
        context_valid: Tensor | None = None,
        target_valid: Tensor | None = None,
    ) -> Tensor:
        """Predict [B, ..., Nt, outputs] from the context [B, ..., Nc, D]."""
        positions = self.positions(basis, torch.cat([context_index, target_index], dim=-1))
        n_context = context_index.shape[-1]
        masks = self.mask_token(torch.zeros_like(target_index))
        x = torch.cat([self.embed(context), masks], dim=-2) + positions
        valid = _join_valid(context_index, target_index, context_valid, target_valid)
        targets = n_context + torch.arange(target_index.shape[-1], device=x.device)
        x = self.blocks(x, valid, targets.expand(target_index.shape))
        out: Tensor = self.head(self.norm(x))
        return out


def _join_valid(
    context_index: Tensor,
    target_index: Tensor,
    context_valid: Tensor | None,
    target_valid: Tensor | None,
) -> Tensor | None:
    if context_valid is None and target_valid is None:
        return None
    parts = [
        torch.ones_like(index, dtype=torch.bool) if valid is None else valid
        for index, valid in ((context_index, context_valid), (target_index, target_valid))
    ]
    return torch.cat(parts, dim=-1)
