"""A private step beside the plain one: gradients of single people, clipped, with noise.

Both take their steps in one process, in turns, with the same people and masks; the median of the
ratios of their CPU times is told (bar 1.35). On a machine that does other work: OMP_NUM_THREADS=1.

    python benchmarks/bench_dp_step.py                       # 54 thousand parameters: seconds
    python benchmarks/bench_dp_step.py --preset small        # 22 million and more: minutes
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch

from brainjepa_core.machine.processors import use_threads
from brainjepa_core.models.registry import family_named
from brainjepa_core.pretraining.sampling import Batch
from brainjepa_core.pretraining.schedules import ScheduleSettings
from brainjepa_core.pretraining.step import Training
from brainjepa_core.pretraining.training_settings import TrainingSettings
from brainjepa_core.privacy.gradient import PrivateGradient
from brainjepa_core.privacy.secret import RequestSecret
from brainjepa_core.privacy.settings import PrivacySettings

PATCH, PATCHES = 16, 5


def make_batch(training: Training, people: int, step: int) -> Batch:
    model, settings = training.model, training.settings
    s = model.settings
    rng = np.random.default_rng(step)
    x = torch.from_numpy(rng.standard_normal((people, s.rois, s.frames), np.float32))
    drawn = model.draw(
        settings.masks, seed=0, step=step, samples=list(range(people)), token_valid=None
    )
    return Batch(x, None, drawn)


def make_trainings(args: argparse.Namespace, rois: int) -> dict[str, Training]:
    family = family_named(args.family)
    sizes = {"width": 64, "depth": 3, "heads": 4} if args.preset == "tiny" else {}
    settings = family.settings.preset(
        args.preset, rois=rois, frames=PATCH * PATCHES, patch=PATCH, components=10, **sizes
    )
    recipe = TrainingSettings(batch_size=args.people, schedule=ScheduleSettings(total_steps=1000))
    basis = torch.randn(rois, 10)
    plain, private = (family.new(settings, basis, seed=0) for _ in range(2))
    gradient = PrivateGradient(
        private, recipe, PrivacySettings(noise=1.0), RequestSecret(bytes(32), "bench"), 0,
        torch.device("cpu"),
    )  # fmt: skip
    return {"plain": Training(plain, recipe), "private": Training(private, recipe, "cpu", gradient)}


def timed(call: Callable[[], object]) -> float:
    start = time.process_time()
    call()
    return time.process_time() - start


def compare(args: argparse.Namespace, rois: int) -> None:
    trainings = make_trainings(args, rois)
    seconds: dict[str, list[float]] = {name: [] for name in trainings}
    for turn in range(args.repeats + 1):
        batch = make_batch(trainings["plain"], args.people, step=turn)
        for name, training in trainings.items():
            spent = timed(lambda training=training, batch=batch: training.advance([batch]))
            if turn:  # the first one warms up
                seconds[name].append(spent)
    plain, private = (statistics.median(values) for values in seconds.values())
    ratio = statistics.median(
        b / a for a, b in zip(seconds["plain"], seconds["private"], strict=True)
    )
    numbers = sum(p.numel() for p in trainings["plain"].gradient.trained)
    print(
        f"{args.family} {args.preset}: {rois * PATCHES} tokens, {args.people} people, "
        f"{numbers} parameters: plain {plain:.3f} s, private {private:.3f} s, "
        f"ratio {ratio:.2f} (bar 1.35)"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--family", default="brain_jepa")
    parser.add_argument("--preset", default="tiny", choices=["tiny", "small", "base", "large"])
    parser.add_argument("--people", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=15)
    args = parser.parse_args()
    torch.manual_seed(0)
    print(f"torch {torch.__version__}, {use_threads()} threads, load {os.getloadavg()[0]:.1f}")
    for rois in (48, 81):
        compare(args, rois)


if __name__ == "__main__":
    main()
