"""The read-outs in torch: the numbers of `connectivity` and `log_connectivity`, and their slopes.

Fine-tuning and heads on phenotypes move a network through what is read of it.

Shapes: n windows, B people, R ROIs, W time patches, N = R * W tokens, D width, E = R (R - 1) / 2
pairs in the order of ``numpy.tril_indices(R, -1)``, m components,
P features of log-connectivity.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from brainjepa_core.evaluation.readout.connectivity import RESOLVED
from brainjepa_core.evaluation.readout.log_connectivity import (
    SHRINKAGE,
    LogConnectivity,
    feature_weights,
    sizes_of_levels,
)
from brainjepa_core.models.latents import latents_of
from brainjepa_core.sums.correlation import R_MAX


def answers_of(
    embedder: nn.Module, basis: Tensor, patches: Tensor, blank: Tensor, there: Tensor
) -> Tensor:
    """A network's answers to windows: its latents less those of a blank window.

    Parameters
    ----------
    embedder : nn.Module
        As `BrainModel.embedder`.
    basis : Tensor [R, m]
    patches, blank : Tensor [n, N, p]
        Windows, and the blank window that each is read against, or volumes [n, T, X, Y, Z].
    there : Tensor [n, N]
        bool tokens that carry a signal; the others are not attended to.

    Returns
    -------
    Tensor [n, N, D]
        0 where nothing is there.
    """
    kinds, kind = torch.unique(there, dim=0, return_inverse=True)
    found: Tensor | None = None
    for number, tokens in enumerate(kinds):
        which = torch.nonzero(kind == number)[:, 0]
        rests, rest = torch.unique(blank[which], dim=0, return_inverse=True)
        index = None if tokens.all() else torch.nonzero(tokens)[:, 0]
        told = _latents(embedder, basis, torch.cat([patches[which], rests]), index)
        part = told[: len(which)] - told[len(which) :][rest]
        if found is None:
            found = part.new_zeros(*there.shape, part.shape[-1])
        found[which] = part if index is None else _placed(part, index, there.shape[1])
    assert found is not None
    return found


def _latents(embedder: nn.Module, basis: Tensor, patches: Tensor, index: Tensor | None) -> Tensor:
    chosen = None if index is None else index.expand(len(patches), -1)
    return latents_of(embedder, patches, basis.expand(len(patches), -1, -1), chosen)


def _placed(part: Tensor, index: Tensor, tokens: int) -> Tensor:
    return part.new_zeros(len(part), tokens, part.shape[-1]).index_copy(1, index, part)


def connectivity_with_slopes(
    answers: Tensor, rois: Tensor, person: Tensor, people: int
) -> tuple[Tensor, Tensor]:
    """`readout.connectivity.connectivity_of` of several people at once.

    Parameters
    ----------
    answers : Tensor [n, N, D]
    rois : Tensor [n, R]
        bool ROIs that each window has.
    person : Tensor [n]
        int64, whose each window is: 0 .. B - 1.
    people : int
        B.

    Returns
    -------
    (Tensor [B, R, R], Tensor [B, R, R])
        float64 correlations, 0 where unknown; and bool what is known.
    """
    x = answers.reshape(len(answers), rois.shape[1], -1).double() * rois[..., None]
    own = x.square().sum(-1)  # [n, R]
    shape = (people, rois.shape[1], rois.shape[1])
    products = x.new_zeros(shape).index_add(0, person, x @ x.transpose(1, 2))
    energy = x.new_zeros(shape).index_add(0, person, own[:, :, None] * rois[:, None, :])
    total = energy.diagonal(dim1=1, dim2=2)
    shown = total > RESOLVED * total.amax(1, keepdim=True)
    scale = energy * energy.transpose(1, 2)
    known = shown[:, :, None] & shown[:, None, :] & (scale > 0)
    r = products / torch.where(known, scale, 1.0).sqrt()
    r = torch.where(known, (r + r.transpose(1, 2)) / 2, 0.0)
    itself = torch.diag_embed(shown)
    return torch.where(itself, 1.0, r), known | itself


def pairs_with_slopes(r: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
    """Fisher z of pairs [B, E] of correlations [B, R, R], 0 where unknown; and what is known."""
    rows, columns = torch.tril_indices(r.shape[1], r.shape[1], -1, device=r.device)
    z = torch.atanh(r[:, rows, columns].clamp(-R_MAX, R_MAX))
    return z, known[:, rows, columns]


class LogWithSlopes(nn.Module):
    """`LogConnectivity.features` of correlations that have slopes.

    Parameters
    ----------
    consensus : Tensor [R, R]
        float64.
    projection : Tensor [R, m]
        float64; kept beside the consensus, since signs of eigenvectors are a machine's.
    """

    consensus: Tensor
    projection: Tensor

    def __init__(self, consensus: Tensor, projection: Tensor) -> None:
        super().__init__()
        self.register_buffer("consensus", consensus)
        self.register_buffer("projection", projection)

    @classmethod
    def of(cls, seen: LogConnectivity) -> LogWithSlopes:
        """As log-connectivity is seen from a consensus."""
        return cls(torch.tensor(seen.consensus), torch.tensor(seen.projection))

    @property
    def width(self) -> int:
        """P."""
        return sum(m * (m + 1) // 2 for m in sizes_of_levels(self.projection.shape[1]))

    def forward(self, r: Tensor, known: Tensor) -> Tensor:
        """Features [B, P] of correlations [B, R, R], where known."""
        rois = known.diagonal(dim1=1, dim2=2)
        filled = torch.where(known, r, self.consensus)
        parts = []
        for matrix, there in zip(filled, rois, strict=True):
            through, rest = self._completion(there)
            parts.append(through.T @ matrix @ through + rest)
        eye = torch.eye(self.projection.shape[1], dtype=r.dtype, device=r.device)
        shrunk = (1 - SHRINKAGE) * torch.stack(parts) + SHRINKAGE * eye
        return torch.cat(
            [_log_features(shrunk[:, :m, :m]) for m in sizes_of_levels(len(eye))], dim=1
        )

    def _completion(self, there: Tensor) -> tuple[Tensor, Tensor]:
        """How known ROIs are seen [R, m] when they stand for the missing ones too, and the rest.

        `log_connectivity.complete_covariance` is linear in the known ROIs' covariance.
        """
        projection = self.projection
        if there.all():
            return projection, projection.new_zeros(())
        expected = (1 - SHRINKAGE) * self.consensus
        expected = expected + SHRINKAGE * torch.eye(
            len(expected), dtype=expected.dtype, device=expected.device
        )
        across = expected[there][:, ~there]
        weights = torch.linalg.solve(expected[there][:, there], across)
        through = torch.zeros_like(projection)
        through[there] = projection[there] + weights @ projection[~there]
        left = expected[~there][:, ~there] - across.T @ weights
        return through, projection[~there].T @ left @ projection[~there]


def _log_features(shrunk: Tensor) -> Tensor:
    """One level's features [B, m (m + 1) / 2] of matrices [B, m, m]."""
    logs: Tensor = MatrixLog.apply(shrunk)  # type: ignore[no-untyped-call]
    m = shrunk.shape[1]
    rows, columns = torch.tril_indices(m, m, device=shrunk.device)
    return logs[:, rows, columns] * torch.from_numpy(feature_weights(m)).to(shrunk)


