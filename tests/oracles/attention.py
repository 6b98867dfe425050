"""Attention of every token to every other in full, by the published formula."""

from __future__ import annotations

import torch
from torch import Tensor

from brainjepa_core.models.interface import BrainModel


@torch.no_grad()
def attention_maps(
    model: BrainModel, x: Tensor, layer: int, token_valid: Tensor | None = None
) -> Tensor:
    """Attention [B, H, N, N] of one block of a model's embedder; rows sum to one."""
    encoder = model.embedder
    tokens = encoder.tokens(model.patches(x), model.basis_of(len(x)))
    for block in list(encoder.blocks)[:layer]:
        tokens = block(tokens, token_valid)
    block = encoder.blocks[layer]
    q, k, _ = block.attn.queries_keys_values(block.norm1(tokens))
    scores = (q @ k.transpose(-2, -1)) * q.shape[-1] ** -0.5
    if token_valid is not None:
        scores = scores.masked_fill(~token_valid[:, None, None], float("-inf"))
    return scores.softmax(-1)
