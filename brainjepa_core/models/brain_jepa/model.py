"""Brain-JEPA: predict the latent of masked patches of brain activity from the rest.

Shapes: B batch, K masks per sample, R ROIs, T frames, p patch length, W = T / p time patches,
N = R * W tokens (index = roi * W + time patch), Nc context and Nt target tokens, D width,
m components of the ROI basis.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from brainjepa_core.models.brain_jepa.objective import rank_penalty, without_direction
from brainjepa_core.models.brain_jepa.settings import BrainJepaSettings
from brainjepa_core.models.interface import BrainModel, Draws
from brainjepa_core.models.masks.draw import mask_batch
from brainjepa_core.models.masks.settings import MaskSettings
from brainjepa_core.models.parts.encoder import Encoder, Predictor
from brainjepa_core.models.parts.transformer import take_tokens
from brainjepa_core.models.roles import Roles


class BrainJEPA(BrainModel):
    """Context encoder, predictor and target encoder over one frozen ROI basis.

    Parameters
    ----------
    settings : BrainJepaSettings
    basis : Tensor [R, m]
        As in `BrainModel`.
    """

    roles = Roles(
        ("encoder.", "predictor."), {"target_encoder.": "encoder."}, embedding=("target_encoder.",)
    )
    settings: BrainJepaSettings

    def __init__(self, settings: BrainJepaSettings, basis: Tensor) -> None:
        super().__init__(settings, basis)
        self.encoder = Encoder(settings)
        self.predictor = Predictor(settings, settings.width)
        # Copied here, before anybody wraps the encoder: a copy of a hooked module keeps its hooks.
        self.target_encoder = copy.deepcopy(self.encoder).requires_grad_(False)

    def draw(
        self,
        masks: MaskSettings,
        *,
        seed: int,
        step: int,
        samples: Sequence[int],
        token_valid: NDArray[np.bool_] | None,
    ) -> Draws:
        """Context and targets of each sample's masks, as `masks.draw.mask_batch` draws them."""
        drawn = mask_batch(
            masks,
            rois=self.settings.rois,
            patches=self.settings.time_patches,
            seed=seed,
            step=step,
            samples=samples,
            token_valid=token_valid,
        )
        return vars(drawn)

    @property
    def embedder(self) -> Encoder:
        """The target encoder."""
        return self.target_encoder

    @torch.no_grad()
    def targets(
        self,
        x: Tensor,
        target_index: Tensor,
        token_valid: Tensor | None = None,
        blank: Tensor | None = None,
    ) -> Tensor:
        """What is predicted at `target_index` [B, K, Nt]: latents [B, K, Nt, D].

        Layer-normed target-encoder tokens, less what position explains of them: their component
        along `blank` [N, D] (`blank_response`), where that is given.
        """
        index = target_index.flatten(1)
        # The last block can skip the tokens nobody asked for, until the masks cover them all.
        wanted = index if index.shape[1] < self.settings.tokens else None
        tokens = self.target_encoder(
            self.patches(x), self.basis_of(len(x)), valid=token_valid, query_index=wanted
        )
        tokens = F.layer_norm(tokens, tokens.shape[-1:])
        if wanted is None:
            tokens = take_tokens(tokens, index)
        if blank is not None:
            tokens = without_direction(tokens, blank[index])
        out: Tensor = tokens.unflatten(1, target_index.shape[1:])
        return out

    def step_constants(self) -> dict[str, Tensor]:
        """`blank_response`, where the objective takes it out of the targets."""
        return {"blank": self.blank_response()} if self.settings.objective.remove_position else {}

    @torch.no_grad()
    def blank_response(self) -> Tensor:
        """Layer-normed target-encoder tokens [N, D] of a blank window: position alone."""
        s = self.settings
        blank = self.basis.new_zeros(1, s.tokens, s.patch)
        tokens = self.target_encoder(blank, self.basis_of(1))
        return F.layer_norm(tokens, tokens.shape[-1:])[0]

    def sample_constants(
        self,
        x: Tensor,
        context_index: Tensor,
        target_index: Tensor,
        context_valid: Tensor | None = None,
        target_valid: Tensor | None = None,
        token_valid: Tensor | None = None,
        blank: Tensor | None = None,
    ) -> Draws:
        """Target latents [B, ..., Nt, D], and the blank response at the context [B, ..., Nc, D]."""
        target, position = self._targets_and_position(
            x, context_index, target_index, token_valid, blank
        )
        return {"target": target, "position": position}

    def _targets_and_position(
        self,
        x: Tensor,
        context_index: Tensor,
        target_index: Tensor,
        token_valid: Tensor | None,
        blank: Tensor | None,
    ) -> tuple[Tensor, Tensor | None]:
        if blank is None:
            blank = self.step_constants().get("blank")
        target = self.targets(x, target_index, token_valid, blank)
        return target, None if blank is None else blank[context_index]

    def _rank_penalty(
        self, context: Tensor, valid: Tensor | None, position: Tensor | None
    ) -> Tensor:
        """`objective.rank_penalty` of context tokens freed of position, mean over masks [B]."""
        tokens = F.layer_norm(context, context.shape[-1:])
        if position is not None:
            tokens = without_direction(tokens, position)
        valid = None if valid is None else valid.reshape(-1, valid.shape[-1])
        rows = tokens.reshape(-1, *tokens.shape[-2:])
        penalty = rank_penalty(rows, valid, self.settings.objective)
        return penalty.reshape(len(context), -1).mean(1)

    def context(
        self, x: Tensor, context_index: Tensor, context_valid: Tensor | None = None
    ) -> Tensor:
        """Context-encoder tokens [B, ..., Nc, D] that have seen the context only."""
        out: Tensor = self.encoder(
            self.patches(x), self.basis_of(len(x)), context_index, context_valid
        )
        return out

    def predict(
        self,
        context: Tensor,
        context_index: Tensor,
        target_index: Tensor,
        context_valid: Tensor | None = None,
        target_valid: Tensor | None = None,
    ) -> Tensor:
        """Predicted latents [B, ..., Nt, D] of the targets."""
        basis = self.basis_of(len(context))
        out: Tensor = self.predictor(
            context, basis, context_index, target_index, context_valid, target_valid
        )
        return out

    def sample_losses(
        self,
        x: Tensor,
        context_index: Tensor,
        target_index: Tensor,
        context_valid: Tensor | None = None,
        target_valid: Tensor | None = None,
        token_valid: Tensor | None = None,
        blank: Tensor | None = None,
        target: Tensor | None = None,
        position: Tensor | None = None,
    ) -> Tensor:
        """Smooth L1 between predicted and target latents, and what the objective adds to it.

        Parameters
        ----------
        x : Tensor [B, R, T]
        context_index, target_index : Tensor [B, Nc] and [B, Nt], or [B, K, Nc] and [B, K, Nt]
            int64 token indices; K masks share one target pass.
        context_valid, target_valid : Tensor like the indices, optional
            bool; False for padding, which is neither attended to nor predicted.
        token_valid : Tensor [B, N], optional
            bool; False for tokens without a signal.
        blank : Tensor [N, D], optional
            As `step_constants` gives it.
        target, position : Tensor, optional
            What `sample_constants` gives, by which they are computed where no target is given.

        Returns
        -------
        Tensor [B]
            One loss a sample (beta 1; the paper writes L2), the mean over its targets, so that
            the loss of a person never depends on who else is in the batch.
        """
        if target is None:
            target, position = self._targets_and_position(
                x, context_index, target_index, token_valid, blank
            )
        context = self.context(x, context_index, context_valid)
        predicted = self.predict(context, context_index, target_index, context_valid, target_valid)
        error = F.smooth_l1_loss(predicted, target, reduction="none").mean(-1).flatten(1)
        if target_valid is None:
            losses = error.mean(1)
        else:
            weight = target_valid.flatten(1).to(error.dtype)
            losses = (error * weight).sum(1) / weight.sum(1).clamp_min(1)
        if self.settings.objective.holds_rank:
            losses = losses + self._rank_penalty(context, context_valid, position)
        return losses

    @torch.no_grad()
    def after_step(self, momentum: float) -> None:
        """Move the target encoder: target <- momentum * target + (1 - momentum) * encoder.

        What is frozen in the encoder does not move in the target encoder.
        """
        pairs = zip(self.target_encoder.parameters(), self.encoder.parameters(), strict=True)
        moving = [(target, p) for target, p in pairs if p.requires_grad]
        targets, leaders = zip(*moving, strict=True)
        torch._foreach_lerp_(targets, leaders, 1 - momentum)
