"""Brain-JEPA: predict the latent of masked patches of brain activity from the rest.

Shapes: B batch, K masks per sample, R ROIs, T frames, p patch length, W = T / p time patches,
N = R * W tokens (index = roi * W + time patch), Nc context and Nt target tokens, D width,
m components of the ROI basis.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from brainjepa_core.models.brain_jepa.objective import rank_penalty, without_direction
from brainjepa_core.models.brain_jepa.settings import ModelSettings
from brainjepa_core.models.parts.encoder import Encoder, Predictor
from brainjepa_core.models.parts.pooling import pool_names, pool_tokens
from brainjepa_core.models.parts.transformer import take_tokens


class BrainJEPA(nn.Module):
    """Context encoder, predictor and target encoder over one frozen ROI basis.

    Parameters
    ----------
    settings : ModelSettings
    basis : Tensor [R, m]
        Functional gradients of the ROIs in atlas order (or centroids, or for sine-cosine
        positions anything of R rows). Frozen, and a buffer, so that it is in every checkpoint.

    Raises
    ------
    ValueError
        If the basis has another shape than the settings say, or is not finite.
    """

    basis: Tensor

    def __init__(self, settings: ModelSettings, basis: Tensor) -> None:
        super().__init__()
        expected = (settings.rois, settings.components)
        if tuple(basis.shape) != expected or not torch.isfinite(basis).all():
            raise ValueError(
                f"expected a finite ROI basis of shape {expected}, found shape "
                f"{tuple(basis.shape)}; compute the basis for this atlas with this many components"
            )
        self.settings = settings
        # In one layout whoever made it: products of another layout differ in their last bits.
        self.register_buffer("basis", basis.to(torch.float32).contiguous())
        self.encoder = Encoder(settings)
        self.predictor = Predictor(settings)
        # Copied here, before anybody wraps the encoder: a copy of a hooked module keeps its hooks.
        self.target_encoder = copy.deepcopy(self.encoder).requires_grad_(False)

    def patches(self, x: Tensor) -> Tensor:
        """Cut windows [B, R, T] into patches [B, N, p].

        Raises
        ------
        ValueError
            If `x` is not [B, R, T] of this model's R and T.
        """
        s = self.settings
        if x.dim() != 3 or tuple(x.shape[1:]) != (s.rois, s.frames):
            raise ValueError(
                f"expected windows of shape [batch, {s.rois} ROIs, {s.frames} frames], found "
                f"{list(x.shape)}; check the atlas and the window length"
            )
        return x.reshape(len(x), s.tokens, s.patch)

    def basis_of(self, batch: int) -> Tensor:
        """One view of the basis a sample, [B, R, m]; `Positions.forward` says why."""
        return self.basis.expand(batch, -1, -1)

    @torch.no_grad()
    def encode(self, x: Tensor, token_valid: Tensor | None = None) -> Tensor:
        """Target-encoder tokens of whole windows.

        Parameters
        ----------
        x : Tensor [B, R, T]
        token_valid : Tensor [B, N], optional
            bool; False for missing ROIs and padded frames, which nothing attends to.

        Returns
        -------
        Tensor [B, N, D]
        """
        return self.target_encoder(self.patches(x), self.basis_of(len(x)), valid=token_valid)

    @torch.no_grad()
    def embed(
        self,
        x: Tensor,
        pool: str | Sequence[str] = "mean",
        token_valid: Tensor | None = None,
        networks: Tensor | None = None,
    ) -> Tensor:
        """One vector a window, pooled from the target encoder's tokens.

        Parameters
        ----------
        x : Tensor [B, R, T]
        pool : str or sequence of str
            Names of `pooling.POOLS` (the published one is "mean"), or "second_order" for all of
            `pooling.SECOND_ORDER` that can be computed.
        token_valid : Tensor [B, N], optional
            bool; False for tokens without a signal, which count nowhere.
        networks : Tensor [R], optional
            int64 network of each ROI; "network_covariance" needs it.

        Returns
        -------
        Tensor [B, features]

        Raises
        ------
        ValueError
            If a pool is unknown, or networks are needed and missing.
        """
        tokens = self.encode(x, token_valid)
        pools = pool_names(pool, networks)
        return pool_tokens(tokens, self.settings.time_patches, pools, token_valid, networks)

    @torch.no_grad()
    def attention_maps(
        self, x: Tensor, layer: int = -1, token_valid: Tensor | None = None
    ) -> Tensor:
        """Attention of every token to every other in one block of the target encoder.

        Parameters
        ----------
        x : Tensor [B, R, T]
        layer : int
            0 is the first block, -1 the last.
        token_valid : Tensor [B, N], optional

        Returns
        -------
        Tensor [B, H, N, N]
            Rows sum to one. At N = 4500 and six heads one window takes 486 MB.

        Raises
        ------
        ValueError
            If there is no such block.
        """
        depth = self.settings.depth
        if not -depth <= layer < depth:
            raise ValueError(
                f"expected a layer from {-depth} to {depth - 1}, found {layer}; "
                f"this encoder has {depth} blocks"
            )
        tokens = self.target_encoder.tokens(self.patches(x), self.basis_of(len(x)))
        return self.target_encoder.blocks.attention_maps(tokens, layer % depth, token_valid)

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
        return tokens.unflatten(1, target_index.shape[1:])

    @torch.no_grad()
    def blank_response(self) -> Tensor:
        """Layer-normed target-encoder tokens [N, D] of a blank window: position alone."""
        s = self.settings
        blank = self.basis.new_zeros(1, s.tokens, s.patch)
        tokens = self.target_encoder(blank, self.basis_of(1))
        return F.layer_norm(tokens, tokens.shape[-1:])[0]

    def _rank_penalty(
        self, context: Tensor, index: Tensor, valid: Tensor | None, blank: Tensor | None
    ) -> Tensor:
        """`objective.rank_penalty` of context tokens freed of position, mean over masks [B]."""
        tokens = F.layer_norm(context, context.shape[-1:])
        if blank is not None:
            tokens = without_direction(tokens, blank[index])
        valid = None if valid is None else valid.reshape(-1, valid.shape[-1])
        rows = tokens.reshape(-1, *tokens.shape[-2:])
        penalty = rank_penalty(rows, valid, self.settings.objective)
        return penalty.reshape(len(context), -1).mean(1)

    def context(
        self, x: Tensor, context_index: Tensor, context_valid: Tensor | None = None
    ) -> Tensor:
        """Context-encoder tokens [B, ..., Nc, D] that have seen the context only."""
        return self.encoder(self.patches(x), self.basis_of(len(x)), context_index, context_valid)

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
        return self.predictor(
            context, basis, context_index, target_index, context_valid, target_valid
        )

    def sample_losses(
        self,
        x: Tensor,
        context_index: Tensor,
        target_index: Tensor,
        context_valid: Tensor | None = None,
        target_valid: Tensor | None = None,
        token_valid: Tensor | None = None,
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

        Returns
        -------
        Tensor [B]
            One loss a sample (beta 1; the paper writes L2), the mean over its targets, so that
            the loss of a person never depends on who else is in the batch.
        """
        objective = self.settings.objective
        blank = self.blank_response() if objective.remove_position else None
        target = self.targets(x, target_index, token_valid, blank)
        context = self.context(x, context_index, context_valid)
        predicted = self.predict(context, context_index, target_index, context_valid, target_valid)
        error = F.smooth_l1_loss(predicted, target, reduction="none").mean(-1).flatten(1)
        if target_valid is None:
            losses = error.mean(1)
        else:
            weight = target_valid.flatten(1).to(error.dtype)
            losses = (error * weight).sum(1) / weight.sum(1).clamp_min(1)
        if objective.holds_rank:
            losses = losses + self._rank_penalty(context, context_index, context_valid, blank)
        return losses

    # What per-sample gradient hooks (Opacus) wrap is a module's call.
    forward = sample_losses

    def loss(self, x: Tensor, context_index: Tensor, target_index: Tensor) -> Tensor:
        """Mean of `sample_losses` over the batch, a scalar."""
        return self.sample_losses(x, context_index, target_index).mean()

    @torch.no_grad()
    def update_target(self, momentum: float) -> None:
        """Move the target encoder: target <- momentum * target + (1 - momentum) * encoder."""
        torch._foreach_lerp_(
            list(self.target_encoder.parameters()),
            list(self.encoder.parameters()),
            1 - momentum,
        )
