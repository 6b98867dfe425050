"""Correlation matrices of windows, as nilearn makes them: of a shrunk covariance.

`nilearn.connectome.ConnectivityMeasure` z-scores signals and takes the covariance of Ledoit and
Wolf (2004), drawn towards a multiple of the identity: correlations are Pearson's, times one factor
below 1 that is the smaller, the fewer frames there are for so many ROIs.

Shapes: B batch, R ROIs, T frames, W time patches, N = R * W tokens.
"""

from __future__ import annotations

import torch
from torch import Tensor

NOTHING = 1e-12  # variance of an ROI without a signal
R_MAX = 1 - 1e-6  # |r| is cut here before arctanh, as float32 resolves it


def there(x: Tensor, token_valid: Tensor | None) -> tuple[Tensor, Tensor]:
    """Frames [B, T] and ROIs [B, R] of windows [B, R, T] that carry a signal."""
    batch, rois, frames = x.shape
    if token_valid is None:
        whole = torch.ones((), dtype=torch.bool, device=x.device)
        return whole.expand(batch, frames), whole.expand(batch, rois)
    tokens = token_valid.reshape(batch, rois, -1)
    return tokens.any(1).repeat_interleave(frames // tokens.shape[2], dim=1), tokens.any(2)


def shrunk_correlation(x: Tensor, frames: Tensor, rois: Tensor) -> Tensor:
    """Correlation [B, R, R] of windows; 0 in rows and columns of ROIs that are not there.

    Parameters
    ----------
    x : Tensor [B, R, T]
    frames, rois : Tensor [B, T] and [B, R]
        bool; what counts.
    """
    x = x.to(torch.promote_types(x.dtype, torch.float32))
    weight = frames[:, None, :].to(x.dtype)
    count = weight.sum(-1, keepdim=True)  # [B, 1, 1]
    centred = (x - (x * weight).sum(-1, keepdim=True) / count) * weight
    variance = centred.square().sum(-1, keepdim=True) / count
    alive = rois[..., None] & (variance > NOTHING)  # [B, R, 1]
    z = torch.where(alive, centred * variance.clamp_min(NOTHING).rsqrt(), 0)
    with torch.autocast(x.device.type, enabled=False):
        plain = z @ z.mT / count
        kept = 1 - _shrinkage(z, plain, count, alive)
    identity = torch.eye(x.shape[1], dtype=torch.bool, device=x.device)
    shrunk: Tensor = torch.where(identity, alive.to(plain.dtype), kept * plain)
    return shrunk


def _shrinkage(z: Tensor, covariance: Tensor, count: Tensor, alive: Tensor) -> Tensor:
    """Weight [B, 1, 1] of the identity in Ledoit and Wolf's covariance of z-scores [B, R, T]."""
    rois = alive.sum((1, 2), keepdim=True).to(z.dtype).clamp_min(1)
    energy = z.square().sum(1)  # [B, T]: what fourth moments of all pairs of ROIs add up to
    fourth = energy.square().sum(-1)[:, None, None] / count
    squares = covariance.square().sum((1, 2), keepdim=True)
    error = (fourth - squares) / count / rois
    spread = squares / rois - 1  # about the identity, of unit variances
    return torch.where(spread > NOTHING, error.minimum(spread) / spread.clamp_min(NOTHING), 0)


def partial_correlation(correlation: Tensor) -> Tensor:
    """Partial correlation [B, R, R] of shrunk ones, as `shrunk_correlation` gives them.

    Of each pair of ROIs given all others; 0 in rows and columns of ROIs that are not there, and on
    the diagonal.
    """
    own = torch.eye(correlation.shape[1], dtype=torch.bool, device=correlation.device)
    alive = torch.diagonal(correlation, dim1=1, dim2=2) > 0
    with torch.autocast(correlation.device.type, enabled=False):
        # An ROI that is not there goes with none, and takes nothing from others.
        whole = torch.where(own & ~alive[:, None], 1, correlation)
        precision = torch.linalg.inv_ex(whole).inverse  # inv waits for a GPU to say if it could
    scale = torch.diagonal(precision, dim1=1, dim2=2).rsqrt()
    partial = -precision * scale[:, :, None] * scale[:, None, :]
    return torch.where(own, 0, partial)


def fisher_z(correlation: Tensor) -> Tensor:
    """``arctanh`` of correlations [B, R, R], with 0 on the diagonal."""
    own = torch.eye(correlation.shape[1], dtype=torch.bool, device=correlation.device)
    return torch.where(own, 0, correlation.clamp(-R_MAX, R_MAX)).atanh()
