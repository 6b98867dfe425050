"""The same steps in one process and in several: what each scenario leaves of weights and moments.

As a program (``shared_steps.py FOLDER RANK COUNT``) it is one of the processes; the first one
writes ``FOLDER/<reduce>.<scenario>.safetensors``.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from small_runs import PROVENANCE, People, bits, make_model, make_recipe, small_model

from brainjepa_core.pretraining.parallel.processes import ALONE, Processes, joined
from brainjepa_core.pretraining.sampling import batches_of_step
from brainjepa_core.pretraining.state import read_state, state_folders, write_state
from brainjepa_core.pretraining.step import Training
from brainjepa_core.privacy.gradient import PrivateGradient
from brainjepa_core.privacy.sampling import PoissonSampling, private_batches_of_step
from brainjepa_core.privacy.secret import RequestSecret
from brainjepa_core.privacy.settings import PrivacySettings

STEPS, CPU = 4, torch.device("cpu")
SECRET = RequestSecret(bytes(range(32)), "request")
# Nine people in steps of eight; of four where an epoch's last micro-batch is to be short.
SCENARIOS: dict[str, dict] = {
    "plain": {},
    "clipped": {"clip_norm": 0.05},
    "ragged": {"ragged": True, "clip_norm": 1.0},
    "short": {"people": 5},
    "too few": {"people": 3, "accumulation": 8},
    "adapters": {"train": "adapters", "adapter_rank": 2},
    "sgd": {"optimizer": "sgd"},
    "person": {"family": "person_jepa", "ragged": True},
    "private": {"private": True, "people": 30},
    "private, few": {"private": True, "people": 30, "batch_size": 4, "told": 900},
    "sharded": {"shard_optimizer": True, "clip_norm": 1.0},
}


def trained(
    processes: Processes,
    *,
    family: str = "brain_jepa",
    people: int = 9,
    ragged: bool = False,
    private: bool = False,
    told: int = 30,
    shard_optimizer: bool = False,
    steps: range = range(STEPS),
    state: Path | None = None,
    **recipe,
) -> tuple[Training, list[float]]:
    """Training after some steps, and their losses."""
    settings = make_recipe(**{"batch_size": 8, "accumulation": 4, **recipe})
    adapters = {"adapters": settings.adapter_rank} if settings.train == "adapters" else {}
    model = make_model() if not adapters and family == "brain_jepa" else None
    model = model or small_model(family, **adapters)
    gradient = None
    source, first = People(people, ragged), steps.start
    if private:
        protection = PrivacySettings(noise=0.5, clip=0.1)
        gradient = PrivateGradient(
            model, settings, protection, SECRET, first, CPU, processes=processes
        )
    shard = shard_optimizer and processes.count > 1
    training = Training(model, settings, CPU, gradient, processes=processes, shard_optimizer=shard)
    if state is not None:
        read_state(state_folders(state)[-1], training, PROVENANCE)
    sampling = PoissonSampling(SECRET, settings.batch_size, told)
    losses = []
    for step in steps:
        made = (source, model, settings, step)
        if private:
            batches = private_batches_of_step(*made, sampling, processes.parts())
        else:
            batches = batches_of_step(*made, processes.parts())
        losses.append(float(training.advance(batches)))
    training.prepare_to_save()
    return training, losses


def left(processes: Processes, **scenario) -> dict[str, torch.Tensor]:
    """All that is left of a scenario, at the first process."""
    training, losses = trained(processes, **scenario)
    if processes.rank:
        return {}
    return {**bits(training), "losses": torch.tensor(losses, dtype=torch.float64)}


def apart(processes: Processes) -> str:
    """What each process says where the last bit of one weight of one of them differs."""
    training, _ = trained(processes, steps=range(1))
    weight = next(p for p in training.model.parameters() if p.requires_grad)
    if processes.rank == 1:
        with torch.no_grad():
            weight.view(-1)[0] = torch.nextafter(weight.view(-1)[0], torch.tensor(9.0))
    try:
        training.prepare_to_save()
    except ValueError as error:
        return str(error)
    return ""


def main(folder: Path, rank: int, count: int) -> None:
    torch.set_num_threads(1)  # as in the process of the test
    for reduce in ("ordered", "sum"):
        with joined(folder / f"meeting.{reduce}", rank, count, CPU, reduce) as processes:
            for name, scenario in SCENARIOS.items():
                found = left(processes, **scenario)
                if rank == 0:
                    save_file(found, folder / f"{reduce}.{name}.safetensors")
            # Two steps alone, two together; and two together, two alone (in the test).
            known = folder / "alone"
            resumed = {"clip_norm": 1.0, "state": known, "steps": range(2, STEPS)}
            for shard in (False, True):
                found = left(processes, shard_optimizer=shard, **resumed)
                if rank == 0:
                    save_file(found, folder / f"{reduce}.resumed {shard}.safetensors")
                training, _ = trained(
                    processes, clip_norm=1.0, steps=range(2), shard_optimizer=shard
                )
                if rank == 0:
                    write_state(folder / f"{reduce}.state {shard}", training, PROVENANCE)
            (folder / f"{reduce}.apart.{rank}").write_text(apart(processes))


def found_in(folder: Path, reduce: str, name: str) -> dict[str, torch.Tensor]:
    return load_file(folder / f"{reduce}.{name}.safetensors")


def alone(**scenario) -> dict[str, torch.Tensor]:
    return left(ALONE, **scenario)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
