"""AdamW over groups of parameters that share a factor of the learning rate."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import nn


class Group(NamedTuple):
    """Parameters that share a factor of the learning rate."""

    parameters: list[nn.Parameter]
    factor: float = 1.0


def adamw(groups: Sequence[Group], lr: float, weight_decay: float) -> torch.optim.Optimizer:
    """AdamW whose groups know their ``factor``; vectors are not decayed."""
    parts: list[dict[str, Any]] = []
    for group in groups:
        for decay, chosen in (
            (weight_decay, [p for p in group.parameters if p.ndim > 1]),
            (0.0, [p for p in group.parameters if p.ndim <= 1]),
        ):
            if chosen:
                parts.append({"params": chosen, "weight_decay": decay, "factor": group.factor})
    return torch.optim.AdamW(parts, lr=lr)
