"""A site's part of a round: some optimiser steps from the global weights, and its new weights."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

from brainjepa_client.computing.private_round import PrivateRound, on_grid
from brainjepa_client.computing.round_model import model_of
from brainjepa_client.computing.state import load_kept_back, load_state, study_folder, write_state
from brainjepa_client.computing.stopping import going_on_while, require_all_going_on
from brainjepa_client.guarding.policy import Refusal
from brainjepa_client.settings import PolicySettings, SiteSettings
from brainjepa_core.arrays import Arrays, Float32
from brainjepa_core.models.checkpoint import model_arrays
from brainjepa_core.models.interface import ModelShape
from brainjepa_core.pretraining.loop import BAD_BATCH, write_bad_batch
from brainjepa_core.pretraining.metrics import collapse_metrics
from brainjepa_core.pretraining.parallel.processes import ALONE, Processes
from brainjepa_core.pretraining.phenotypes import learnable_columns
from brainjepa_core.pretraining.sampling import Batch, batches_ahead, draws_of_step
from brainjepa_core.pretraining.step import Training
from brainjepa_core.signals.windows import Windows
from brainjepa_core.wire.messages import Assignment, Reply, Request, Scalar
from brainjepa_core.wire.told_numbers import told_numbers
from brainjepa_core.wire.weights import encode_weights, left_over

CHECK_EVERY = 25  # steps between waits for the device


def train(
    settings: SiteSettings,
    windows: Windows,
    request: Request,
    private: PrivateRound | None = None,
    processes: Processes = ALONE,
) -> Reply:
    """Reply to ``train``: the steps of a round, the site's state saved before the reply leaves.

    Parameters
    ----------
    settings : SiteSettings
    windows : Windows
        Of the people outside the held-out fold.
    request : Request
        With ``basis`` and the round's global weights.
    private : PrivateRound, optional
        Under ``protect: dp``.
    processes : Processes
        That train together; the first one saves and answers.

    Returns
    -------
    Reply
        The trained weights, and what follows them where targets are averaged, as
        `wire.weights.encode_weights` says; share, losses, steps, seconds and signs of collapse, as
        `wire.told_numbers` tells them. Of a private round weights and steps, and nothing else.

    Raises
    ------
    Refusal
        If the weights do not fit, the site's state belongs to other settings, a loss or a weight is
        no number, or between two steps the site is stopped, the contract is taken back or the round
        takes too long; nothing is saved then, so that the same request starts from the same state
        again.
    """
    with going_on_while(_in_time(settings.policy)):
        return _train(settings, windows, request, private, processes)


def _in_time(policy: PolicySettings) -> Callable[[], None]:
    """What refuses, from now on, a round that takes longer than the policy allows."""
    until = time.monotonic() + 60 * policy.max_minutes_a_round

    def require_time() -> None:
        if time.monotonic() > until:
            raise Refusal(
                f"this site's policy allows {policy.max_minutes_a_round:g} minutes a round "
                "(policy.max_minutes_a_round), and this one takes longer; ask for fewer steps a "
                "round, or its manager"
            )

    return require_time


def _train(
    settings: SiteSettings,
    windows: Windows,
    request: Request,
    private: PrivateRound | None,
    processes: Processes,
) -> Reply:
    started, assignment = time.perf_counter(), request.assignment
    model = model_of(request, len(windows.atlas))
    if model.settings.learned_phenotypes:
        windows = telling(settings.policy, windows, model.settings, private is not None)
    device = torch.device(settings.device)
    gradient = None if private is None else private.gradient(model, assignment, settings, processes)
    recipe = assignment.pretraining.training
    shard = settings.shard_optimizer and processes.count > 1
    training = Training(model, recipe, device, gradient, settings.computing, processes, shard)
    reset = assignment.reset_optimizer or settings.policy.reset_optimizer
    load_state(settings.state, assignment, training, moments=not reset)
    training.resume(assignment.first_step)
    if assignment.proximal:
        training.optimizer.register_step_pre_hook(proximal_hook(training, assignment.proximal))
    if private is not None:
        _run_private(training, private.batches(windows, model, assignment, processes.parts()))
        training.prepare_to_save()
        if processes.rank:
            return Reply()
        arrays = _kept(settings.state, training, request, on_grid)
        return Reply({"steps": assignment.steps}, arrays)
    losses, last = _run(training, windows, assignment, study_folder(settings.state, assignment))
    training.prepare_to_save()
    if processes.rank:
        return Reply()
    arrays = _kept(settings.state, training, request)
    metrics: dict[str, Scalar] = {
        "share": _share(settings.policy, windows, assignment),
        "steps": len(losses),
    }
    told = {
        "loss": float(losses.mean()),
        "loss_last": float(losses[-1]),
        **_collapse(training, last),
        "seconds": time.perf_counter() - started,
    }
    return Reply({**metrics, **told_numbers(told)}, arrays)


def telling(policy: PolicySettings, windows: Windows, shape: ModelShape, private: bool) -> Windows:
    """Windows of whose people the phenotypes are learned that the policy allows.

    One that is known of fewer than ``policy.min_people_a_class`` people, or of fewer of a class,
    counts as known of nobody; under differential privacy noise sees to that.

    Raises
    ------
    Refusal
        If none is left, or one holds what looks like codes for missing.
    """
    fewest = 0 if private else policy.min_people_a_class
    try:
        columns = learnable_columns(windows, shape, fewest, policy.task_columns)
    except ValueError as error:
        raise Refusal(str(error)) from error
    if not columns:
        raise Refusal(
            "expected one of the study's phenotypes of enough people of this site "
            "(policy.min_people_a_class), and allowed (policy.task_columns), found none; go on "
            "without it"
        )
    return windows.telling(columns)


def drawn(request: Request, windows: Windows) -> list[int]:
    """Which people a round's steps see, ascending: a function of the request."""
    assignment = request.assignment
    settings = assignment.pretraining.training
    steps = range(assignment.first_step, assignment.first_step + assignment.steps)
    return sorted(
        {
            draw.subject
            for step in steps
            for draw in draws_of_step(settings.seed, step, settings.batch_size, windows.subjects)
        }
    )


