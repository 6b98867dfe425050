"""BrainMass: two views of a person's connectivity are alike, and masked rows are known from others.

Yang et al., IEEE Transactions on Medical Imaging 2024 (arXiv 2403.01433). A view is the correlation
matrix of a random part of the frames. The loss is BYOL's between two views, a tenth of how badly
masked rows are told from one another, and twice the squared error of rows that are given back, both
within a person.

Decided where paper and published code differ or are silent:

* A window takes the place of a whole scan; views are drawn from its frames.
* Dropout (0.1 in the trunk) is left out: steps are functions of their number.
* `BrainMassSettings.norm` and `train_masks` mend by default what makes a loss depend on others, and
  tokens and heads that were never trained. Where batches are normalised, it is always by their own
  statistics: running ones would be read by nothing, so there are none to average between sites.
* A missing ROI is 0 in rows and columns, attended to by none, and never masked.
* An embedding is made by the online network (the published one too) of all frames of a window.

Shapes: B batch, R ROIs, T frames, N tokens, k masked ROIs, P width of a projection.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from brainjepa_core.models.brainmass.encoder import BrainMassEncoder
from brainjepa_core.models.brainmass.settings import TOKENS, BrainMassSettings
from brainjepa_core.models.brainmass.views import draw_views
from brainjepa_core.models.interface import BrainModel, Draws
from brainjepa_core.models.masks.settings import MaskSettings
from brainjepa_core.models.parts.connectivity import shrunk_correlation, there
from brainjepa_core.models.parts.positions import interleaved_table
from brainjepa_core.models.parts.transformer import take_tokens
from brainjepa_core.models.roles import Roles

CONTRAST, REBUILD = 0.1, 2.0  # weights of the two losses of masked rows (published)
ALWAYS = ("encoder.", "projector.", "predictor.")
MASKED = ("mask_tokens.", "contrast_head.", "rebuild_head.")
FOLLOWERS = {"target_encoder.": "encoder.", "target_projector.": "projector."}


class BrainMass(BrainModel):
    """An encoder of connectivity, what compares its views, and what asks it for masked rows.

    Parameters
    ----------
    settings : BrainMassSettings
    basis : Tensor [R, m]
        As in `BrainModel`; this family does not read it.
    """

    roles = Roles((*ALWAYS, *MASKED), FOLLOWERS, embedding=("encoder.",))
    settings: BrainMassSettings
    positions: Tensor

    def __init__(self, settings: BrainMassSettings, basis: Tensor) -> None:
        super().__init__(settings, basis)
        s, features = settings, settings.rois * settings.reduced
        self.encoder = BrainMassEncoder(s)
        self.projector = _mlp(features, 2 * features, s.projection, s.norm)
        self.predictor = _mlp(s.projection, 2 * s.projection, s.projection, s.norm)
        self.target_encoder = copy.deepcopy(self.encoder).requires_grad_(False)
        self.target_projector = copy.deepcopy(self.projector).requires_grad_(False)
        self.mask_tokens = nn.Embedding(1 + TOKENS, s.rois)  # of a masked row, class, distribution
        self.contrast_head = _head(s.rois, s.inner)
        self.rebuild_head = _head(s.rois, s.inner)
        table = interleaved_table(s.rois + TOKENS, s.rois)
        self.register_buffer("positions", table, persistent=False)
        if not s.train_masks:
            for part in (self.mask_tokens, self.contrast_head, self.rebuild_head):
                part.requires_grad_(False)
            self.roles = Roles(ALWAYS, FOLLOWERS, embedding=("encoder.",))

    def draw(
        self,
        masks: MaskSettings,
        *,
        seed: int,
        step: int,
        samples: Sequence[int],
        token_valid: NDArray[np.bool_] | None,
    ) -> Draws:
        """Frames of views and masked ROIs, as `draw_views` draws them; `masks` is not used."""
        return draw_views(
            self.settings, seed=seed, step=step, samples=samples, token_valid=token_valid
        )

    @property
    def embedder(self) -> BrainMassEncoder:
        """The online encoder."""
        return self.encoder

    def sample_losses(
        self,
        x: Tensor,
        view_frames: Tensor,
        contrasted: Tensor,
        rebuilt: Tensor,
        contrasted_valid: Tensor | None = None,
        rebuilt_valid: Tensor | None = None,
        token_valid: Tensor | None = None,
    ) -> Tensor:
        """Losses [B] of windows; arguments are those of `draw_views`.

        Parameters
        ----------
        x : Tensor [B, R, T]
        view_frames : Tensor [B, 2, T]
        contrasted, rebuilt : Tensor [B, k]
        contrasted_valid, rebuilt_valid : Tensor [B, k], optional
        token_valid : Tensor [B, N], optional

        Raises
        ------
        ValueError
            If one person alone shall be normalised as a batch.
        """
        self.patches(x)  # checks the shape
        if self.settings.norm == "batch" and len(x) < 2:
            raise ValueError(
                "expected at least 2 people in a micro-batch that is normalised (model.norm: "
                "batch), found 1; set norm: layer, or batch_size and accumulation so that none "
                "is left alone"
            )
        _, rois = there(x, token_valid)
        one, two = (shrunk_correlation(x, view_frames[:, i], rois) for i in range(2))
        valid = None if token_valid is None else rois
        alike = self.views_apart(one, two, valid)
        told = self.told_badly(one, contrasted, contrasted_valid, valid)
        missed = self.rebuilt_badly(one, rebuilt, rebuilt_valid, valid)
        return alike + CONTRAST * told + REBUILD * missed

    def views_apart(self, one: Tensor, two: Tensor, valid: Tensor | None = None) -> Tensor:
        """BYOL's loss [B] of two views [B, R, R], each predicting what the target sees in both."""
        with torch.no_grad():
            targets = [
                self.target_projector(self.target_encoder.features(view, valid).flatten(1))
                for view in (two, one)
            ]
        apart = [
            2 - 2 * F.cosine_similarity(self.predicted(view, valid), target, dim=1, eps=1e-12)
            for view, target in zip((one, two), targets, strict=True)
        ]
        return apart[0] + apart[1]

    def predicted(self, view: Tensor, valid: Tensor | None = None) -> Tensor:
        """What the online network expects the target to see [B, P] in a view [B, R, R]."""
        out: Tensor = self.predictor(self.projector(self.encoder.features(view, valid).flatten(1)))
        return out

    def told_badly(
        self, rows: Tensor, index: Tensor, index_valid: Tensor | None, valid: Tensor | None
    ) -> Tensor:
        """Cross-entropy [B] of which masked row of a person a prediction is of."""
        guesses = self.contrast_head(self._masked(rows, index, index_valid, valid))
        logits = take_tokens(rows, index) @ guesses.mT  # [B, k, k]: true rows by guesses
        if index_valid is not None:
            logits = logits.masked_fill(~index_valid[:, None, :], -torch.inf)
        wrong = logits.logsumexp(-1) - torch.diagonal(logits, dim1=1, dim2=2)
        return _mean(wrong, index_valid)

    def rebuilt_badly(
        self, rows: Tensor, index: Tensor, index_valid: Tensor | None, valid: Tensor | None
    ) -> Tensor:
        """Mean squared error [B] of masked rows that are given back."""
        back = self.rebuild_head(self._masked(rows, index, index_valid, valid))
        return _mean((back - take_tokens(rows, index)).square().mean(-1), index_valid)

    def _masked(
        self, rows: Tensor, index: Tensor, index_valid: Tensor | None, valid: Tensor | None
    ) -> Tensor:
        """What the trunk makes [B, k, R] of rows `index` of [B, R, R] that are masked."""
        hidden = torch.ones_like(index, dtype=torch.bool) if index_valid is None else index_valid
        chosen = torch.zeros_like(rows[..., 0], dtype=torch.int64)
        chosen = chosen.scatter_add(1, index, hidden.to(torch.int64)) > 0
        place = torch.arange(1 + TOKENS, device=rows.device).expand(len(rows), -1)
        mask, *first = self.mask_tokens(place).split(1, dim=1)
        x = torch.cat([*first, torch.where(chosen[..., None], mask, rows)], dim=1) + self.positions
        if valid is not None:
            valid = torch.cat([torch.ones_like(valid[:, :TOKENS]), valid], dim=1)
        return take_tokens(self.encoder.trunk(x, valid)[:, TOKENS:], index)

    @torch.no_grad()
    def after_step(self, momentum: float) -> None:
        """Move the targets: target <- momentum * target + (1 - momentum) * online."""
        for target, online in (
            (self.target_encoder, self.encoder),
            (self.target_projector, self.projector),
        ):
            pairs = zip(target.parameters(), online.parameters(), strict=True)
            moving = [(old, new) for old, new in pairs if new.requires_grad]
            if moving:
                old, new = zip(*moving, strict=True)
                torch._foreach_lerp_(old, new, 1 - momentum)


class _WholeNorm(nn.LayerNorm):
    """A LayerNorm in the precision of its weights, also of what autocast has made narrow."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.to(self.weight.dtype))


def _mlp(inputs: int, hidden: int, outputs: int, norm: str) -> nn.Sequential:
    between: nn.Module = (
        _WholeNorm(hidden) if norm == "layer" else nn.BatchNorm1d(hidden, track_running_stats=False)
    )
    return nn.Sequential(nn.Linear(inputs, hidden), between, nn.ReLU(), nn.Linear(hidden, outputs))


def _head(rois: int, inner: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(rois, inner), nn.LeakyReLU(), nn.Linear(inner, rois))


def _mean(errors: Tensor, valid: Tensor | None) -> Tensor:
    """Mean [B] of [B, k] over what is real."""
    if valid is None:
        return errors.mean(1)
    return torch.where(valid, errors, 0).sum(1) / valid.sum(1)
