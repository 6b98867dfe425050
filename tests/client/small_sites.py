"""Sites of a dozen people and a model of a few hundred weights.

As a program (``small_sites.py STORES STATE PLACE WIRE``) a site answers two rounds and hangs at
PLACE of the second, so that a test can kill it there.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import numpy as np
import torch

from brainjepa_client.answering.site import Site
from brainjepa_client.computing import state as state_module
from brainjepa_client.computing import training as training_module
from brainjepa_client.settings import SiteSettings
from brainjepa_core.evaluation.splits import folds_of_windows
from brainjepa_core.evaluation.yardstick import connectivity_components
from brainjepa_core.gradients import ConsensusBasis
from brainjepa_core.pretraining.sampling import batches_of_step
from brainjepa_core.pretraining.settings import PretrainingSettings
from brainjepa_core.pretraining.site_sums.basis import connectivity_sum
from brainjepa_core.pretraining.step import Training
from brainjepa_core.signals.storing.store import ScanStore
from brainjepa_core.signals.windows import Windows
from brainjepa_core.sums.protocol import total
from brainjepa_core.wire.messages import TRAIN, Assignment, Reply, Request
from brainjepa_core.wire.weights import decode_difference
from brainjepa_simulations.cohort.cohort import CohortSettings
from brainjepa_simulations.cohort.stores import write_cohort

ROIS, TOTAL, PEOPLE = 8, 6, 12
COHORT = CohortSettings(
    sites=3, subjects_per_site=PEOPLE, rois=ROIS, networks=4, latents=3, frames=40, missing_rois=1
)


def make_study(*, schedule: dict | None = None, **training) -> PretrainingSettings:
    """Six steps of four people, with learning rates at which few steps change a lot."""
    times = dict(total_steps=TOTAL, warmup_steps=2, lr=0.01, ema=0.9)
    sizes = dict(
        width=8, depth=1, heads=2, patch=4, predictor_width=8, predictor_depth=1, predictor_heads=2
    )
    return PretrainingSettings(
        model=sizes,
        windows={"frames": 16},
        basis={"components": 3, "sparsity": 0.2},
        training={"batch_size": 4, "schedule": {**times, **(schedule or {})}, **training},
    )


STUDY = make_study()


def write_stores(folder: Path) -> list[Path]:
    return write_cohort(COHORT, folder)


def make_site(store: Path, state: Path, **policy) -> Site:
    floors = {"min_people_in_sum": 1, "min_people_a_feature": 0, "round_counts_to": 1}
    choices = {"min_subjects": 4, **floors, **policy}
    return Site(SiteSettings(name="one", store=store, state=state, policy=choices))


def training_windows(store: Path, study: PretrainingSettings = STUDY, held_out: int = 0) -> Windows:
    windows = Windows([ScanStore.open(store)], study.windows)
    folds = folds_of_windows(windows, study.training.seed, 5)
    return windows.only(np.flatnonzero(folds != held_out))


def first_arrays(stores: list[Path], study: PretrainingSettings = STUDY) -> dict[str, np.ndarray]:
    summed = total(connectivity_sum(training_windows(s, study)) for s in stores)
    basis = ConsensusBasis.from_sum(summed, 3, 0.2)
    model = study.new_model(basis)
    arrays = {k: v.numpy().copy() for k, v in model.state_dict().items()}
    return {**arrays, "components": connectivity_components(summed.mean_fc(), 4)}


def ask(
    kind: str, arrays: dict | None = None, study: PretrainingSettings = STUDY, **task
) -> Request:
    return Request(kind, Assignment(study_id="small", pretraining=study, **task), arrays or {})


def ask_round(
    number: int, arrays: dict, study: PretrainingSettings = STUDY, steps=2, **task
) -> Request:
    return ask(
        TRAIN, arrays, study, round=number, first_step=number * steps, steps=steps, **task
    )  # fmt: skip


def local_training(start: dict, windows: Windows, study: PretrainingSettings = STUDY) -> Training:
    """The same study without a federation."""
    rois = tuple(windows.atlas.rois)
    basis = ConsensusBasis(rois, start["basis"], np.full(3, np.nan))
    training = study.new_training(basis, "cpu")
    assert all(np.array_equal(start[k], v) for k, v in bits(training).items())
    for step in range(study.training.schedule.total_steps):
        training.advance(batches_of_step(windows, training.model, study.training, step))
    return training


def received(base: dict, reply: Reply, wire: str = "fp32") -> dict[str, np.ndarray]:
    """The next global weights of one site: what it was sent and its answer come to."""
    if wire == "fp32":
        return {**base, **reply.arrays}
    names = [name for name in base if name in reply.arrays]
    moved = {n: base[n] + decode_difference(n, reply.arrays, base, wire) for n in names}
    return {**base, **{n: value.astype(np.float32) for n, value in moved.items()}}


def bits(training: Training) -> dict[str, np.ndarray]:
    return {k: v.numpy().copy() for k, v in training.model.state_dict().items()}


def same(a: dict[str, np.ndarray], b: dict[str, np.ndarray]) -> bool:
    return a.keys() == b.keys() and all(np.array_equal(a[k], b[k]) for k in a)


def weights_of(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {k: v for k, v in arrays.items() if k not in ("basis", "components")}


def rounds_on_disk(state: Path) -> list[str]:
    return sorted(p.name for p in (state / "small").glob("round-*"))


def _hang(*_: object) -> None:
    print("here", flush=True)
    sys.stdin.read()


def main(stores: Path, state: Path, place: str, wire: str) -> None:
    torch.set_num_threads(1)  # as in the process of the test
    paths = sorted(stores.glob("site-*"))
    start = first_arrays(paths)
    site = make_site(paths[0], state)
    first = site.answer(ask_round(0, start, wire=wire))
    arrays = received(start, first, wire)
    site.answer(ask_round(1, arrays, wire=wire))
    if place == "steps":
        training_module.encode_weights = _hang
    elif place == "save":
        state_module.save_file = lambda arrays, path: path.write_bytes(b"half") and _hang()
    elif place == "replace":  # the state of an earlier answer is half gone
        shutil.rmtree = _hang
    else:  # all is saved, and nothing has left
        training_module.collapse_metrics = _hang
    site.answer(ask_round(1, arrays, wire=wire))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), *sys.argv[3:])
