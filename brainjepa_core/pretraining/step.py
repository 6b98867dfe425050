"""One optimiser step of Brain-JEPA, with no wait for the device inside it."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from brainjepa_core.models.brain_jepa.model import BrainJEPA
from brainjepa_core.pretraining.sampling import Batch
from brainjepa_core.pretraining.schedules import values_at
from brainjepa_core.pretraining.training_settings import TrainingSettings

NEVER = torch.iinfo(torch.int64).max


def make_optimizer(model: BrainJEPA, settings: TrainingSettings) -> torch.optim.Optimizer:
    """AdamW or SGD over encoder and predictor; one-dimensional parameters are not decayed."""
    trained = [p for p in model.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in trained if p.ndim > 1], "decayed": True},
        {"params": [p for p in trained if p.ndim <= 1], "decayed": False},
    ]
    if settings.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=settings.schedule.lr)
    return torch.optim.AdamW(
        groups, lr=settings.schedule.lr, betas=settings.betas, weight_decay=0.0, fused=True
    )


class Training:
    """A model, its optimiser and the number of the next step.

    Parameters
    ----------
    model : BrainJEPA
        Moved to `device`.
    settings : TrainingSettings
    device : str or torch.device
    """

    def __init__(
        self,
        model: BrainJEPA,
        settings: TrainingSettings,
        device: str | torch.device = "cpu",
    ) -> None:
        self.device = torch.device(device)
        self.model = model.to(self.device)
        self.settings = settings
        self.optimizer = make_optimizer(self.model, settings)
        self.step = 0
        self._losses = (
            torch.compile(model.sample_losses, dynamic=True)
            if settings.compile
            else model.sample_losses
        )
        self._first_bad = torch.tensor(NEVER, device=self.device)

    def advance(self, batches: Sequence[Batch]) -> Tensor:
        """Take optimiser step number `step` on its micro-batches.

        Returns
        -------
        Tensor
            The step's loss, a scalar still on the device.
        """
        values = values_at(self.settings.schedule, self.step)
        for group in self.optimizer.param_groups:
            group["lr"] = values.lr
            group["weight_decay"] = values.weight_decay if group["decayed"] else 0.0
        total = torch.zeros((), device=self.device)
        for batch in batches:
            total = total + self._backward(batch.to(self.device), len(batches))
        if self.settings.clip_norm is not None:
            nn.utils.clip_grad_norm_(self._trained(), self.settings.clip_norm, foreach=True)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.model.update_target(values.momentum)
        bad = torch.where(torch.isfinite(total), NEVER, self.step)
        self._first_bad = torch.minimum(self._first_bad, bad)
        self.step += 1
        return total

    def _backward(self, batch: Batch, parts: int) -> Tensor:
        precision = (
            torch.autocast(self.device.type, torch.bfloat16)
            if self.settings.precision == "bf16"
            else contextlib.nullcontext()
        )
        with precision:
            losses = self._losses(
                batch.x,
                batch.context_index,
                batch.target_index,
                batch.context_valid,
                batch.target_valid,
                batch.token_valid,
            )
        loss = losses.mean() / parts
        loss.backward()
        return loss.detach()

    def first_bad_step(self) -> int | None:
        """First step whose loss or update was not finite, or None; waits for the device."""
        step = int(self._first_bad)
        if step != NEVER:
            return step
        # A finite loss may have had a gradient that overflowed. Only the latest update can have
        # passed unseen: the loss after an earlier one would have shown it.
        norms = torch.stack(torch._foreach_norm(tuple(self._trained())))
        return None if torch.isfinite(norms).all() else self.step - 1

    def resume(self, step: int) -> None:
        """Go on at `step`, once its weights and moments have been put in place."""
        self.step = step
        self._first_bad.fill_(NEVER)
        self.optimizer.zero_grad(set_to_none=True)

    def _trained(self) -> list[nn.Parameter]:
        return [p for group in self.optimizer.param_groups for p in group["params"]]