def proximal_hook(training: Training, mu: float) -> Callable[..., None]:
    """FedProx: before each step, add ``mu * (w - w_global)`` to the gradients.

    The term is added after clipping, which is meant for the loss of a batch
    (Li et al., MLSys 2020, arXiv 1812.06127).
    """
    weights = [p for group in training.optimizer.param_groups for p in group["params"]]
    start = [w.detach().clone() for w in weights]

    @torch.no_grad()
    def add(*_: Any) -> None:
        for weight, origin in zip(weights, start, strict=True):
            if weight.grad is not None:
                weight.grad.add_(weight - origin, alpha=mu)

    return add


def _run(
    training: Training, windows: Windows, assignment: Assignment, folder: Path
) -> tuple[torch.Tensor, Batch]:
    """Losses [steps] as float64, and the last step's first micro-batch."""
    losses: list[torch.Tensor] = []
    steps = range(assignment.first_step, assignment.first_step + assignment.steps)
    made = (windows, training.model, training.settings, steps, training.processes.parts())
    for batches in batches_ahead(*made):
        require_all_going_on(training.processes)
        losses.append(training.advance(batches))
        if len(losses) % CHECK_EVERY == 0 or len(losses) == len(steps):
            _require_finite(training, windows, folder)
    return torch.stack(losses).double().cpu(), batches[0]


def _run_private(training: Training, steps: Iterator[list[Batch]]) -> None:
    """Take private steps, whose losses and people nobody is told of."""
    for batches in steps:
        require_all_going_on(training.processes)
        training.advance(batches)
    if training.first_bad_step() is not None:  # of weights, which noise has made public
        raise Refusal(
            "expected finite weights after a private round, found NaN or infinity; lower the "
            "learning rate, or ask for less noise"
        )


def _require_finite(training: Training, windows: Windows, folder: Path) -> None:
    bad = training.first_bad_step()
    if bad is None:
        return
    if training.processes.rank == 0:
        write_bad_batch(folder, bad, training.settings, windows)
    raise Refusal(
        "expected a finite loss, found NaN or infinity in this round; lower the learning rate or "
        f"set clip_norm, or have its manager look at the scans in its {BAD_BATCH}"
    )


def _share(policy: PolicySettings, windows: Windows, assignment: Assignment) -> float:
    """What the reply counts by, rounded as in ``describe``; a site of fewer counts as one."""
    if assignment.share == "equal":
        return 1.0
    scans = sum(len(person.records) for person in windows.people)
    told = policy.rounded(scans if assignment.share == "scans" else windows.subjects)
    return float(max(told, 1))


def _collapse(training: Training, batch: Batch) -> dict[str, float]:
    """Signs of collapse; none from a batch of one."""
    batch = batch.to(training.device)
    if len(batch.x) < 2:
        return {}
    tokens = training.model.encode(batch.x, batch.token_valid)
    return collapse_metrics(tokens, batch.token_valid)


def _kept(
    state: Path, training: Training, request: Request, told: Callable[[Arrays], Arrays] = dict
) -> Arrays:
    """Arrays that leave, once the site's state is saved; `told` says how exactly weights are."""
    arrays, kept_back = _leaving(state, training, request, told)
    write_state(state, request.assignment, training, kept_back)
    return arrays


def _leaving(
    state: Path, training: Training, request: Request, told: Callable[[Arrays], Arrays]
) -> tuple[Arrays, dict[str, Float32]]:
    """Arrays that leave the site, and what the wire drops of them, which the site keeps.

    What was dropped in the newest earlier round is sent along, whether or not rounds without this
    site came between: it is a part of differences that the site has told of.
    """
    assignment, base, whole = request.assignment, request.arrays, model_arrays(training.model)
    names = training.model.roles.sent(whole, with_followers=assignment.target == "average")
    weights = told({name: whole[name].numpy() for name in names})
    before = load_kept_back(state, assignment)
    sent = encode_weights(weights, base, assignment.wire, before)
    if assignment.wire != "int8":
        return sent, {}
    return sent, left_over(weights, base, sent, before)
