"""One optimiser step of a model, with no wait for the device inside it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor, nn

from brainjepa_core.models.interface import BrainModel
from brainjepa_core.pretraining.computing.kernels import choose_attention, chosen_kernels, rounding
from brainjepa_core.pretraining.computing.settings import EXACT, Computing
from brainjepa_core.pretraining.parallel.optimizer import collect_moments, sharded_adamw
from brainjepa_core.pretraining.parallel.processes import ALONE, Processes
from brainjepa_core.pretraining.sampling import Batch
from brainjepa_core.pretraining.schedules import values_at
from brainjepa_core.pretraining.training_settings import TrainingSettings

NEVER = torch.iinfo(torch.int64).max


def trained_parameters(model: BrainModel) -> list[nn.Parameter]:
    """What optimiser steps change; first what is decayed, as the optimiser has it."""
    trained = [p for p in model.parameters() if p.requires_grad]
    return sorted(trained, key=lambda p: p.ndim <= 1)


def make_optimizer(
    model: BrainModel, settings: TrainingSettings, shard: bool = False
) -> torch.optim.Optimizer:
    """AdamW or SGD over what is trained; one-dimensional parameters are not decayed."""
    trained = trained_parameters(model)
    groups = [
        {"params": [p for p in trained if p.ndim > 1], "decayed": True},
        {"params": [p for p in trained if p.ndim <= 1], "decayed": False},
    ]
    if settings.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=settings.schedule.lr)
    make = sharded_adamw if shard else torch.optim.AdamW
    lr, betas = settings.schedule.lr, settings.betas
    return make(groups, lr=lr, betas=betas, weight_decay=0.0, fused=True)


class Gradient(Protocol):
    """How the gradient of a step comes about; whoever else computes it takes this one's place."""

    def __call__(self, batches: Sequence[Batch]) -> Tensor:
        """Add a step's gradient to the parameters, and return its loss, still on the device.

        Of several processes each has its own micro-batches, and all of them the same gradient.
        """


class MeanGradient:
    """Gradient of the mean loss over a step's people, micro-batch by micro-batch, clipped.

    Parameters
    ----------
    model : BrainModel
    settings : TrainingSettings
        The largest norm of a step's gradient.
    device : torch.device
    computing : Computing
    processes : Processes
        That share the micro-batches.
    """

    def __init__(
        self,
        model: BrainModel,
        settings: TrainingSettings,
        device: torch.device,
        computing: Computing = EXACT,
        processes: Processes = ALONE,
    ) -> None:
        self.settings, self.device = settings, device
        self.computing, self.processes = computing, processes
        self.trained = trained_parameters(model)
        self._losses, self._constants = model.sample_losses, model.step_constants
        if computing.compile:  # masks are of another size at each step
            self._losses = torch.compile(self._losses, dynamic=True)
            self._constants = torch.compile(self._constants)

    def __call__(self, batches: Sequence[Batch]) -> Tensor:
        """Mean loss over the people of all micro-batches."""
        people = self.processes.total(sum(len(batch.x) for batch in batches))
        with chosen_kernels(self.computing, self.device):
            with rounding(self.computing, self.device):
                constants = self._constants()
            losses = (self._backward(b.to(self.device), constants, people) for b in batches)
            total = self.processes.add_gradients(self.trained, losses)
        if self.settings.clip_norm is not None:
            nn.utils.clip_grad_norm_(self.trained, self.settings.clip_norm, foreach=True)
        return total

    def _backward(self, batch: Batch, constants: dict[str, Tensor], people: int) -> Tensor:
        with rounding(self.computing, self.device):
            losses = self._losses(
                batch.x, token_valid=batch.token_valid, **batch.draws, **constants
            )
        loss: Tensor = losses.mean() / (people / len(batch.x))
        loss.backward()
        return loss.detach()


class Training:
    """A model, its optimiser and the number of the next step.

    Parameters
    ----------
    model : BrainModel
        Moved to `device`.
    settings : TrainingSettings
    device : str or torch.device
    gradient : Gradient, optional
        By default that of the mean loss.
    computing : Computing
        How the mean loss is computed; exactly by default.
    processes : Processes
        That train this model together, each on its own micro-batches.
    shard_optimizer : bool
        Whether each of them keeps a part of AdamW's moments.

    Raises
    ------
    ValueError
        If that is not what the device can do, or further from exact than the settings accept.
    """

    def __init__(
        self,
        model: BrainModel,
        settings: TrainingSettings,
        device: str | torch.device = "cpu",
        gradient: Gradient | None = None,
        computing: Computing = EXACT,
        processes: Processes = ALONE,
        shard_optimizer: bool = False,
    ) -> None:
        self.device, self.processes = torch.device(device), processes
        computing.require_on(self.device.type)
        computing.require_within(settings.tolerance)
        self.model = model.to(self.device)
        choose_attention(self.model, computing)
        self.settings = settings
        self.optimizer = make_optimizer(self.model, settings, shard_optimizer)
        self.gradient = gradient or MeanGradient(
            self.model, settings, self.device, computing, processes
        )
        self.step = 0
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
        loss = self.gradient(batches)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.model.after_step(values.momentum)
        bad = torch.where(torch.isfinite(loss), NEVER, self.step)
        self._first_bad = torch.minimum(self._first_bad, bad)
        self.step += 1
        return loss

    def first_bad_step(self) -> int | None:
        """First step whose loss or update was not finite, or None; waits for the device."""
        step = int(self._first_bad)
        if step != NEVER:
            return step
        # A finite loss may have had a gradient that overflowed. Only the latest update can have
        # passed unseen: the loss after an earlier one would have shown it.
        norms = torch.stack(torch._foreach_norm(tuple(trained_parameters(self.model))))
        return None if torch.isfinite(norms).all() else self.step - 1

    def prepare_to_save(self) -> None:
        """Bring what is saved to the first process, and see that all have the same weights.

        All processes call it.

        Raises
        ------
        ValueError
            If their weights differ.
        """
        self.processes.require_equal(self.model.parameters())
        collect_moments(self.optimizer)

    def resume(self, step: int) -> None:
        """Go on at `step`, once its weights and moments have been put in place."""
        self.step = step
        self._first_bad.fill_(NEVER)
        self.optimizer.zero_grad(set_to_none=True)
