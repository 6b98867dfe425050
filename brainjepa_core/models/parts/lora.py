"""LoRA: a frozen linear layer learns a low-rank difference (Hu et al., ICLR 2022).

Shapes: I inputs, O outputs, r rank.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

ATTENTION = ("qkv", "proj")


class LoraLinear(nn.Module):
    """``base(x) + alpha / r * x A' B'``, where the base is frozen and B starts at zero.

    Parameters
    ----------
    base : nn.Linear
    rank : int
        r.
    alpha : float
    """

    def __init__(self, base: nn.Linear, rank: int, alpha: float) -> None:
        super().__init__()
        self.base = base.requires_grad_(False)
        self.scale = alpha / rank
        self.down = nn.Parameter(base.weight.new_empty(rank, base.in_features))
        self.up = nn.Parameter(base.weight.new_zeros(base.out_features, rank))
        nn.init.kaiming_uniform_(self.down, a=math.sqrt(5))

    def forward(self, x: Tensor) -> Tensor:
        """Map [..., I] to [..., O]."""
        out: Tensor = self.base(x) + self.scale * (x @ self.down.T @ self.up.T)
        return out

    @torch.no_grad()
    def merged(self) -> nn.Linear:
        """One linear layer that computes the same."""
        linear = nn.Linear(
            self.base.in_features, self.base.out_features, self.base.bias is not None
        )
        linear = linear.to(self.base.weight)
        linear.weight.copy_(self.base.weight + self.scale * (self.up @ self.down))
        if self.base.bias is not None:
            linear.bias.copy_(self.base.bias)
        return linear


def add_lora(
    module: nn.Module, rank: int, alpha: float, names: tuple[str, ...] = ATTENTION
) -> None:
    """Replace the linear layers of some names anywhere in `module`, in place."""
    for parent in list(module.modules()):
        for name, child in list(parent.named_children()):
            if name in names and isinstance(child, nn.Linear):
                setattr(parent, name, LoraLinear(child, rank, alpha))


def merge_lora(module: nn.Module) -> None:
    """Make plain linear layers of all LoRA layers in `module`, in place."""
    for parent in list(module.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, LoraLinear):
                setattr(parent, name, child.merged())
