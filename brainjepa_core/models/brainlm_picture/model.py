"""The BrainLM that is evaluated most: a ViT-MAE (He et al., CVPR 2022) of pictures of a window.

``vitmae_111M`` and ``vitmae_650M`` of Ortega Caro et al. are not the paper's model (`brainlm`). A
window is a picture, a row an ROI sorted by its Y coordinate and a column a frame, three times the
same in colours and padded to a square; the network is told nothing else of ROIs.

Decided where the published code is silent or at odds with itself:

* Embedding sees all tiles. The published code hides some at random unless the ratio is 0, so that
  embeddings differ from call to call.
* A token of a window is the tile that its ROI and frames lie in.
* Missing ROIs and padded frames look as the padding does, and are not judged.
* Places are fixed sines and cosines; a checkpoint with other ones is not read.

Shapes: B batch, R ROIs, T frames, p patch length, N tokens, t tile, S tiles a side, D width.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from brainjepa_core.models.brainlm_picture.settings import BrainLmPictureSettings, Y
from brainjepa_core.models.interface import BrainModel, Draws
from brainjepa_core.models.masks.random_masks import random_masks
from brainjepa_core.models.masks.settings import MaskSettings
from brainjepa_core.models.parts.positions import sine_cosine_table
from brainjepa_core.models.parts.transformer import Blocks, initialise, take_tokens, valid_of
from brainjepa_core.models.roles import Roles

EPS = 1e-12
COLOURS = 3
UNIT = 5.6430855  # of signals in a picture: a percentile of the published sample
PADDING = -1.0


def _places(side: int, width: int) -> Tensor:
    """Places [1 + S * S, D] of a class token and tiles: columns, then rows (as MAE's)."""
    table = sine_cosine_table(side, width // 2)
    rows, columns = table.repeat_interleave(side, 0), table.repeat(side, 1)
    return F.pad(torch.cat([columns, rows], 1), (0, 0, 1, 0))


def _blocks(width: int, depth: int, heads: int, ratio: float) -> Blocks:
    blocks = Blocks(depth, width, heads, ratio)
    for module in blocks.modules():
        if isinstance(module, nn.LayerNorm):
            module.eps = EPS
    return blocks


class PictureEncoder(nn.Module):
    """Windows to tiles, and tiles to tokens."""

    places: Tensor

    def __init__(self, settings: BrainLmPictureSettings) -> None:
        super().__init__()
        s = self.settings = settings
        self.patch = nn.Linear(COLOURS * s.tile**2, s.width)
        self.class_token = nn.Embedding(1, s.width)
        # A function of the settings, hence not in checkpoints.
        self.register_buffer("places", _places(s.tiles_a_side, s.width), persistent=False)
        self.blocks = _blocks(s.width, s.depth, s.heads, s.mlp_ratio)
        self.norm = nn.LayerNorm(s.width, eps=EPS)
        self.apply(initialise)

    def tiles(self, patches: Tensor, basis: Tensor, valid: Tensor | None = None) -> Tensor:
        """Tiles [B, S * S, t * t] of patches [B, N, p], in the units of a picture."""
        s = self.settings
        side = s.tiles_a_side
        shown = patches / UNIT
        if valid is not None:
            shown = torch.where(valid[..., None], shown, PADDING)
        x = shown.reshape(len(patches), s.rois, s.frames)
        order = basis[..., Y].argsort(dim=1, stable=True)
        x = take_tokens(x, order)
        whole = side * s.tile
        x = F.pad(x, (0, whole - s.frames, 0, whole - s.rois), value=PADDING)
        x = x.reshape(len(x), side, s.tile, side, s.tile).transpose(2, 3)
        return x.reshape(len(x), side * side, s.tile**2)

    def states(self, tiles: Tensor, index: Tensor | None = None) -> Tensor:
        """States [B, 1 + n, D] before the last norm, class token first, of tiles `index` [B, n]."""
        x = self.patch(tiles.repeat(1, 1, COLOURS)) + self.places[1:]
        if index is not None:
            x = take_tokens(x, index)
        first = self.class_token(torch.zeros_like(x[:, :1, 0], dtype=torch.int64)) + self.places[:1]
        out: Tensor = self.blocks(torch.cat([first, x], dim=1))
        return out

    def latents(self, patches: Tensor, basis: Tensor, index: Tensor | None = None) -> Tensor:
        """Tokens [B, n, D] before the last norm, at `index` [B, n], the only ones that are seen."""
        valid = valid_of(index, patches.shape[1])
        tokens = self._tokens(self.states(self.tiles(patches, basis, valid)), basis)
        return tokens if index is None else take_tokens(tokens, index)

    def forward(self, patches: Tensor, basis: Tensor, valid: Tensor | None = None) -> Tensor:
        """Tokens [B, N, D] of patches [B, N, p]: of each, the tile that it lies in."""
        return self._tokens(self.norm(self.states(self.tiles(patches, basis, valid))), basis)

    def _tokens(self, states: Tensor, basis: Tensor) -> Tensor:
        s = self.settings
        ranks = basis[..., Y].argsort(dim=1, stable=True).argsort(dim=1)  # [B, R]
        columns = torch.arange(s.time_patches, device=states.device) * s.patch // s.tile
        place = (ranks // s.tile)[..., None] * s.tiles_a_side + columns
        return take_tokens(states[:, 1:], place.flatten(1))


class PictureDecoder(nn.Module):
    """Tiles that were seen, and a mask token for the others, to all tiles."""

    places: Tensor

    def __init__(self, settings: BrainLmPictureSettings) -> None:
        super().__init__()
        s = settings
        width = s.decoder_width
        self.embed = nn.Linear(s.width, width)
        self.mask_token = nn.Embedding(1, width)
        self.register_buffer("places", _places(s.tiles_a_side, width), persistent=False)
        self.blocks = _blocks(width, s.decoder_depth, s.decoder_heads, s.mlp_ratio)
        self.norm = nn.LayerNorm(width, eps=EPS)
        self.head = nn.Linear(width, COLOURS * s.tile**2)
        self.apply(initialise)

    def forward(self, tokens: Tensor, index: Tensor) -> Tensor:
        """Tiles [B, S * S, t * t, colours] of tokens [B, 1 + n, D] of the tiles `index` [B, n]."""
        seen, count = self.embed(tokens), len(self.places) - 1
        blank = torch.zeros_like(seen[:, :1, 0], dtype=torch.int64)
        grid = self.mask_token(blank).expand(-1, count, -1)
        told = seen[:, 1:].to(grid.dtype)  # which autocast may have made narrow
        grid = grid.scatter(1, index[..., None].expand(-1, -1, seen.shape[-1]), told)
        x = self.blocks(torch.cat([seen[:, :1], grid], dim=1) + self.places)
        out: Tensor = self.head(self.norm(x[:, 1:])).unflatten(-1, (-1, COLOURS))
        return out


class BrainLmPicture(BrainModel):
    """An encoder of visible tiles, and a decoder of all of them.

    Parameters
    ----------
    settings : BrainLmPictureSettings
    basis : Tensor [R, m]
        ROIs are sorted by its second column.
    """

    roles = Roles(
        (
            *(f"encoder.{part}." for part in ("patch", "class_token", "blocks", "norm")),
            *(f"decoder.{part}." for part in ("embed", "mask_token", "blocks", "norm", "head")),
        ),
        {},
        embedding=("encoder.",),
    )
    settings: BrainLmPictureSettings

    def __init__(self, settings: BrainLmPictureSettings, basis: Tensor) -> None:
        super().__init__(settings, basis)
        self.encoder = PictureEncoder(settings)
        self.decoder = PictureDecoder(settings)

    def draw(
        self,
        masks: MaskSettings,
        *,
        seed: int,
        step: int,
        samples: Sequence[int],
        token_valid: NDArray[np.bool_] | None,
    ) -> Draws:
        """Which tiles are hidden, of all of the picture; `masks` is not used."""
        tiles, ratio = self.settings.tiles_a_side**2, self.settings.mask_ratio
        drawn = random_masks(tiles, seed=seed, step=step, samples=samples, ratio=ratio)
        return {"visible": drawn.context_index, "hidden": drawn.target_index}

    @property
    def embedder(self) -> PictureEncoder:
        """The encoder."""
        return self.encoder

    def sample_losses(
        self, x: Tensor, visible: Tensor, hidden: Tensor, token_valid: Tensor | None = None
    ) -> Tensor:
        """Mean squared error of hidden signal, padding left out, one loss a sample [B].

        Parameters
        ----------
        x : Tensor [B, R, T]
        visible, hidden : Tensor [B, n] and [B, k]
            int64 indices of tiles.
        token_valid : Tensor [B, N], optional
            bool; False for tokens without a signal.
        """
        patches, basis = self.patches(x), self.basis_of(len(x))
        tiles = self.encoder.tiles(patches, basis, token_valid)
        states = self.encoder.norm(self.encoder.states(tiles, visible))
        back = take_tokens(self.decoder(states, visible).flatten(2), hidden)
        error = (back.unflatten(-1, (-1, COLOURS)) - take_tokens(tiles, hidden)[..., None]).square()
        there = torch.ones_like(patches) if token_valid is None else token_valid[..., None] * 1.0
        drawn = (there.expand_as(patches) * 2 - 1) * UNIT  # 1 where there is a signal, else -1
        known = take_tokens(self.encoder.tiles(drawn, basis), hidden) > 0
        losses: Tensor = (error.mean(-1) * known).sum((1, 2)) / known.sum((1, 2)).clamp_min(1)
        return losses
