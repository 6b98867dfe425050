"""The network of a CSM: a small GPT-2 whose words are frames of the whole brain.

Shapes: B batch, R ROIs, T frames, n frames of a sequence, p patch length, W = T / p time patches,
N = R * W tokens, D width.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from brainjepa_core.models.csm.settings import CsmSettings
from brainjepa_core.models.parts.transformer import Attention, take_tokens, valid_of

EPS = 1e-5
SPREAD = 0.02  # of weights as they are drawn


class CausalAttention(Attention):
    """Attention of each frame to itself and those before it."""

    def forward(
        self, x: Tensor, key_valid: Tensor | None = None, query_index: Tensor | None = None
    ) -> Tensor:
        """Map [B, n, D] to as many; all frames before one are there, and all are asked for."""
        q, k, v = self.queries_keys_values(x)
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        out: Tensor = self.proj(mixed.transpose(1, 2).reshape(x.shape))
        return out


class CausalBlock(nn.Module):
    """GPT-2's block: x + attention(norm(x)), then x + mlp(norm(x)), with a GELU by its tanh."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=EPS)
        self.attn = CausalAttention(width, heads)
        self.norm2 = nn.LayerNorm(width, eps=EPS)
        self.fc1 = nn.Linear(width, 4 * width)
        self.fc2 = nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, n, D] to as many."""
        x = x + self.attn(self.norm1(x))
        out: Tensor = x + self.fc2(F.gelu(self.fc1(self.norm2(x)), approximate="tanh"))
        return out


class FrameNetwork(nn.Module):
    """Frames to states, each of which has seen the frames before it, and back to frames."""

    time_ids: Tensor

    def __init__(self, settings: CsmSettings) -> None:
        super().__init__()
        s = self.settings = settings
        self.embed = nn.Linear(s.rois, s.width)
        self.norm_of_embedded = nn.LayerNorm(s.width, eps=EPS)
        self.times = nn.Embedding(s.rows_of_time + 1, s.width)  # the last one of the class frame
        self.places = nn.Embedding(s.rows_of_places, s.width)
        blocks = [CausalBlock(s.width, s.heads) for _ in range(s.depth)]
        self.blocks = nn.ModuleList(blocks)
        self.norm = nn.LayerNorm(s.width, eps=EPS)
        self.unembed = nn.Linear(s.width, s.rois)
        self.class_frame = nn.Embedding(1, s.rois)
        self.pooler = nn.Linear(s.width, s.width)
        ids = torch.tensor([s.time_of(frame) for frame in range(s.frames)])
        self.register_buffer("time_ids", ids, persistent=False)
        self.apply(_draw)
        for block in blocks:  # as GPT-2 does, so that depth does not make states grow
            for last in (block.attn.proj, block.fc2):
                nn.init.normal_(last.weight, std=SPREAD / math.sqrt(2 * s.depth))

    def states(self, frames: Tensor, times: Tensor | None = None) -> Tensor:
        """States [B, n, D] of frames [B, n, R], at rows `times` [B, n] of the table of times.

        By default those of frames one after another, from the first on.
        """
        count = frames.shape[1]
        rows = self.time_ids[:count].expand(frames.shape[0], -1) if times is None else times
        places = torch.arange(count, device=frames.device).expand(frames.shape[0], -1)
        x = self.norm_of_embedded(self.embed(frames)) + self.times(rows) + self.places(places)
        for block in self.blocks:
            x = block(x)
        out: Tensor = self.norm(x)
        return out

    def pooled(self, frames: Tensor, lengths: Tensor) -> Tensor:
        """Pooled state [B, D] of a class frame after the last of frames [B, n, R].

        Parameters
        ----------
        frames : Tensor [B, n, R]
        lengths : Tensor [B]
            int64, of each sequence; what is after that is not read.
        """
        x = F.pad(frames, (0, 0, 0, 1))
        place = torch.arange(x.shape[1], device=x.device)
        at_end = place == lengths[:, None]
        own = self.class_frame(torch.zeros_like(lengths))[:, None]
        rows = F.pad(self.time_ids[: frames.shape[1]], (0, 1)).expand(x.shape[0], -1)
        rows = torch.where(at_end, self.settings.rows_of_time, rows)
        states = self.states(torch.where(at_end[..., None], own, x), rows)
        last = take_tokens(states, lengths[:, None])[:, 0]
        return torch.tanh(self.pooler(last))

    def latents(self, patches: Tensor, basis: Tensor, index: Tensor | None = None) -> Tensor:
        """Signals [B, N, p] that states stand for, at the tokens `index` [B, n].

        A state is of all ROIs; what it says of one is its signal.
        """
        valid = valid_of(index, patches.shape[1])
        back = self.unembed(self.states(frames_of(patches, self.settings, valid)))
        tokens = back.mT.reshape(patches.shape)
        return tokens if index is None else take_tokens(tokens, index)

    def forward(self, patches: Tensor, basis: Tensor, valid: Tensor | None = None) -> Tensor:
        """Tokens [B, N, D] of patches [B, N, p]: states of time patches, the same for all ROIs.

        `basis` is not read.
        """
        s = self.settings
        frames = frames_of(patches, s, valid)
        if s.readout == "class":
            told = self.pooled(frames, lengths_of(patches, s, valid))[:, None]
        else:
            told = self.states(frames).unflatten(1, (-1, s.patch)).mean(2)
        whole = told[:, None].expand(-1, s.rois, s.time_patches, -1)
        return whole.reshape(patches.shape[0], s.tokens, s.width)


def frames_of(patches: Tensor, settings: CsmSettings, valid: Tensor | None) -> Tensor:
    """Frames [B, T, R] of patches [B, N, p]; 0 where `valid` [B, N] says that nothing is known."""
    known = patches if valid is None else torch.where(valid[..., None], patches, 0)
    return known.reshape(patches.shape[0], settings.rois, -1).mT


def lengths_of(patches: Tensor, settings: CsmSettings, valid: Tensor | None) -> Tensor:
    """Frames [B] up to the last one of which anything is known."""
    count = torch.arange(1, settings.time_patches + 1, device=patches.device) * settings.patch
    if valid is None:
        return count[-1:].expand(patches.shape[0])
    seen = valid.reshape(patches.shape[0], settings.rois, -1).any(1)
    return torch.where(seen, count, 0).amax(1)


def _draw(module: nn.Module) -> None:
    if isinstance(module, nn.Linear | nn.Embedding):
        nn.init.normal_(module.weight, std=SPREAD)
    if isinstance(module, nn.Linear):
        nn.init.zeros_(module.bias)
