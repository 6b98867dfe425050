"""Latent connectivity of single windows, with slopes: what a window's tokens tell of pairs of ROIs.

Shapes: B windows, R ROIs, p patch length, N tokens, K features of an ROI, m columns of the basis.
"""

from __future__ import annotations

import torch
from torch import Tensor

from brainjepa_core.models.parts.connectivity import fisher_z
from brainjepa_core.models.parts.encoder import Encoder


def latent_fisher_z(
    encoder: Encoder, patches: Tensor, basis: Tensor, rois: int, token_valid: Tensor | None = None
) -> Tensor:
    """Fisher z [B, R, R] of windows' latent connectivity; 0 on the diagonal.

    Of tokens before the last norm, less the answer to a window in which ROIs stay at their means.

    Parameters
    ----------
    encoder : Encoder
    patches : Tensor [B, N, p]
    basis : Tensor [B, R, m]
    rois : int
    token_valid : Tensor [B, N], optional
        bool; False for tokens without a signal, which count nothing. An ROI without any goes
        together with none.
    """
    weight = torch.ones_like(patches[..., :1])
    if token_valid is not None:
        weight = token_valid[..., None].to(patches.dtype)
    about = _about_means(patches, weight, rois)
    blank = torch.zeros_like(about if token_valid is not None else about[:1])
    rest = encoder.latents(blank, basis[: len(blank)], valid=token_valid)
    answers = (encoder.latents(about, basis, valid=token_valid) - rest) * weight
    # Correlations are sums over many products: in float32 at least, also under autocast.
    precise = answers.to(torch.promote_types(answers.dtype, torch.float32))
    with torch.autocast(answers.device.type, enabled=False):
        return fisher_z_of(precise.reshape(patches.shape[0], rois, -1))


def fisher_z_of(features: Tensor) -> Tensor:
    """Fisher z [B, R, R] of the correlation, about zero, of ROIs' features [B, R, K]."""
    unit = features / features.square().sum(-1, keepdim=True).clamp_min(1e-12).sqrt()
    return fisher_z(unit @ unit.transpose(1, 2))


def _about_means(patches: Tensor, weight: Tensor, rois: int) -> Tensor:
    """Patches [B, N, p] less each ROI's mean over its tokens of weight 1 [B, N, 1]."""
    scans, counted = patches.unflatten(1, (rois, -1)), weight.unflatten(1, (rois, -1))
    frames = (counted.sum(2, keepdim=True) * patches.shape[-1]).clamp_min(1)
    mean = (scans * counted).sum((2, 3), keepdim=True) / frames
    about: Tensor = ((scans - mean) * counted).flatten(1, 2)
    return about
