"""Connectivity as the consensus sees it: a few hundred numbers between its leading directions.

The directions are those of the basis that every site has: the mean over ROIs, which a diffusion
map leaves out as its trivial first gradient, and the gradients, made orthonormal in their order.
Nothing about a person is needed for them, so nothing new leaves a site.

Shapes: B samples, R ROIs, m gradients, k directions, C = k (k + 1) / 2 coordinates in the order of
``tril_indices(k)``.
"""

from __future__ import annotations

import torch
from torch import Tensor


def directions_of(basis: Tensor, count: int) -> Tensor:
    """Orthonormal directions [R, k] of a basis [R, m]: the mean over ROIs, then its gradients.

    k is `count`, or all there are where they are fewer. Each is turned to the side of its gradient,
    so that weights learned for it mean the same on every machine.
    """
    whole = torch.cat([torch.ones_like(basis[:, :1]), basis], dim=1).double()
    directions, sides = torch.linalg.qr(whole)
    found: Tensor = directions * torch.diagonal(sides).sign()
    return found[:, :count].to(basis.dtype)


def coordinates(z: Tensor, directions: Tensor) -> Tensor:
    """``d_i' Z d_j`` [B, C] of Fisher z [B, R, R] between directions [R, k], i >= j.

    Off-diagonal ones times the root of two, so that distances of coordinates are those of the
    matrices that the directions see.
    """
    seen = directions.T @ z @ directions
    rows, columns = torch.tril_indices(*seen.shape[1:], device=z.device)
    scale = torch.where(rows == columns, 1.0, 2**0.5).to(seen.dtype)
    return seen[:, rows, columns] * scale


def units_of(z: Tensor, directions: Tensor) -> Tensor:
    """What a coordinate [B, C] varies by, but for one factor: the energy along its two directions.

    Of correlations about C, that along i and j varies by C_ii C_jj + C_ij^2 (Wishart); without
    these units the mean over the brain alone would be learned.

    Parameters
    ----------
    z : Tensor [B, R, R]
        Fisher z of a person.
    directions : Tensor [R, k]
    """
    whole = torch.tanh(z) + torch.eye(z.shape[-1], dtype=z.dtype, device=z.device)
    energy = torch.einsum("ri,brs,si->bi", directions, whole, directions).clamp_min(1e-3)
    rows, columns = torch.tril_indices(*2 * energy.shape[1:], device=z.device)
    return (energy[:, rows] * energy[:, columns]).sqrt()
