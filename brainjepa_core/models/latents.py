"""Tokens before a network's last norm, with gradients.

Shapes: B windows, n of N tokens, p patch length, R ROIs, m columns of the basis, D width.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from brainjepa_core.models.parts.transformer import take_tokens, valid_of


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
    tokens: Tensor = embedder(patches, basis, valid=valid_of(index, patches.shape[1]))
    return tokens if index is None else take_tokens(tokens, index)
