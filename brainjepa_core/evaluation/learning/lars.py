"""LARS: steps as long as the weights they change, for linear probes on large batches."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch


class Lars(torch.optim.Optimizer):
    """Layer-wise adaptive rate scaling (You et al. 2017), as used by linear probes of ViTs.

    As in MoCo v3 and MAE, one-dimensional parameters (biases) are neither decayed nor scaled.

    Parameters
    ----------
    params : iterable
        Parameters or groups.
    lr : float
        The published probes take about 0.1 for every 256 samples of a batch.
    weight_decay, momentum : float
    trust : float
        Length of a step of learning rate 1 over the length of the weights.
    """

    def __init__(
        self,
        params: Any,
        lr: float,
        weight_decay: float = 0.0,
        momentum: float = 0.9,
        trust: float = 1e-3,
    ) -> None:
        defaults = {"lr": lr, "weight_decay": weight_decay, "momentum": momentum, "trust": trust}
        super().__init__(params, defaults)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Take a step; `closure` is of the base class and not called."""
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is None:
                    continue
                update = p.grad
                if p.ndim > 1:
                    update = update + group["weight_decay"] * p
                    lengths, steps = p.norm(), update.norm()
                    known = (lengths > 0) & (steps > 0)
                    update = update * torch.where(known, group["trust"] * lengths / steps, 1.0)
                state = self.state[p]
                if "momentum" not in state:
                    state["momentum"] = torch.zeros_like(p)
                state["momentum"].mul_(group["momentum"]).add_(update)
                p.sub_(group["lr"] * state["momentum"])
