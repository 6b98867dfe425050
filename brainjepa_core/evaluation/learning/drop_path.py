"""Drop path: in training, a block's branches are left out for some samples (Huang et al. 2016)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from brainjepa_core.models.parts.transformer import Block


class DropPath:
    """A forward hook: zero a sample's output with probability `rate`, and scale up the others.

    A hook rather than a module, so that names of weights stay as they are in checkpoints. It does
    nothing while its module is in evaluation mode. The expectation is that of the output.

    Parameters
    ----------
    rate : float
        From 0 up to below 1.
    """

    def __init__(self, rate: float) -> None:
        self.rate = rate

    def __call__(self, module: nn.Module, inputs: Any, output: Tensor) -> Tensor | None:
        """What the branch [B, ...] becomes; None leaves it as it is."""
        if not module.training or self.rate == 0:
            return None
        kept = torch.rand(len(output), *[1] * (output.dim() - 1), device=output.device) >= self.rate
        return output * kept.to(output.dtype) / (1 - self.rate)


def add_drop_path(blocks: Sequence[nn.Module], rate: float) -> None:
    """Hook both branches of blocks, with rates that grow linearly from 0 to `rate` at the last."""
    for depth, block in enumerate(blocks):
        hook = DropPath(rate * depth / max(1, len(blocks) - 1))
        block = cast(Block, block)
        block.attn.register_forward_hook(hook)
        block.mlp.register_forward_hook(hook)
