"""What differential privacy leaves of a training, by what a window tells of the rest of a person.

Three hospitals train the person objective from random weights, on the basis of public people, in
private steps: with noise of each site's own (rounds of ten steps, weights averaged) or shared (one
step a round). Then R2 of the other half's connectome (`brainjepa_core.evaluation.other_half`) is
told at hospitals that nothing was learned from. Sites are of 26 people, or as large as they become
when each person stands for many: their noise and rate are those of a large site, the variety of
their people is not. Epsilon 0 is a control: so much noise that no person counts.

    python benchmarks/learning/dp_utility.py --out F --data FOLDER  real hospitals
    python benchmarks/learning/dp_utility.py --out F                synthetic ones
    python benchmarks/learning/dp_utility.py --out F --train filter --times 1 --steps 20    minutes

Results are written as they come; what is in --out is not computed again. Hospitals are the same for
every seed (of weights, coins and noise), over which a person's errors are averaged. Intervals are
over people, paired with the model that all began with.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from dp_table import interval, table
from numpy.typing import NDArray
from torch import Tensor

from brainjepa_core.arrays import Float32
from brainjepa_core.evaluation.other_half import People, other_half_r2
from brainjepa_core.evaluation.readout.latent import LatentReader
from brainjepa_core.files import atomic_path
from brainjepa_core.gradients import ConsensusBasis
from brainjepa_core.models.adapters import with_adapters, without_adapters
from brainjepa_core.models.interface import BrainModel
from brainjepa_core.pretraining.settings import PretrainingSettings
from brainjepa_core.pretraining.site_sums.basis import connectivity_sum
from brainjepa_core.pretraining.step import Training
from brainjepa_core.privacy.accounting import noise_for
from brainjepa_core.privacy.gradient import PrivateGradient
from brainjepa_core.privacy.sampling import PoissonSampling, private_batches_of_step, sampling_rate
from brainjepa_core.privacy.secret import RequestSecret
from brainjepa_core.privacy.settings import PrivacySettings
from brainjepa_core.privacy.shared_noise import GradientCode, rounded_sums
from brainjepa_core.signals.importing.importers import import_site_archive
from brainjepa_core.signals.storing.store import ScanStore
from brainjepa_core.signals.windows import Windows
from brainjepa_server.rounds.summed_gradients import GivenGradient
from brainjepa_simulations.cohort.cohort import CohortSettings
from brainjepa_simulations.cohort.stores import write_cohort

PRIVATE, PUBLIC = 3, 3  # hospitals that train, and whose people the basis is of; others are tested
EACH = 26  # people of a synthetic hospital
COHORT: dict[str, Any] = {"rois": 30, "networks": 6, "frames": 288, "signal_share": 0.5}
FRAMES, CLIP, RANK, DELTA, LOCAL_STEPS, BATCH = 64, 0.05, 4, 1e-5, 10, 8
NONE, ALL = 1e-3, 1e3  # noise of epsilon infinity, and of an epsilon 0: a control without people
EPSILONS = (math.inf, 8.0, 3.0, 1.0, 0.0)
CPU = torch.device("cpu")
Where = Literal["central", "local"]


class Job(NamedTuple):
    """One run."""

    data: str
    times: int
    where: Where
    train: Literal["filter", "all", "adapters"]  # without attention; all weights; adapters
    epsilon: float
    seed: int
    steps: int
    rois: int


class Hospitals(NamedTuple):
    """Windows of those that train, whose people are public, and that are tested."""

    private: list[Windows]
    public: Windows
    tested: Windows


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


def study_of(seed: int, steps: int, batch: int, train: str = "all") -> PretrainingSettings:
    """The study of one run."""
    depth, kind = (0 if train == "filter" else 2), ("adapters" if train == "adapters" else "all")
    schedule = {"total_steps": steps, "warmup_steps": steps // 10, "lr": 5e-3, "start_lr": 1e-4}
    schedule |= {"final_lr": 2e-5, "final_weight_decay": 0.04}
    return PretrainingSettings(
        family="person_jepa",
        model={"width": 32, "heads": 4, "depth": depth, "patch": 16},
        windows={"frames": FRAMES},
        basis={"components": 10},
        training={
            "seed": seed, "batch_size": batch, "schedule": schedule, "train": kind,
            "adapter_rank": RANK,
        },
    )  # fmt: skip


def synthetic(folder: Path) -> Hospitals:
    """Hospitals of one synthetic cohort."""
    sites = PRIVATE + 2 * PUBLIC
    cohort = CohortSettings(seed=0, sites=sites, subjects_per_site=EACH, **COHORT)
    return _split([ScanStore.open(path) for path in write_cohort(cohort, folder)])


def real(folder: Path, data: Path, rois: int) -> Hospitals:
    """Archives of hospitals, of their first ROIs, in an order by chance."""
    stores, target = [], folder / "stores"
    for path in sorted(data.glob("*.npz")):
        with np.load(path) as file:
            arrays = dict(file)
        if "ts" not in arrays:  # a mapping of ROIs that lies beside them
            continue
        archive = folder / path.name
        np.savez(archive, **arrays | {"ts": arrays["ts"][:, :rois], "roi": arrays["roi"][:rois]})
        import_site_archive(archive, target / path.stem, data / "participants.tsv")
        stores.append(ScanStore.open(target / path.stem))
    order = np.random.default_rng(0).permutation(len(stores))
    return _split([stores[k] for k in order])


def _split(stores: Sequence[ScanStore]) -> Hospitals:
    study = study_of(0, 10, 8)
    private = [study.windows_of([store]) for store in stores[:PRIVATE]]
    rest = stores[PRIVATE : PRIVATE + PUBLIC], stores[PRIVATE + PUBLIC :]
    return Hospitals(private, *(study.windows_of(some) for some in rest))


def people_of(windows: Windows) -> People:
    """Halves of everybody's first scan, where they hold a window."""
    return People.of(windows, range(windows.subjects), FRAMES)


