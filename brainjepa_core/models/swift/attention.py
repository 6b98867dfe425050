"""Attention within windows of space and time, shifted in every second block.

Shapes: B samples, axes X Y Z T of a grid of tokens, C channels, n windows, w tokens of a window.
"""

from __future__ import annotations

from math import prod

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Axes = tuple[int, int, int, int]
APART = -100.0  # what attention between tokens that a shift has brought together is lowered by
NEVER = -1e9  # the same of what is not there


class WindowAttention(nn.Module):
    """Multi-head attention among the tokens of a window, without positions.

    Parameters
    ----------
    channels, heads : int
    """

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(channels, 3 * channels)
        self.proj = nn.Linear(channels, channels)

    def forward(self, x: Tensor, bias: Tensor | None) -> Tensor:
        """Map windows [B n, w, C]; `bias` [B n or n, w, w] is added to what softmax sees."""
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).movedim(-3, 0).transpose(-3, -2)
        mask = None
        if bias is not None:
            mask = bias.repeat(len(x) // len(bias), 1, 1)[:, None].to(q.dtype)
        heard = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        out: Tensor = self.proj(heard.transpose(1, 2).flatten(2))
        return out


class SwinBlock(nn.Module):
    """Attention within windows and an MLP, each behind its norm and beside what came in.

    Parameters
    ----------
    channels, heads : int
    window, shift : (int, int, int, int)
        On the axes X Y Z T. On an axis that is no longer than its window, the window is the axis
        and is not shifted.
    hear_padding : bool
        Tokens that fill windows up count as tokens (published); else nobody attends to them.
    mlp_ratio : float
    """

    def __init__(
        self,
        channels: int,
        heads: int,
        window: Axes,
        shift: Axes,
        hear_padding: bool,
        mlp_ratio: float = 4.0,
    ) -> None:
        super().__init__()
        self.window, self.shift, self.hear_padding = window, shift, hear_padding
        self.norm1, self.norm2 = nn.LayerNorm(channels), nn.LayerNorm(channels)
        self.attn = WindowAttention(channels, heads)
        hidden = int(mlp_ratio * channels)
        self.mlp = nn.Sequential(
            nn.Linear(channels, hidden), nn.GELU(), nn.Linear(hidden, channels)
        )

    def forward(self, x: Tensor, valid: Tensor | None = None) -> Tensor:
        """Map tokens [B, X, Y, Z, T, C]; nobody hears frames that `valid` [B, T] leaves out."""
        x = x + self._attended(self.norm1(x), valid)
        out: Tensor = x + self.mlp(self.norm2(x))
        return out

    def _attended(self, x: Tensor, valid: Tensor | None) -> Tensor:
        grid = x.shape[1:5]
        window, shift = fitting(self.window, self.shift, grid)
        short = [-size % wide for size, wide in zip(grid, window, strict=True)]
        padding = [0, 0, *(pad for size in reversed(short) for pad in (0, size))]
        padded = F.pad(x, padding)
        there = self._there(x, valid, padding)
        back = tuple(-s for s in shift)
        if any(shift):
            padded = padded.roll(back, (1, 2, 3, 4))
        windows = cut(padded, window)
        bias = regions_apart(padded.shape[1:5], window, shift, x.device) if any(shift) else None
        if there is not None:
            gone = cut(there.roll(back, (1, 2, 3, 4)), window)[:, None, :, 0]  # [B n, 1, w]
            lowered = torch.where(gone, 0.0, NEVER)
            bias = lowered.expand(-1, gone.shape[-1], -1) + (
                0.0 if bias is None else bias.repeat(len(x), 1, 1)
            )
        heard = joined(self.attn(windows, bias), padded.shape, window)
        if any(shift):
            heard = heard.roll(shift, (1, 2, 3, 4))
        return heard[:, : grid[0], : grid[1], : grid[2], : grid[3]]

    def _there(self, x: Tensor, valid: Tensor | None, padding: list[int]) -> Tensor | None:
        """Which tokens of the padded grid [B, X, Y, Z, T, 1] may be heard; None if all."""
        if valid is None and (self.hear_padding or not any(padding)):
            return None
        there = torch.ones_like(x[..., :1], dtype=torch.bool)
        if valid is not None:
            there = there & valid[:, None, None, None, :, None]
        return F.pad(there, padding, value=self.hear_padding)


def fitting(window: Axes, shift: Axes, grid: tuple[int, ...]) -> tuple[Axes, Axes]:
    """Window and shift on axes of these lengths."""
    fits = [
        (size, 0) if size <= wide else (wide, moved)
        for size, wide, moved in zip(grid, window, shift, strict=True)
    ]
    wide, moved = zip(*fits, strict=True)
    return wide, moved


def cut(x: Tensor, window: Axes) -> Tensor:
    """Windows [B n, w, C] of a grid [B, X, Y, Z, T, C] that they fill."""
    for axis, wide in zip((1, 3, 5, 7), window, strict=True):
        x = x.unflatten(axis, (-1, wide))
    return x.permute(0, 1, 3, 5, 7, 2, 4, 6, 8, 9).reshape(-1, prod(window), x.shape[-1])


def joined(windows: Tensor, shape: torch.Size, window: Axes) -> Tensor:
    """The grid of `shape` that `cut` made `windows` of."""
    batch, *grid, channels = shape
    counts = [size // wide for size, wide in zip(grid, window, strict=True)]
    x = windows.reshape(batch, *counts, *window, channels)
    return x.permute(0, 1, 5, 2, 6, 3, 7, 4, 8, 9).reshape(shape)


def regions_apart(grid: tuple[int, ...], window: Axes, shift: Axes, device: torch.device) -> Tensor:
    """What attention within windows [n, w, w] is changed by, where a shift joined far ends."""
    number = torch.zeros((1, *grid, 1), device=device)
    for axis, (size, wide, moved) in enumerate(zip(grid, window, shift, strict=True)):
        part = torch.zeros(size, device=device)
        if moved:
            part[size - wide : size - moved], part[size - moved :] = 1, 2
        shape = [1] * 6
        shape[axis + 1] = size
        number = number * 3 + part.reshape(shape)
    of_tokens = cut(number, window)[..., 0]
    differ = of_tokens[:, :, None] != of_tokens[:, None, :]
    return torch.where(differ, APART, 0.0)
