"""Encoder and decoder of a BrainLM: post-norm blocks over patches, placed by time and coordinates.

Shapes: B batch, R ROIs, p patch length, W time patches, N = R * W tokens (index = roi * W + time
patch), n of them, m columns of the basis, D width, H heads.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from brainjepa_core.models.brainlm.settings import BrainLmSettings
from brainjepa_core.models.parts.positions import interleaved_table
from brainjepa_core.models.parts.post_norm import PostNormBlock
from brainjepa_core.models.parts.transformer import Attention, initialise, take_tokens, valid_of

EPS = 1e-12
NEIGHBOURS = 65  # tokens that the convolution spans
SLOPE = 0.1  # of the decoder's last activation below 0


class ConvolvedAttention(Attention):
    """Attention, and beside it a convolution of each head's values over tokens in their order.

    What the published network, a Nystromformer by name, computes: it has as many landmarks as
    tokens of a segment, for which its attention is not an approximation.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__(width, heads)
        self.neighbours = nn.Conv2d(
            heads, heads, (NEIGHBOURS, 1), padding=(NEIGHBOURS // 2, 0), groups=heads, bias=False
        )

    def forward(
        self, x: Tensor, key_valid: Tensor | None = None, query_index: Tensor | None = None
    ) -> Tensor:
        """Map [B, n, D] to as many; tokens that are not valid are no neighbours either."""
        q, k, v = self.queries_keys_values(x)
        if key_valid is not None:
            v = torch.where(key_valid[:, None, :, None], v, 0)
        mixed = self.kernel(q, k, v, key_valid) + self.neighbours(v)
        out: Tensor = self.proj(mixed.transpose(1, 2).reshape(x.shape))
        return out


class Places(nn.Module):
    """Where tokens are: a linear map of the basis, and sines and cosines of the time patch."""

    time_table: Tensor

    def __init__(self, settings: BrainLmSettings, width: int) -> None:
        super().__init__()
        self.even = settings.even_basis
        self.projection = nn.Linear(settings.components, width)
        table = interleaved_table(settings.time_patches, width)
        self.register_buffer("time_table", table, persistent=False)

    def forward(self, basis: Tensor) -> Tensor:
        """Places [B, N, D] of all tokens, of a basis [B, R, m] a sample."""
        if self.even:
            basis = basis * basis.square().mean((-2, -1), keepdim=True).clamp_min(1e-12).rsqrt()
        grid: Tensor = self.projection(basis)[:, :, None] + self.time_table
        return grid.flatten(1, 2)


class BrainLmEncoder(nn.Module):
    """Patches to tokens, with a class token before them that has no place."""

    def __init__(self, settings: BrainLmSettings) -> None:
        super().__init__()
        s = settings
        self.patch = nn.Linear(s.patch, s.width)
        self.places = Places(s, s.width)
        self.class_token = nn.Embedding(1, s.width)
        self.blocks = blocks(s.width, s.depth, s.heads, s)
        self.norm = nn.LayerNorm(s.width, eps=EPS)
        self.apply(initialise)

    def states(
        self,
        patches: Tensor,
        basis: Tensor,
        index: Tensor | None = None,
        valid: Tensor | None = None,
    ) -> Tensor:
        """States [B, 1 + n, D] before the last norm, the class token's first.

        Parameters
        ----------
        patches : Tensor [B, N, p]
        basis : Tensor [B, R, m]
        index : Tensor [B, n], optional
            int64 tokens that are seen, in this order; all by default.
        valid : Tensor [B, n], optional
            bool; False for those that are not there.
        """
        x: Tensor = self.patch(patches) + self.places(basis)
        if index is not None:
            x = take_tokens(x, index)
        first = torch.zeros_like(x[:, :1, 0], dtype=torch.int64)
        x = torch.cat([self.class_token(first), x], dim=1)
        known = _with_class(valid)
        for block in self.blocks:
            x = block(x, known)
        return x

    def latents(self, patches: Tensor, basis: Tensor, index: Tensor | None = None) -> Tensor:
        """Tokens [B, n, D] before the last norm, at `index` [B, n], the only ones that are seen."""
        tokens = self.states(patches, basis, valid=valid_of(index, patches.shape[1]))[:, 1:]
        return tokens if index is None else take_tokens(tokens, index)

    def forward(self, patches: Tensor, basis: Tensor, valid: Tensor | None = None) -> Tensor:
        """Tokens [B, N, D] of all patches, without the class token."""
        out: Tensor = self.norm(self.states(patches, basis, valid=valid))[:, 1:]
        return out


class BrainLmDecoder(nn.Module):
    """Tokens that were seen, and a mask token for the others, to the signal of all."""

    def __init__(self, settings: BrainLmSettings) -> None:
        super().__init__()
        s = settings
        width = s.decoder_width
        self.embed = nn.Linear(s.width, width)
        self.mask_token = nn.Embedding(1, width)
        self.places = Places(s, width)
        self.blocks = blocks(width, s.decoder_depth, s.decoder_heads, s)
        self.norm = nn.LayerNorm(width, eps=EPS)
        self.fc1 = nn.Linear(width, width // 2)
        self.fc2 = nn.Linear(width // 2, s.patch)
        self.apply(initialise)

    def forward(
        self,
        tokens: Tensor,
        basis: Tensor,
        index: Tensor,
        index_valid: Tensor | None = None,
        token_valid: Tensor | None = None,
    ) -> Tensor:
        """Signal [B, N, p] of all patches in their natural order.

        Parameters
        ----------
        tokens : Tensor [B, 1 + n, D]
            Of the encoder, class token first.
        basis : Tensor [B, R, m]
        index, index_valid : Tensor [B, n]
            Which patches the tokens are of; False for padding.
        token_valid : Tensor [B, N], optional
            bool; False for patches without a signal, which nothing attends to.
        """
        places, seen = self.places(basis), self.embed(tokens)
        count = places.shape[1]
        if index_valid is not None:  # padding goes to a place of its own, which is left out
            index = torch.where(index_valid, index, count)
        blank = torch.zeros_like(places[:, :1, 0], dtype=torch.int64)
        grid = self.mask_token(blank).expand(-1, count + 1, -1)
        tokens = seen[:, 1:].to(grid.dtype)  # which autocast may have made narrow
        grid = grid.scatter(1, index[..., None].expand(-1, -1, seen.shape[-1]), tokens)
        x = torch.cat([seen[:, :1], grid[:, :count] + places], dim=1)
        known = _with_class(token_valid)
        for block in self.blocks:
            x = block(x, known)
        out: Tensor = self.fc2(F.leaky_relu(self.fc1(self.norm(x[:, 1:])), SLOPE))
        return out


def blocks(width: int, depth: int, heads: int, settings: BrainLmSettings) -> nn.ModuleList:
    """Blocks of attention, with a convolution beside it where settings ask for one."""
    kind = ConvolvedAttention if settings.convolution else Attention
    inner = int(width * settings.mlp_ratio)
    return nn.ModuleList(
        PostNormBlock(width, inner, kind(width, heads), F.gelu, EPS) for _ in range(depth)
    )


def _with_class(valid: Tensor | None) -> Tensor | None:
    """Validity [B, 1 + n] with a class token before, which is always there."""
    return None if valid is None else F.pad(valid, (1, 0), value=True)
