"""What differential privacy leaves of a training, on synthetic people whose traits are known.

Sites go on from a model of other, public people, in rounds of private steps with local noise, and
their weights are averaged. Then known latent traits of *other* people are read from the model's
embeddings by cross-validated ridge; the model it began with is the zero. Sites are of 26 people, or
as large as they become when each person stands for many: their noise and rate are those of a large
site, the variety of their people is not.

    python benchmarks/dp_utility.py            a quarter of an hour on one busy core
    python benchmarks/dp_utility.py --quick    two epsilons, few steps: minutes
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from brainjepa_core.arrays import Float32
from brainjepa_core.evaluation.measure import HEADLINE, Outcomes, measure_model, outcomes_of
from brainjepa_core.gradients import ConsensusBasis
from brainjepa_core.models.adapters import with_adapters, without_adapters
from brainjepa_core.models.interface import BrainModel
from brainjepa_core.pretraining.basis import connectivity_sum
from brainjepa_core.pretraining.sampling import batches_ahead
from brainjepa_core.pretraining.settings import PretrainingSettings
from brainjepa_core.pretraining.step import Training
from brainjepa_core.privacy.gradient import PrivateGradient
from brainjepa_core.privacy.sampling import PoissonSampling, private_batches_of_step
from brainjepa_core.privacy.secret import RequestSecret
from brainjepa_core.privacy.study import StudyPrivacy, learning_people
from brainjepa_core.signals.storing.store import ScanStore
from brainjepa_core.signals.windows import Windows
from brainjepa_simulations.cohort.cohort import CohortSettings
from brainjepa_simulations.cohort.stores import write_cohort

COHORT: dict[str, Any] = {"rois": 30, "networks": 6, "frames": 160, "signal_share": 0.25}
PUBLIC, UNSEEN = 1000, 2000  # added to the seed of the sites' cohort
CLIP, FOLDS, RANK = 0.3, 5, 4
NONE, ALL = 1e-6, 1e3  # noise of epsilon infinity, and of an epsilon 0: a control without people
Train = Literal["all", "adapters"]


@dataclass(frozen=True)
class Many:
    """People of whom each stands for `times`, with windows and coins of their own."""

    windows: Windows
    times: int

    @property
    def subjects(self) -> int:
        return self.windows.subjects * self.times

    def batch(
        self, subjects: list[int], seeds: list[tuple[int, ...]]
    ) -> tuple[Float32, NDArray[np.bool_], NDArray[np.bool_]]:
        return self.windows.batch([s % self.windows.subjects for s in subjects], seeds)

    def rest(self, subjects: list[int], seeds: list[tuple[int, ...]]) -> Float32:
        return self.windows.rest([s % self.windows.subjects for s in subjects], seeds)

    def name(self, subject: int) -> str:
        return self.windows.name(subject % self.windows.subjects)


def study_of(seed: int, steps: int, batch: int, train: Train = "all") -> PretrainingSettings:
    """The study of one run."""
    sizes = {"width": 32, "depth": 2, "heads": 2}
    sizes |= {f"predictor_{name}": value for name, value in sizes.items()}
    schedule = {"total_steps": steps, "warmup_steps": steps // 10, "lr": 2e-3, "start_lr": 1e-4}
    schedule |= {"final_lr": 2e-5, "final_weight_decay": 0.04, "ema": 0.99}
    return PretrainingSettings(
        model={**sizes, "patch": 16},
        windows={"frames": 64},
        basis={"components": 10},
        training={
            "seed": seed, "batch_size": batch, "schedule": schedule, "train": train,
            "adapter_rank": RANK,
        },
    )  # fmt: skip


def people(folder: Path, seed: int, sites: int, each: int) -> list[Windows]:
    """Windows of each site of a synthetic cohort."""
    cohort = CohortSettings(seed=seed, sites=sites, subjects_per_site=each, **COHORT)
    study = study_of(seed, 10, 8)
    return [study.windows_of([ScanStore.open(path)]) for path in write_cohort(cohort, folder)]


def private_training(
    start: BrainModel, basis: ConsensusBasis, study: PretrainingSettings, sites: list[Many],
    epsilon: float, local_steps: int,
) -> BrainModel:  # fmt: skip
    """The federated model after all rounds; each site with its own noise, optimiser and secret."""
    settings = study.training
    told = sites[0].subjects * FOLDS // (FOLDS - 1)  # all of these learn
    if epsilon in (0.0, math.inf):
        privacy = StudyPrivacy(noise=NONE if epsilon else ALL, clip=CLIP)
    else:
        privacy = StudyPrivacy(epsilon=epsilon, clip=CLIP)
    protection = privacy.protection(privacy.release(settings, told, FOLDS))
    trainings = []
    for number, _ in enumerate(sites):
        model = study.new_model(basis)
        model.load_state_dict(start.state_dict())
        secret = RequestSecret(bytes([number]) * 32, f"{epsilon} {settings.train}")
        gradient = PrivateGradient(model, settings, protection, secret, 0, torch.device("cpu"))
        trainings.append((Training(model, settings, gradient=gradient), secret))
    for first in range(0, settings.schedule.total_steps, local_steps):
        for (training, secret), windows in zip(trainings, sites, strict=True):
            sampling = PoissonSampling(secret, settings.batch_size, learning_people(told, FOLDS))
            for step in range(first, first + local_steps):
                model = training.model
                training.advance(private_batches_of_step(windows, model, settings, step, sampling))
        mean = _mean([training.model for training, _ in trainings])
        for training, _ in trainings:
            training.model.load_state_dict(mean)
    return trainings[0][0].model


def _mean(models: list[BrainModel]) -> dict[str, Tensor]:
    states = [model.state_dict() for model in models]
    return {name: torch.stack([s[name] for s in states]).mean(0) for name in states[0]}


def rows(seed: int, steps: int, public_steps: int, epsilons: list[float]) -> Iterator[list[object]]:
    """Cells of the table, a row a run."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        public = _joined(folder / "public", seed + PUBLIC)
        sites = people(folder / "sites", seed, 3, 26)
        unseen = _joined(folder / "unseen", seed + UNSEEN)
        total = connectivity_sum(public)
        basis = ConsensusBasis.from_sum(total, 10)
        everything = outcomes_of(unseen, total.mean_fc())
        latents = {"latents": everything.groups["latents"]}
        outcomes = Outcomes(latents, everything.people, everything.folds)
        recipe = study_of(seed, public_steps, 16)
        training = recipe.new_training(basis)
        yield ["random weights", "", "", "", _r2(training.model, unseen, outcomes), 0]
        began = time.perf_counter()
        for batches in batches_ahead(public, training.model, recipe.training, range(public_steps)):
            training.advance(batches)
        start = training.model
        seconds = time.perf_counter() - began
        yield [
            "public model, which all go on from",
            "",
            "",
            "",
            _r2(start, unseen, outcomes),
            seconds,
        ]
        for times, batch in ((1, 8), (200, 32)):
            many = [Many(windows, times) for windows in sites]
            for train in ("all", "adapters"):
                study = study_of(seed, steps, batch, train)  # type: ignore[arg-type]
                began_with = with_adapters(start, RANK, seed) if train == "adapters" else start
                for epsilon in epsilons:
                    began = time.perf_counter()
                    model = private_training(began_with, basis, study, many, epsilon, 10)
                    found = _r2(without_adapters(model), unseen, outcomes)
                    size = sum(p.numel() for p in model.parameters() if p.requires_grad)
                    seconds = time.perf_counter() - began
                    yield [f"3 x {26 * times}", train, size, f"{epsilon:g}", found, seconds]