def private_training(job: Job, start: BrainModel, sites: list[Many], batch: int) -> BrainModel:
    """The federated model after all rounds."""
    settings = study_of(job.seed, job.steps, batch, job.train).training
    samplings, noises = [], []
    for number, people in enumerate(sites):
        secret = RequestSecret(bytes([number]) * 32, f"{job}")
        samplings.append(PoissonSampling(secret, batch, people.subjects))
        rate = sampling_rate(batch, people.subjects)
        noises.append(_noise(job.epsilon, rate, job.steps))
    train = _central if job.where == "central" else _local
    return train(start, settings, sites, samplings, noises)


def _noise(epsilon: float, rate: float, steps: int) -> float:
    if epsilon in (0.0, math.inf):
        return NONE if epsilon else ALL
    return noise_for(epsilon, DELTA, rate, steps)


def _central(
    start: BrainModel, settings: Any, sites: list[Many], samplings: list[PoissonSampling],
    noises: list[float],
) -> BrainModel:  # fmt: skip
    """One step a round of the sum over sites, whose noise all of them share."""
    model = _copy(start)
    shared = PrivacySettings(clip=CLIP, noise=max(noises), where="central", honest_sites=len(sites))
    shapes = {name: tuple(p.shape) for name, p in model.named_parameters() if p.requires_grad}
    code = GradientCode(shapes, shared, settings.batch_size, len(sites))
    training = Training(model, settings, gradient=GivenGradient(model, {}))
    for step in range(settings.schedule.total_steps):
        vectors = []
        for people, sampling in zip(sites, samplings, strict=True):
            batches = private_batches_of_step(people, model, settings, step, sampling)
            sums = rounded_sums(model, settings, code, batches, CPU)
            vectors.append(code.noised(sums, sampling.secret, step))
        total = {name: sum(vector[name] for vector in vectors) for name in shapes}
        training.gradient = GivenGradient(model, code.mean(total, len(sites)))
        training.advance([])
    return model


def _local(
    start: BrainModel, settings: Any, sites: list[Many], samplings: list[PoissonSampling],
    noises: list[float],
) -> BrainModel:  # fmt: skip
    """Rounds of local steps; each site with its own noise and optimiser."""
    trainings = []
    for sampling, noise in zip(samplings, noises, strict=True):
        model, protection = _copy(start), PrivacySettings(clip=CLIP, noise=noise)
        gradient = PrivateGradient(model, settings, protection, sampling.secret, 0, CPU)
        trainings.append(Training(model, settings, gradient=gradient))
    total = settings.schedule.total_steps
    for first in range(0, total, LOCAL_STEPS):
        for training, people, sampling in zip(trainings, sites, samplings, strict=True):
            for step in range(first, min(first + LOCAL_STEPS, total)):
                training.advance(
                    private_batches_of_step(people, training.model, settings, step, sampling)
                )
        mean = _mean([training.model for training in trainings])
        for training in trainings:
            training.model.load_state_dict(mean)
    return trainings[0].model


