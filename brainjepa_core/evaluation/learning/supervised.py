"""One training loop for everything that learns from labels: probes, fine-tuning, FC networks.

Learning rate, people of a batch, their windows and what is dropped are functions of the seed and
the step. The best state of the validation part is kept.

Shapes: n people, B batch, O outputs.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from brainjepa_core.arrays import Float64
from brainjepa_core.evaluation.features.adjustment import target_of_covariates
from brainjepa_core.evaluation.learning.inputs import Arguments, Inputs
from brainjepa_core.evaluation.learning.learned_target import LearnedTarget, what_is_left
from brainjepa_core.evaluation.learning.optimizer import Group, adamw
from brainjepa_core.evaluation.tasks.protocols import Split
from brainjepa_core.evaluation.tasks.settings import TaskData
from brainjepa_core.pretraining.sampling import draws_of_step
from brainjepa_core.pretraining.schedules import ScheduleSettings, learning_rate
from brainjepa_core.settings import Frozen


class TrainingSettings(Frozen):
    """How a network learns from labels.

    Attributes
    ----------
    steps, batch_size : int
        A person gives one input a batch.
    lr : float
        Of AdamW: its peak, after the warm-up and before the cosine to zero.
    warmup : float
        Share of the steps over which the learning rate rises.
    weight_decay : float
        Of matrices; vectors are not decayed.
    clip_norm : float, optional
        Longest gradient.
    evaluate_every, patience : int
        Steps between looks at the validation part, and looks without a better loss after which
        training stops.
    balance : bool
        Classes weigh the same whatever their number of people.
    precision : {"auto", "fp32"}
        ``auto`` is bf16 on a GPU that has it.
    seed : int
        Of weights, batches and windows, together with the split's repetition.
    """

    steps: int = Field(300, ge=1)
    batch_size: int = Field(32, ge=2)
    lr: float = Field(1e-3, gt=0)
    warmup: float = Field(0.1, ge=0, le=1)
    weight_decay: float = Field(0.05, ge=0)
    clip_norm: float | None = Field(1.0, gt=0)
    evaluate_every: int = Field(20, ge=1)
    patience: int = Field(5, ge=1)
    balance: bool = True
    precision: Literal["auto", "fp32"] = "auto"
    seed: int = Field(0, ge=0)


class Look(NamedTuple):
    """What a look at a training shows: steps taken, mean loss since the last look, validation."""

    steps: int
    loss: float
    validation: float | None


Progress = Callable[[Look], None]


class Fit(NamedTuple):
    """What reads the outputs of a trained network, and after how many steps its state is."""

    target: LearnedTarget
    steps: int


def fit(
    network: nn.Module,
    inputs: Inputs,
    data: TaskData,
    split: Split,
    settings: TrainingSettings,
    *,
    target: LearnedTarget | None = None,
    groups: Sequence[Group] | None = None,
    until: int | None = None,
    refresh: Callable[[int], None] = lambda _: None,
    sure: bool = False,
    progress: Progress | None = None,
) -> Fit:
    """Train a network in place; it ends in evaluation mode, in its best state.

    Parameters
    ----------
    network : nn.Module
        On its device. Called with what `inputs` gives; returns [B, O]. Parameters that do not
        require gradients are left alone. One that has ``learned(arguments, classes)``, as a
        `ConnectivityNetwork` has, is trained by that.
    inputs : Inputs
    data : TaskData
    split : Split
        Learns from ``train``; ``validation`` chooses the state, the one that the network came with
        among them (the last one where it is empty).
    settings : TrainingSettings
    target : LearnedTarget, optional
        By default that of the training part.
    groups : sequence of Group, optional
        By default all parameters alike.
    until : int, optional
        Stop after this many steps, whose learning rates are those of the whole schedule.
    refresh : callable
        Called with the number of steps before each look, and before the first step: brings what is
        not learned by steps to the network's state.
    sure : bool
        The network stays as it came unless the best state's gain on the validation people is more
        than two of its standard errors.
    progress : callable, optional
        Called at each `Look`.

    Returns
    -------
    Fit

    Raises
    ------
    ValueError
        If training has one class or value only, or its loss, in training or in validation, is not
        finite: no state would be the best one.
    """
    target = target or LearnedTarget.of(data, split.train, settings.balance)
    encoded = target.encode(what_is_left(data, split.train)).to(device_of(network))
    groups = groups or [Group([p for p in network.parameters() if p.requires_grad])]
    optimizer = adamw(groups, settings.lr, settings.weight_decay)
    best, best_steps, waited, last_look = _state(network), 0, 0, 0
    refresh(0)
    first, start = best, _validate(network, inputs, target, encoded, split, settings)
    gained, best_loss = start, _mean(start)
    best_loss = float("inf") if best_loss is None or not np.isfinite(best_loss) else best_loss
    total = torch.zeros((), device=encoded.device)
    end = settings.steps if until is None else until
    for step in range(end):
        total += _advance(
            network, inputs, target, encoded, split, settings, step=step, optimizer=optimizer
        )
        if (step + 1) % settings.evaluate_every and step + 1 < end:
            continue
        loss = _finite(float(total) / (step + 1 - last_look), "loss", data, step)
        last_look, total = step + 1, torch.zeros_like(total)
        refresh(step + 1)
        each = _validate(network, inputs, target, encoded, split, settings)
        validation = _mean(each)
        if validation is not None:
            people = len(split.validation)
            _finite(validation, f"loss of the {people} validation people", data, step)
        look = Look(step + 1, loss, validation)
        if progress is not None:
            progress(look)
        if look.validation is None or look.validation < best_loss:
            best, best_steps, waited, gained = _state(network), step + 1, 0, each
            best_loss = best_loss if look.validation is None else look.validation
        else:
            waited += 1
            if waited == settings.patience:
                break
    if sure and start is not None and gained is not None and not is_sure(start - gained):
        best, best_steps = first, 0
    network.load_state_dict(best, strict=False)
    network.eval()
    return Fit(target, best_steps)


def is_sure(gains: Tensor) -> bool:
    """Whether people's gains [n] are in the mean more than two of its standard errors."""
    if len(gains) < 2:
        return False
    return bool(gains.mean() > 2 * gains.std() / len(gains) ** 0.5)


