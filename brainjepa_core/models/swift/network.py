"""SwiFT: a Swin transformer over volumes in time (Kim et al., NeurIPS 2023, arXiv 2307.05916).

Decided where the paper and its code (Apache-2.0) differ: there is no relative position bias, as in
the code; each stage adds learned positions in space and in time. A norm that the code keeps after
the last stage and never uses is not there.

Shapes: B samples, X Y Z voxels, T frames, C channels.
"""

from __future__ import annotations

from itertools import product
from math import prod

import torch
from torch import Tensor, nn

from brainjepa_core.models.swift.attention import Axes, SwinBlock
from brainjepa_core.models.swift.settings import SwiftSettings

SPREAD = 0.02  # of positions (published)


class Positions(nn.Module):
    """Learned vectors of places and of times."""

    def __init__(self, channels: int, grid: tuple[int, ...], frames: int) -> None:
        super().__init__()
        self.places = nn.Parameter(torch.empty(*grid, 1, channels))
        self.times = nn.Parameter(torch.empty(frames, channels))
        for table in (self.places, self.times):
            nn.init.trunc_normal_(table, std=SPREAD)

    def forward(self, x: Tensor) -> Tensor:
        """Add them to tokens [B, X, Y, Z, T, C]."""
        out: Tensor = x + self.places + self.times
        return out


class Merging(nn.Module):
    """Eight neighbours in space become one token of twice the channels; frames stay."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(8 * channels)
        self.reduction = nn.Linear(8 * channels, 2 * channels, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map tokens [B, X, Y, Z, T, C] to [B, X/2, Y/2, Z/2, T, 2 C]."""
        parts = [x[:, i::2, j::2, k::2] for i, j, k in product((0, 1), repeat=3)]
        out: Tensor = self.reduction(self.norm(torch.cat(parts, -1)))
        return out


class Stage(nn.Module):
    """Positions, blocks of attention within windows, and merging but for the last stage."""

    def __init__(self, settings: SwiftSettings, number: int) -> None:
        super().__init__()
        s, last = settings, number == len(settings.depths) - 1
        channels, grid = s.width * 2**number, s.grid_of(number)
        self.positions = Positions(channels, grid, s.frames)
        window: Axes = (*grid, s.window) if last else (s.window,) * 4
        moved: Axes = (s.window // 2,) * 4
        still: Axes = (0,) * 4
        self.blocks = nn.ModuleList(
            SwinBlock(
                channels,
                s.heads[number],
                window,
                still if last or not block % 2 else moved,
                s.hear_padding,
            )
            for block in range(s.depths[number])
        )
        self.merging = None if last else Merging(channels)

    def forward(self, x: Tensor, valid: Tensor | None) -> Tensor:
        x = self.positions(x)
        for block in self.blocks:
            x = block(x, valid)
        return x if self.merging is None else self.merging(x)


class Swift(nn.Module):
    """Volumes in time to features of coarse places and frames.

    Parameters
    ----------
    settings : SwiftSettings
    """

    def __init__(self, settings: SwiftSettings) -> None:
        super().__init__()
        self.settings = settings
        self.patch = nn.Linear(settings.cube**3, settings.width)
        self.stages = nn.ModuleList(Stage(settings, n) for n in range(len(settings.depths)))

    def forward(self, x: Tensor, valid: Tensor | None = None) -> Tensor:
        """Features [B, X', Y', Z', T, C'] of volumes [B, X, Y, Z, T].

        Parameters
        ----------
        x : Tensor
            Whole volumes z-scored within the brain, the background at its smallest z.
        valid : Tensor [B, T], optional
            bool; frames that are there.

        Raises
        ------
        ValueError
            If the volumes are of another size than the settings say.
        """
        s = self.settings
        if x.dim() != 5 or tuple(x.shape[1:]) != (*s.volume, s.frames):
            raise ValueError(
                f"expected volumes of shape [batch, {', '.join(map(str, s.volume))}, {s.frames} "
                f"frames], found {list(x.shape)}; crop or fill volumes to the model's size"
            )
        for axis in (1, 3, 5):
            x = x.unflatten(axis, (-1, s.cube))
        tokens: Tensor = self.patch(x.permute(0, 1, 3, 5, 7, 2, 4, 6).flatten(5))
        for stage in self.stages:
            tokens = stage(tokens, valid)
        return tokens

    def pooled(self, x: Tensor, valid: Tensor | None = None) -> Tensor:
        """Mean features [B, C'] over places and frames that are there."""
        tokens: Tensor = self(x, valid)
        if valid is None:
            return tokens.mean((1, 2, 3, 4))
        weight = valid[:, None, None, None, :, None].to(tokens)
        places = prod(tokens.shape[1:4])
        total: Tensor = (tokens * weight).sum((1, 2, 3, 4))
        return total / (weight.sum((1, 2, 3, 4)) * places)


class SwiftPredictor(nn.Module):
    """A SwiFT and a linear map of its mean feature: a value, or logits of classes."""

    def __init__(self, settings: SwiftSettings, outputs: int) -> None:
        super().__init__()
        self.encoder = Swift(settings)
        self.head = nn.Linear(settings.features, outputs)

    def forward(self, x: Tensor, valid: Tensor | None = None) -> Tensor:
        """Outputs [B, O] of volumes [B, X, Y, Z, T]."""
        out: Tensor = self.head(self.encoder.pooled(x, valid))
        return out
