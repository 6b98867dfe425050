"""What SwiFT learns without labels: samples of one person are alike, times within one are not.

Time contrast (TCLR, Dave et al. 2022) as the paper's best variant has it: two windows of a person
are told from those of other people (instance), and a window, seen twice, from the person's other
window (local). Both are InfoNCE by cosines.

Shapes: B people, C channels, P width of a projection.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

TEMPERATURE = 0.1  # published


class ContrastHead(nn.Module):
    """Mean features to unit vectors that are compared.

    Parameters
    ----------
    features, projection : int
    norm : {"layer", "batch"}
        ``batch`` is published: a vector then depends on who else is in the batch. Batches are
        normalised by their own statistics, so that there are none to average between sites.
    """

    def __init__(
        self, features: int, projection: int = 128, norm: Literal["layer", "batch"] = "layer"
    ) -> None:
        super().__init__()
        self.project = nn.Linear(features, projection, bias=False)
        self.norm: nn.Module = (
            nn.LayerNorm(projection)
            if norm == "layer"
            else nn.BatchNorm1d(projection, track_running_stats=False)
        )

    def forward(self, pooled: Tensor) -> Tensor:
        """Map mean features [B, C] to [B, P] of unit length."""
        return F.normalize(self.norm(self.project(pooled)), dim=1)


def told_apart(one: Tensor, two: Tensor, temperature: float = TEMPERATURE) -> Tensor:
    """NT-Xent [n] of vectors [n, P] and their partners: the mean of both directions.

    A vector's partner is to be nearer than all others of both sets (Chen et al. 2020).
    """
    both = torch.cat([one, two])
    like = both @ both.T / temperature
    like = like.masked_fill(torch.eye(len(both), dtype=torch.bool, device=both.device), -torch.inf)
    partner = torch.arange(len(both), device=both.device).roll(len(one))
    wrong: Tensor = F.cross_entropy(like, partner, reduction="none")
    return wrong.reshape(2, -1).mean(0)


def time_contrast(seen: Tensor, again: Tensor) -> Tensor:
    """Losses [B] of two windows of each person.

    Parameters
    ----------
    seen, again : Tensor [B, 2, P]
        Of the two windows, and of other augmentations of the same.

    Returns
    -------
    Tensor [B]
        Instance contrast over the people, and local contrast within each.
    """
    among = told_apart(seen[:, 0], seen[:, 1])
    within = torch.stack([told_apart(a, b).mean() for a, b in zip(seen, again, strict=True)])
    return among + within
