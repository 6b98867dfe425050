"""What BrainGNN asks of its scores: that they decide, and that people of a group agree in them.

Shapes: B people, n nodes, k kept ones.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

DECIDED = 0.1  # weight of `undecided` of each layer (paper)
NOTHING = 1e-10  # in logarithms


@dataclass(frozen=True, eq=False)
class Scores:
    """Scores of a pooling's nodes.

    Attributes
    ----------
    values : Tensor [B, n]
        From 0 to 1.
    valid : Tensor [B, n]
        bool; nodes that are there.
    index : Tensor [B, k]
        int64 nodes that are kept, the highest score first.
    kept : Tensor [B, k]
        bool; False for what fills `index` up.
    """

    values: Tensor
    valid: Tensor
    index: Tensor
    kept: Tensor

    @property
    def ranked(self) -> Tensor:
        """Scores [B, k] of the kept nodes, the highest first."""
        return self.values.gather(1, self.index)


def undecided(scores: Scores) -> Tensor:
    """TopK loss [B]: how far kept nodes are from a score of 1, and others from 0."""
    chosen = torch.zeros_like(scores.values).scatter(1, scores.index, scores.kept.to(scores.values))
    s = scores.values
    each = torch.where(chosen > 0, (s + NOTHING).log(), (1 - s + NOTHING).log()) * scores.valid
    return -each.sum(1) / scores.valid.sum(1)


def undecided_ranks(scores: Scores) -> Tensor:
    """The same as published by the authors [B]: of the kept nodes the better half, and the worse.

    NaN of people who lack nodes: their ranks are of nothing alike. Settings refuse them before.
    """
    s = scores.ranked
    half = s.shape[1] // 2
    best, worst = s[:, :half], s[:, s.shape[1] - half :]
    found = -(best + NOTHING).log().mean(1) - (1 - worst + NOTHING).log().mean(1)
    return torch.where(scores.kept.all(1), found, torch.nan)


def apart(values: Tensor, valid: Tensor, classes: Tensor) -> Tensor:
    """Group consistency: variance of scores [B, n] within classes [B], summed over nodes.

    The paper's sum of squared differences between all people of a class, over twice the number of
    such pairs. A node counts for the people who have it.
    """
    total = values.new_zeros(())
    for group in classes.unique():
        inside = (valid & (classes == group)[:, None]).to(values)
        count = inside.sum(0).clamp_min(1)
        centred = (values - (values * inside).sum(0) / count) * inside
        total = total + (centred.square().sum(0) / count).sum()
    return total


def added_losses(
    scores: tuple[Scores, Scores], classes: Tensor | None, consistency: float, ranks: bool
) -> Tensor:
    """What is added to people's losses [B]; what is of the whole batch, to each alike."""
    measure = undecided_ranks if ranks else undecided
    added: Tensor = DECIDED * (measure(scores[0]) + measure(scores[1]))
    if classes is None or not consistency:
        return added
    first = scores[0]
    if ranks:
        values = torch.sigmoid(first.ranked)  # published: a third sigmoid
        return added + consistency * apart(values, first.kept, classes)
    return added + consistency * apart(first.values, first.valid, classes)