class MatrixLog(torch.autograd.Function):
    """Logarithm of symmetric matrices [..., m, m], of eigenvalues no lower than the shrinkage.

    The slope is that of Daleckii and Krein: divided differences of the logarithm between
    eigenvalues, which have a limit where two of them meet, unlike the slopes of eigenvectors.
    """

    @staticmethod
    def forward(ctx: Any, matrices: Tensor) -> Tensor:
        """V log(max(D, shrinkage)) V'."""
        values, vectors = torch.linalg.eigh(matrices)
        logs = values.clamp_min(SHRINKAGE).log()
        ctx.save_for_backward(values, vectors, logs)
        found: Tensor = (vectors * logs[..., None, :]) @ vectors.mT
        return found

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> Tensor:
        """V (L * (V' slope V)) V' of the divided differences L."""
        values, vectors, logs = ctx.saved_tensors
        apart = values[..., :, None] - values[..., None, :]
        middle = (values[..., :, None] + values[..., None, :]) / 2
        flat = torch.where(middle > SHRINKAGE, 1 / middle.clamp_min(SHRINKAGE), 0.0)
        near = apart.abs() < 1e-6 * middle.abs()
        steep = (logs[..., :, None] - logs[..., None, :]) / torch.where(near, 1.0, apart)
        divided = torch.where(near, flat, steep)
        inner = vectors.mT @ ((slope + slope.mT) / 2) @ vectors
        found: Tensor = vectors @ (divided * inner) @ vectors.mT
        return found