def _joined(folder: Path, seed: int) -> Windows:
    cohort = CohortSettings(seed=seed, sites=4, subjects_per_site=60, **COHORT)
    paths = write_cohort(cohort, folder)
    return study_of(seed, 10, 8).windows_of([ScanStore.open(path) for path in paths])


def _r2(model: BrainModel, windows: Windows, outcomes: Outcomes) -> float:
    scores = measure_model("model", model, windows, outcomes)
    return next(row.r2 for row in scores if row.pool == HEADLINE)


def main() -> None:
    """Print the table as it comes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=80, help="private, a site")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    steps, public_steps = (20, 20) if arguments.quick else (arguments.steps, 30)
    epsilons = [math.inf, 8.0, 0.0] if arguments.quick else [math.inf, 8.0, 3.0, 1.0, 0.0]
    began = time.perf_counter()
    print("| sites | trained | parameters | epsilon | R2 of latent traits | s |")
    print("|---|---|---|---|---|---|")
    for *cells, r2, seconds in rows(arguments.seed, steps, public_steps, epsilons):
        print(f"| {' | '.join(map(str, cells))} | {r2:.3f} | {seconds:.0f} |", flush=True)
    seconds = time.perf_counter() - began
    print(f"\n{steps} private steps, seed {arguments.seed}, {seconds:.0f} s in all")


if __name__ == "__main__":
    main()