def _copy(model: BrainModel) -> BrainModel:
    from copy import deepcopy

    return deepcopy(model)


def _mean(models: list[BrainModel]) -> dict[str, Tensor]:
    states = [model.state_dict() for model in models]
    return {name: torch.stack([s[name] for s in states]).mean(0) for name in states[0]}


def jobs_of(arguments: argparse.Namespace, data: str) -> Iterator[Job]:
    """All that is asked for."""
    a, rois = arguments, arguments.rois if arguments.data else COHORT["rois"]
    for seed, train, times, where, epsilon in product(
        range(a.seeds), a.train, a.times, a.where, a.epsilon
    ):
        yield Job(data, times, where, train, epsilon, seed, a.steps, rois)


def run(job: Job, hospitals: Hospitals, read: People, tested: People) -> dict[str, Any]:
    """A run, and the model that it began with, judged at the tested hospitals."""
    whole = "all" if job.train == "adapters" else job.train
    study = study_of(job.seed, job.steps, BATCH, whole)
    total = connectivity_sum(hospitals.public)
    start = study.new_model(ConsensusBasis.from_sum(total, study.basis.components))
    begun = with_adapters(start, RANK, job.seed) if job.train == "adapters" else start
    many = [Many(windows, job.times) for windows in hospitals.private]
    began = time.process_time()
    model = private_training(job, begun, many, BATCH)
    seconds = time.process_time() - began
    found: dict[str, Any] = {"job": job._asdict(), "seconds": seconds}
    found["parameters"] = sum(p.numel() for p in model.parameters() if p.requires_grad)
    for name, judged in (("start", start), ("trained", without_adapters(model))):
        result = other_half_r2(read, tested, LatentReader(judged.eval()).of_window, FRAMES)
        found[name] = {"errors": result.errors.tolist(), "totals": result.totals.tolist()}
    return found


def asked_for() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="JSON of results")
    parser.add_argument("--data", type=Path, help="archives of real hospitals, such as ABIDE's")
    parser.add_argument("--rois", type=int, default=100, help="of them, the first so many")
    parser.add_argument("--train", nargs="+", default=["filter", "all", "adapters"])
    parser.add_argument("--times", nargs="+", type=int, default=[200, 1])
    parser.add_argument("--where", nargs="+", default=["central", "local"])
    parser.add_argument("--epsilon", nargs="+", type=float, default=EPSILONS)
    parser.add_argument("--seeds", type=int, default=1, help="of weights, coins and noise")
    parser.add_argument("--steps", type=int, default=100, help="private, of each site")
    return parser.parse_args()


def main() -> None:
    """Run what is not there yet, a line a result, then the table."""
    arguments = asked_for()
    torch.set_num_threads(1)
    results = json.loads(arguments.out.read_text()) if arguments.out.exists() else []
    there = {Job(**result["job"]) for result in results}
    asked = list(jobs_of(arguments, arguments.data.name if arguments.data else "synthetic"))
    with TemporaryDirectory() as folder:
        if arguments.data:
            made = real(Path(folder), arguments.data, arguments.rois)
        else:
            made = synthetic(Path(folder))
        read, tested = people_of(made.public), people_of(made.tested)
        for job in asked:
            if job in there:
                continue
            results.append(run(job, made, read, tested))
            with atomic_path(arguments.out) as temporary:
                temporary.write_text(json.dumps(results) + "\n")
            start, gain, low, high = interval(results[-1:])
            print(f"{job} start {start:.3f}, {gain:+.3f} ({low:+.3f} to {high:+.3f}), "
                  f"{results[-1]['seconds']:.0f} s of CPU", flush=True)  # fmt: skip
    print("\n".join(table([r for r in results if Job(**r["job"]) in asked])))


if __name__ == "__main__":
    main()