@torch.no_grad()
def outputs_of(
    network: nn.Module, inputs: Inputs, rows: Sequence[int], precision: str = "fp32"
) -> Tensor:
    """Outputs [n, O] of people, each the mean over all inputs; float32 on the CPU."""
    network.eval()
    device = device_of(network)
    total, count = None, torch.zeros(len(rows), 1)
    for places, arguments in inputs.whole(rows):
        with _autocast(device, precision):
            found = network(*_on(device, arguments)).float().cpu()
        if total is None:
            total = torch.zeros(len(rows), found.shape[1])
        where = torch.tensor(places)
        total.index_add_(0, where, found)
        count.index_add_(0, where, torch.ones(len(places), 1))
    if total is None:
        raise ValueError("expected people to predict, found none; check the split's tested part")
    return total / count


def fit_and_predict(
    network: nn.Module,
    inputs: Inputs,
    data: TaskData,
    split: Split,
    settings: TrainingSettings,
    *,
    groups: Sequence[Group] | None = None,
    progress: Progress | None = None,
) -> Float64:
    """`fit`, then what a `Method` returns for the tested part, in the target's unit."""
    target, _ = fit(network, inputs, data, split, settings, groups=groups, progress=progress)
    found = target.decode(outputs_of(network, inputs, split.test.tolist(), settings.precision))
    if data.classes:
        return found
    return found + target_of_covariates(data, split.train)[split.test]


@contextlib.contextmanager
def seeded(*seed: int) -> Iterator[None]:
    """Random numbers of torch as a function of `seed`; those of others go on as before."""
    number = int(np.random.SeedSequence(seed).generate_state(1)[0])
    on_gpu = torch.cuda.is_initialized()
    with torch.random.fork_rng(range(torch.cuda.device_count()) if on_gpu else ()):
        # torch.manual_seed would queue a call, with its stack, for a GPU that may never be used.
        torch.default_generator.manual_seed(number)
        if on_gpu:
            torch.cuda.manual_seed_all(number)
        yield


