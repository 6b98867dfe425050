"""The head of a fine-tuned network, which begins as the probe of what it reads.

The probe is kernel ridge regression on the mean of its read-outs' kernels, centred by hospital
(`methods.readout_methods`), or on another mixture that surely tells people left out better.
Written in features instead of people it is a linear layer: that is where the head starts, so that a
network of which nothing has moved predicts as its probe does.

Shapes: n people, t training people, P features of all read-outs, G groups (hospitals), O outputs.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from brainjepa_core.arrays import Float64
from brainjepa_core.evaluation.learning.learned_target import LearnedTarget
from brainjepa_core.evaluation.learning.supervised import is_sure
from brainjepa_core.evaluation.readout.centring import (
    centred_on,
    centres_of,
    levels_of,
    mean_of_known,
    training_means,
)
from brainjepa_core.evaluation.readout.kernel_ridge import linear_kernel, ridge_fit
from brainjepa_core.evaluation.tasks.protocols import Index

QUARTERS = 4
SLOPE = 2.0  # of logits over the probe's scores: that of a logit over shares, where two are alike


class ReadOutHead(nn.Module):
    """A linear layer on features less their group's centre; what is missing counts as the centre.

    Parameters
    ----------
    features, outputs, groups : int
        P, O and G.
    """

    centre: Tensor
    scale: Tensor
    base: Tensor

    def __init__(self, features: int, outputs: int, groups: int = 1) -> None:
        super().__init__()
        self.linear = nn.Linear(features, outputs)
        self.register_buffer("centre", torch.zeros(groups, features))
        self.register_buffer("scale", torch.ones(features))
        self.register_buffer("base", torch.zeros(groups, outputs))

    def forward(self, features: Tensor, known: Tensor, group: Tensor) -> Tensor:
        """Outputs [B, O] of features [B, P], known ones [B, P], and whose centre counts [B]."""
        away = torch.where(known, features - self.centre[group], 0) * self.scale
        out: Tensor = self.linear(away.float()) + self.base[group]
        return out


def head_from_probe(
    readouts: Sequence[NDArray[np.floating]],
    heard: Sequence[bool],
    groups: NDArray[np.int64],
    training: Index,
    rest: Index,
    target: LearnedTarget,
    told: Tensor,
) -> ReadOutHead:
    """A head that predicts as the probe of the read-outs does.

    Parameters
    ----------
    readouts : sequence of ndarray [n, P_k]
        NaN where unknown.
    heard : sequence of bool
        Which of them the probe hears; all, where it hears none of these.
    groups : ndarray of int64 [n]
        Hospital of each person, 0 .. G - 1.
    training, rest : ndarray of int64
        Rows that are learned from, and rows whose own mean is the centre of a hospital without any.
    target : LearnedTarget
    told : Tensor [n]
        As `LearnedTarget.encode` gives it; of the training rows alone it is read.
    """
    centres = centres_of(groups, training, rest)
    away = [centred_on(x, centres)[training].astype(np.float64) for x in readouts]
    goal = _coded(told, target)
    means = training_means(goal, groups, training)
    left = (goal - means)[training]
    beside = levels_of(groups[training], np.zeros((len(training), 0)))
    shares, dual = _mixture(away, heard if any(heard) else [True] * len(away), left, beside)
    features = np.concatenate(readouts, axis=1)
    scale = np.concatenate([np.full(x.shape[1], s) for x, s in zip(away, shares, strict=True)])
    inputs = np.concatenate(away, axis=1) * scale
    reach = float(np.abs(inputs).sum(1).mean()) or 1.0
    head = ReadOutHead(features.shape[1], target.outputs, int(groups.max()) + 1)
    slope, base = 1.0, means
    if target.classes:
        base = np.log(np.maximum(_shares(told[training], target), 1e-6))[None].repeat(len(goal), 0)
        slope = SLOPE
    with torch.no_grad():
        head.scale.copy_(torch.from_numpy(scale / reach))
        head.linear.weight.copy_(torch.from_numpy(slope * reach * (dual.T @ inputs)))
        head.linear.bias.zero_()
        for group in np.unique(groups):
            head.base[group] = torch.from_numpy(base[np.flatnonzero(groups == group)[0]])
    recentre(head, features, groups, training, rest)
    return head


def _mixture(
    readouts: Sequence[Float64], heard: Sequence[bool], left: Float64, beside: Float64
) -> tuple[list[float], Float64]:
    """What each read-out [t, P_k] is scaled by, and dual weights [t, O].

    Kernels have the shares of the probe, unless other ones, in quarters, have a squared error of
    people left out that is surely less.
    """
    own = np.arange(len(left))
    sizes = [float(np.einsum("np,np->", x, x)) / len(x) for x in readouts]
    kernels = [linear_kernel(x, own) for x in readouts]
    quarters = (q for q in product(range(QUARTERS + 1), repeat=len(readouts)) if sum(q) == QUARTERS)
    mixtures = [
        np.array(heard) / sum(heard),
        *(np.array(q) / QUARTERS for q in quarters),
    ]
    fits = []
    for mixture in mixtures:
        kernel = sum(share * k for share, k in zip(mixture, kernels, strict=True))
        fits.append((mixture, *ridge_fit(np.asarray(kernel), left, beside)))
    errors = [torch.from_numpy(((left - told) ** 2).sum(1)) for _, _, told in fits]
    best = int(np.argmin([float(error.sum()) for error in errors]))
    shares, dual, _ = fits[best if is_sure(errors[0] - errors[best]) else 0]
    scales = [np.sqrt(s / size) if size > 0 else 0.0 for s, size in zip(shares, sizes, strict=True)]
    return scales, dual


def recentre(
    head: ReadOutHead,
    features: NDArray[np.floating],
    groups: NDArray[np.int64],
    training: Index,
    rest: Index,
) -> None:
    """Fix the centre of each hospital to the mean of its people's features [n, P], in place.

    A feature that nobody of a hospital has is centred as in all of them together.
    """
    centres = centres_of(groups, training, rest)
    everybody = mean_of_known(features[np.unique(np.concatenate([rows for _, rows in centres]))])
    for members, rows in centres:
        centre = mean_of_known(features[rows])
        centre = np.nan_to_num(np.where(np.isfinite(centre), centre, everybody))
        head.centre[groups[members][0]] = torch.from_numpy(centre)


def _coded(told: Tensor, target: LearnedTarget) -> Float64:
    """What the probe regresses on [n, O]: a column of each class, or the standardised value."""
    if target.classes:
        columns: Float64 = np.eye(len(target.classes))[told.numpy()]
        return columns
    return told.numpy().astype(np.float64)[:, None]


def _shares(told: Tensor, target: LearnedTarget) -> Float64:
    """What classes weigh together in the loss [K]."""
    people: Float64 = np.bincount(told.numpy(), minlength=len(target.classes)).astype(np.float64)
    weights = people * np.array(target.weights)
    found: Float64 = weights / weights.sum()
    return found
