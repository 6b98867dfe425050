"""Runs of a model of a few hundred weights on people who are a function of their number.

As a program (``small_runs.py RUN PLACE``) it trains in RUN and then hangs at PLACE, so that a
test can kill it there.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from brainjepa_core.models.brain_jepa.model import BrainJEPA
from brainjepa_core.models.brain_jepa.settings import BrainJepaSettings
from brainjepa_core.models.checkpoint import Provenance
from brainjepa_core.models.interface import BrainModel
from brainjepa_core.models.registry import family_named
from brainjepa_core.pretraining import state
from brainjepa_core.pretraining.computing.settings import EXACT, Computing
from brainjepa_core.pretraining.loop import pretrain
from brainjepa_core.pretraining.schedules import ScheduleSettings
from brainjepa_core.pretraining.step import Training
from brainjepa_core.pretraining.training_settings import TrainingSettings
from brainjepa_core.sums.rois import basis_hash

ROIS, FRAMES, PATCH, TOTAL = 6, 12, 3, 8
SIZES = dict(
    frames=FRAMES, patch=PATCH, components=2, width=8, depth=1, heads=2,
    predictor_width=8, predictor_depth=1, predictor_heads=2,
)  # fmt: skip


@dataclass(frozen=True)
class People:
    """A window source; where `ragged`, person 1 lacks an ROI and person 3 has a short scan."""

    subjects: int = 5
    ragged: bool = False
    broken: int | None = None  # a person whose windows are NaN

    def name(self, subject: int) -> str:
        return f"site/sub-{subject:02d}"

    def batch(self, subjects, seeds):
        x = [
            np.random.default_rng([person, *seed]).standard_normal((ROIS, FRAMES), np.float32)
            for person, seed in zip(subjects, seeds, strict=True)
        ]
        signal = np.stack(x)
        frames = np.ones((len(x), FRAMES), bool)
        rois = np.ones((len(x), ROIS), bool)
        for place, person in enumerate(subjects):
            if self.ragged and person == 1:
                rois[place, 2] = False
            if self.ragged and person == 3:
                frames[place, -PATCH:] = False
            if person == self.broken:
                signal[place] = np.nan
        signal *= frames[:, None] & rois[..., None]
        return signal, frames, rois

    def rest(self, subjects, seeds):
        """Fisher z of a person's own; where `ragged`, person 1 lacks an ROI here too."""
        z = [
            np.random.default_rng([person, 1]).standard_normal((ROIS, ROIS), np.float32)
            for person in subjects
        ]
        found = np.stack(z) + np.stack(z).transpose(0, 2, 1)
        for place, person in enumerate(subjects):
            if self.ragged and person == 1:
                found[place, 2] = found[place, :, 2] = np.nan
            np.fill_diagonal(found[place], 0)
        return found


def small_model(family: str, seed: int = 0, **choices) -> BrainModel:
    """A model of any family, of the sizes above that it knows."""
    found = family_named(family)
    sizes = {**SIZES, "tile": PATCH}
    known = {k: v for k, v in sizes.items() if k in found.settings.model_fields}
    basis = torch.randn(ROIS, SIZES["components"], generator=torch.Generator().manual_seed(seed))
    return found.new(found.settings.preset("tiny", rois=ROIS, **known, **choices), basis, seed)


def make_model(seed: int = 0, rois: int = ROIS, **choices) -> BrainJEPA:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        s = BrainJepaSettings.preset("tiny", rois=rois, **{**SIZES, **choices})
        return BrainJEPA(s, torch.randn(rois, s.components))


PROVENANCE = Provenance(
    atlas="six",
    rois=tuple("abcdef"),
    basis_hash=basis_hash("abcdef", make_model().basis.numpy()),
    signals={"frames": FRAMES, "tr": 2.0},
)


def make_recipe(*, schedule: dict | None = None, **choices) -> TrainingSettings:
    """Eight steps of four people, with learning rates at which few steps change a lot."""
    times = dict(total_steps=TOTAL, warmup_steps=2, lr=0.01, ema=0.9)
    schedule = ScheduleSettings(**{**times, **(schedule or {})})
    return TrainingSettings(schedule=schedule, **{"batch_size": 4, **choices})


def make_training(family: str = "brain_jepa", computing: Computing = EXACT, **choices) -> Training:
    model = make_model() if family == "brain_jepa" else small_model(family)
    return Training(model, make_recipe(**choices), computing=computing)


def losses(run: Path) -> dict[int, float]:
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == list(range(len(lines)))
    return {line["step"]: line["loss"] for line in lines}


def bits(training: Training) -> dict[str, torch.Tensor]:
    """Everything a step depends on and changes."""
    model = {f"model.{k}": v.clone() for k, v in training.model.state_dict().items()}
    return {**model, **{k: v.clone() for k, v in state.optimizer_arrays(training).items()}}


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def _hang(*_: object) -> None:
    print("here", flush=True)
    sys.stdin.read()


def main(run: Path, place: str) -> None:
    def on_log(line: dict) -> None:
        if place == "log" and line["step"] == 4:
            _hang()

    if place == "save":  # half-way through the second state: weights are written, moments not yet
        write = state.save_file

        def save_file(arrays, path):
            if "step-00000004" in str(path):
                _hang()
            write(arrays, path)

        state.save_file = save_file
    torch.set_num_threads(1)  # as in the process of the test
    training = make_training(accumulation=2)
    pretrain(
        training, People(ragged=True), PROVENANCE, run, save_every=2, log_every=1, on_log=on_log,
        progress=False,
    )  # fmt: skip


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
