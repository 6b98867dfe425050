"""How a row of the person objective's table is trained: all people together, or in federation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from person.table import FEDERATED, Job

from brainjepa_core.evaluation.other_half import WINDOW_SECONDS
from brainjepa_core.gradients import ConsensusBasis
from brainjepa_core.models.interface import BrainModel
from brainjepa_core.pretraining.sampling import batches_ahead
from brainjepa_core.pretraining.settings import PretrainingSettings
from brainjepa_core.pretraining.step import Training
from brainjepa_core.signals.windows import Windows
from brainjepa_server.combining.outer import OuterOptimizer
from brainjepa_server.settings import OuterSettings

TR = 2.0
FRAMES = round(WINDOW_SECONDS / TR)
TOKENS: dict[str, dict[str, Any]] = {
    "token objective": {"family": "brain_jepa"},
    "token objective, published": {"family": "brain_jepa", "recipe": "published"},
    "masked autoencoder": {"family": "masked_autoencoder"},
}
OUTER = {
    "fedavg": OuterSettings(),
    "fedavgm": OuterSettings(kind="fedavgm", lr=0.7),  # DiLoCo's
    "fedadam": OuterSettings(kind="fedadam", lr=1e-2, beta2=0.999),  # after plain steps of sites
}
PLAIN = {"lr": 1.0, "start_lr": 1.0, "final_lr": 1.0, "weight_decay": 0, "final_weight_decay": 0}


def study_of(job: Job) -> PretrainingSettings:
    """The study of a row; token objectives get the same encoder, windows, people and steps."""
    steps = round(job["steps"] * job["budget"])
    plain = job["row"] == FEDERATED and job["outer"] == "fedadam"
    sizes: dict[str, Any] = {"width": 32, "heads": 4, "depth": job["depth"], "patch": job["patch"]}
    tokens = TOKENS.get(job["row"])
    if tokens is not None:
        sizes |= {"predictor_width": 32, "predictor_depth": 2, "predictor_heads": 4}
    else:
        sizes |= {"directions": job["directions"]}
    return PretrainingSettings(
        **(tokens or {"family": "person_jepa"}),
        model=sizes,
        windows={"frames": FRAMES, "tr": TR},
        training={
            "seed": job["seed"],
            "batch_size": job["batch"],
            "clip_norm": 1.0,
            "optimizer": "sgd" if plain else "adamw",
            "schedule": {
                "total_steps": steps,
                "warmup_steps": steps // 10,
                "start_lr": 1e-4,
                "lr": job["lr"],
                "final_lr": 2e-5,
                "final_weight_decay": 0.04,
                "ema": 0.99,
                **(PLAIN if plain else {}),
            },
        },
    )


def trained(job: Job, windows: Windows, basis: ConsensusBasis) -> BrainModel:
    """All people of some windows together."""
    study = study_of(job)
    training = study.new_training(basis, job["device"])
    steps = range(study.training.schedule.total_steps)
    for batches in batches_ahead(windows, training.model, study.training, steps):
        training.advance(batches)
    return training.model


def federated(job: Job, sites: Sequence[Windows], basis: ConsensusBasis) -> BrainModel:
    """Rounds of local steps, and the coordinator's step along their mean by people.

    Each site keeps its optimiser, and takes its part of the batch, so that a step of all sites sees
    as many people as a pooled one.
    """
    study = study_of({**job, "batch": max(1, round(job["batch"] / len(sites)))})
    at_sites = [study.new_training(basis, job["device"]) for _ in sites]
    model = study.new_training(basis, job["device"]).model
    outer = OuterOptimizer(OUTER[job["outer"]], model.roles)
    shares = np.array([windows.subjects for windows in sites], float)
    total, local = study.training.schedule.total_steps, job["local_steps"]
    for number, first in enumerate(range(0, total, local)):
        steps = range(first, min(first + local, total))
        for training, windows in zip(at_sites, sites, strict=True):
            training.model.load_state_dict(model.state_dict())
            _advance(training, windows, study, steps)
        base = weights_of(model)
        found = [weights_of(training.model) for training in at_sites]
        mean = {
            name: np.average([own[name].astype(float) for own in found], 0, shares)
            for name in base
            if model.roles.is_trained(name)
        }
        new = base | outer.step(base, mean, number)
        model.load_state_dict({name: torch.from_numpy(value) for name, value in new.items()})
    return model


def weights_of(model: BrainModel) -> dict[str, Any]:
    """A model's arrays by name, as they travel."""
    return {name: value.cpu().numpy().copy() for name, value in model.state_dict().items()}


def _advance(
    training: Training, windows: Windows, study: PretrainingSettings, steps: range
) -> None:
    training.resume(steps.start)
    for batches in batches_ahead(windows, training.model, study.training, steps):
        training.advance(batches)
