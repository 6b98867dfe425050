"""Tokens before a network's last norm, with gradients.

Shapes: B windows, n of N tokens, p patch length, R ROIs, m columns of the basis, D width.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


def latents_of(
    embedder: nn.Module, patches: Tensor, basis: Tensor, index: Tensor | None = None
) -> Tensor:
    """`BrainModel.latents` [B, n, D] of patches [B, N, p] by a `BrainModel.embedder`.

    `basis` is [B, R, m], `index` [B, n] the tokens that are there, all by default.
    """
    read: Any = getattr(embedder, "latents", None)
    if read is not None:
        found: Tensor = read(patches, basis, index)
        return found
    if index is None:
        whole: Tensor = embedder(patches, basis, valid=None)
        return whole
    valid = torch.zeros(patches.shape[:2], dtype=torch.bool, device=patches.device)
    tokens: Tensor = embedder(patches, basis, valid=valid.scatter(1, index, True))
    return tokens.gather(1, index[..., None].expand(-1, -1, tokens.shape[-1]))
