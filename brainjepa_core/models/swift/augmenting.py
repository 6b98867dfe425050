"""Augmentations of volumes: turned and scaled, with noise, smoothed, as SwiFT's contrast has them.

How far a window is changed is a function of the seed, the step and the sample; all its volumes are
changed alike, noise aside.

Shapes: B people, n windows, T frames, X, Y, Z voxels.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import radians
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from scipy.spatial.transform import Rotation
from torch import Tensor

from brainjepa_core.arrays import Float64
from brainjepa_core.models.streams import sample_stream

ANGLE, SCALE = 10.0, 0.1  # degrees about each axis, and share of a length (published)
NOISE, NOISY = 0.1, 0.3  # standard deviation, and how often (published)
WIDTHS, SMOOTHED = (0.25, 1.5), 0.1  # voxels of a Gaussian (MONAI's), and how often (published)
SMALLEST = 1e-3  # width of a Gaussian that changes nothing
WINDOWS, VIEWS = 2, 2


class Changes(NamedTuple):
    """How windows are changed.

    Attributes
    ----------
    placing : Tensor [..., 3, 4]
        From places of the result to those of a volume, by `torch.nn.functional.affine_grid`.
    noise, smoothing : Tensor [...]
        Standard deviation; width of a Gaussian in voxels. 0 where there is none.
    seed : Tensor [...]
        int64, of the noise.
    """

    placing: Tensor
    noise: Tensor
    smoothing: Tensor
    seed: Tensor


def draw_changes(
    size: tuple[int, int, int], *, seed: int, step: int, samples: Sequence[int]
) -> Changes:
    """Changes [B, 2 windows, 2 views] of each sample, on volumes of a size."""
    shape, count = (len(samples), WINDOWS, VIEWS), WINDOWS * VIEWS
    placing, noise, smoothing, seeds = [], [], [], []
    for sample in samples:
        chance = sample_stream(seed, step, sample)
        placing.append(_placing(size, chance, count))
        noise.append(np.where(chance.random(count) < NOISY, NOISE, 0.0))
        widths = chance.uniform(*WIDTHS, count)
        smoothing.append(np.where(chance.random(count) < SMOOTHED, widths, 0.0))
        seeds.append(chance.integers(2**62, size=count))
    return Changes(
        torch.tensor(np.array(placing), dtype=torch.float32).reshape(*shape, 3, 4),
        torch.tensor(np.array(noise), dtype=torch.float32).reshape(shape),
        torch.tensor(np.array(smoothing), dtype=torch.float32).reshape(shape),
        torch.tensor(np.array(seeds)).reshape(shape),
    )


def _placing(size: tuple[int, int, int], chance: np.random.Generator, count: int) -> Float64:
    """Turns and scales [count, 3, 4] about the middle of a volume."""
    angles = chance.uniform(-radians(ANGLE), radians(ANGLE), (count, 3))
    scales = chance.uniform(1 - SCALE, 1 + SCALE, (count, 1, 3))
    half = np.array(size[::-1]) / 2  # torch names the last axis first, and says 2 for a length
    placing = np.zeros((count, 3, 4))
    turned = Rotation.from_euler("xyz", angles).as_matrix() * scales
    placing[..., :3] = turned * half / half[:, None]
    return placing


@torch.no_grad()
def augmented(x: Tensor, changes: Changes) -> Tensor:
    """Windows [n, T, X, Y, Z] under changes [n]; what lies outside is as the edge is."""
    grid = F.affine_grid(changes.placing, [len(x), 1, *x.shape[2:]], align_corners=False)
    moved = F.grid_sample(x, grid, padding_mode="border", align_corners=False)
    return _smoothed(moved + _noise(moved, changes), changes.smoothing)


def _noise(x: Tensor, changes: Changes) -> Tensor:
    """The seeds' noise, made on the device of `x`; another kind of device gives other numbers."""
    parts = []
    for window, much, seed in zip(x, changes.noise.tolist(), changes.seed.tolist(), strict=True):
        source = torch.Generator(x.device).manual_seed(seed)
        parts.append(
            much * torch.randn(window.shape, generator=source, device=x.device, dtype=x.dtype)
            if much
            else torch.zeros_like(window)
        )
    return torch.stack(parts)


def _smoothed(x: Tensor, widths: Tensor) -> Tensor:
    """Windows [n, T, X, Y, Z] under Gaussians of widths [n], which end where a volume does."""
    for axis in (2, 3, 4):
        place = torch.arange(x.shape[axis], device=x.device, dtype=x.dtype)
        apart = (place[:, None] - place) / widths.clamp_min(SMALLEST)[:, None, None]
        weights = torch.exp(-apart.square() / 2)
        weights = weights / weights.sum(-1, keepdim=True)  # [n, size, size]
        x = torch.einsum("nij,ntabj->ntabi", weights, x.movedim(axis, -1)).movedim(-1, axis)
    return x