def device_of(network: nn.Module) -> torch.device:
    """Where a network is."""
    return next(network.parameters()).device


def _advance(
    network: nn.Module,
    inputs: Inputs,
    target: LearnedTarget,
    encoded: Tensor,
    split: Split,
    settings: TrainingSettings,
    *,
    step: int,
    optimizer: torch.optim.Optimizer,
) -> Tensor:
    """One optimiser step on the people and inputs of this step; the loss, still on the device."""
    seed = (settings.seed, split.repetition, step)
    size = min(settings.batch_size, len(split.train))
    order = int(np.random.SeedSequence(seed[:2]).generate_state(1)[0])
    draws = draws_of_step(order, step, size, len(split.train))
    rows = [int(split.train[draw.subject]) for draw in draws]
    arguments = inputs.draw(rows, [(*seed, draw.epoch) for draw in draws])
    network.train()
    with seeded(*seed), _autocast(encoded.device, settings.precision):
        output, added = _learned(network, _on(encoded.device, arguments), target, encoded[rows])
    loss = target.loss(output, encoded[rows]) + added
    loss.backward()
    trained = [p for group in optimizer.param_groups for p in group["params"]]
    if settings.clip_norm is not None:
        nn.utils.clip_grad_norm_(trained, settings.clip_norm)
    lr = learning_rate(_schedule(settings), step)
    for group in optimizer.param_groups:
        group["lr"] = lr * group["factor"]
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return loss.detach()


def _learned(
    network: nn.Module, arguments: Arguments, target: LearnedTarget, encoded: Tensor
) -> tuple[Tensor, Tensor | float]:
    """Outputs [B, O], and what else the network asks to be small."""
    learned = getattr(network, "learned", None)
    if learned is None:
        return network(*arguments), 0.0
    output, added = learned(arguments, encoded if target.classes else None)
    return output, added.mean()


def _schedule(settings: TrainingSettings) -> ScheduleSettings:
    return ScheduleSettings(
        total_steps=settings.steps,
        warmup_steps=round(settings.warmup * settings.steps),
        start_lr=0.0,
        lr=settings.lr,
        final_lr=0.0,
    )


def _validate(
    network: nn.Module,
    inputs: Inputs,
    target: LearnedTarget,
    encoded: Tensor,
    split: Split,
    settings: TrainingSettings,
) -> Tensor | None:
    """Losses of the validation people."""
    if not len(split.validation):
        return None
    rows = [int(row) for row in split.validation]
    output = outputs_of(network, inputs, rows, settings.precision)
    return target.losses(output, encoded[rows].cpu())


def _mean(losses: Tensor | None) -> float | None:
    return None if losses is None else float(losses.mean())


def _state(network: nn.Module) -> dict[str, Tensor]:
    """Copies of what training can change: learned parameters, and buffers."""
    frozen = {name for name, p in network.named_parameters() if not p.requires_grad}
    state = network.state_dict()
    return {name: value.detach().clone() for name, value in state.items() if name not in frozen}


def _finite(loss: float, what: str, data: TaskData, step: int) -> float:
    if not np.isfinite(loss):
        raise ValueError(
            f"task '{data.task.name}': expected a finite {what}, found {loss} by step {step + 1}; "
            "lower lr, and check features for values that are not finite"
        )
    return loss


def _autocast(device: torch.device, precision: str) -> contextlib.AbstractContextManager[Any]:
    if precision == "auto" and device.type == "cuda" and torch.cuda.is_bf16_supported():
        return torch.autocast("cuda", torch.bfloat16)
    return contextlib.nullcontext()


def _on(device: torch.device, arguments: Arguments) -> Arguments:
    return tuple(None if a is None else a.to(device, non_blocking=True) for a in arguments)
