"""One step shared by several processes of this machine, one core each, against one process.

Ideal is the time of one process divided by their number. The floor is what as many processes need
that do their shares of the step side by side without a word to one another: memory is shared, and
what a step computes once (the response to a blank window) each of them computes.

    python benchmarks/bench_processes.py                     # ViT-S, 450 ROIs: some 15 minutes
    python benchmarks/bench_processes.py --rois 45 --repeats 3   # seconds
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch

from brainjepa_core.models.brain_jepa.model import BrainJEPA
from brainjepa_core.models.brain_jepa.settings import BrainJepaSettings
from brainjepa_core.models.masks.settings import MaskSettings
from brainjepa_core.pretraining.parallel.processes import ALONE, Processes, joined
from brainjepa_core.pretraining.sampling import Batch
from brainjepa_core.pretraining.schedules import ScheduleSettings
from brainjepa_core.pretraining.step import Training
from brainjepa_core.pretraining.training_settings import TrainingSettings

CPU = torch.device("cpu")
WAYS = {
    "one process": "all micro-batches, one core",
    "silent": "each its share, without a word (floor)",
    "sum": "reduce: sum",
    "ordered": "reduce: ordered",
}


def make_training(args: argparse.Namespace, processes: Processes) -> Training:
    torch.manual_seed(0)
    s = BrainJepaSettings.preset(args.size, rois=args.rois)
    schedule = ScheduleSettings(total_steps=1000)
    people = args.micro_batches * args.people
    recipe = TrainingSettings(
        batch_size=people, accumulation=args.micro_batches, schedule=schedule, clip_norm=1.0
    )
    model = BrainJEPA(s, torch.randn(s.rois, s.components))
    return Training(model, recipe, CPU, processes=processes)


def make_batches(args: argparse.Namespace, model: BrainJEPA, parts: slice) -> list[Batch]:
    """Own micro-batches of one step, whose masks are all of one size."""
    s, made = model.settings, []
    for number in range(args.micro_batches)[parts]:
        samples = range(number * args.people, (number + 1) * args.people)
        drawn = model.draw(MaskSettings(), seed=0, step=0, samples=samples, token_valid=None)
        made.append(Batch(torch.randn(args.people, s.rois, s.frames), None, drawn))
    return made


def measure(args: argparse.Namespace, way: str, rank: int, folder: Path) -> list[float]:
    """Seconds of each step of this process."""
    torch.set_num_threads(1)
    count = 1 if way == "one process" else args.processes
    reduce = "sum" if way == "sum" else "ordered"
    with joined(folder / "meeting", rank, count, CPU, reduce) as together:
        alone = way in ("one process", "silent")
        training = make_training(args, ALONE if alone else together)
        batches = make_batches(args, training.model, together.parts())
        seconds = []
        for _ in range(args.repeats):
            together.any(False)  # all are ready
            start = time.perf_counter()
            training.advance(batches)
            together.any(False)  # all are done
            seconds.append(time.perf_counter() - start)
    return seconds


def in_processes(args: argparse.Namespace, way: str) -> float:
    """Median seconds of a step."""
    count = 1 if way == "one process" else args.processes
    own = next(name for _, name in socket.if_nameindex() if name.startswith("lo"))
    environment = {**os.environ, "GLOO_SOCKET_IFNAME": own, "OMP_NUM_THREADS": "1"}
    with tempfile.TemporaryDirectory() as folder:
        words = [sys.executable, __file__, *sys.argv[1:], "--way", way, "--folder", folder]
        children = [
            subprocess.Popen(
                [*words, "--rank", str(rank)], stdout=subprocess.PIPE, text=True, env=environment
            )
            for rank in range(count)
        ]
        told = [child.communicate()[0] for child in children]
    if any(child.returncode for child in children):
        raise SystemExit(f"{way}: a process failed")
    return statistics.median(json.loads(told[0]))


def report(args: argparse.Namespace) -> dict[str, float]:
    """Seconds of a step, by way; printed with what is above ideal and above the floor."""
    weights = sum(p.numel() for p in make_training(args, ALONE).gradient.trained)
    print(
        f"{args.size}: {args.rois} ROIs, a step of {args.micro_batches} micro-batches of "
        f"{args.people}, {weights / 1e6:.1f} M trained weights; {args.processes} processes of one "
        f"thread, torch {torch.__version__}, load {os.getloadavg()[0]:.1f}"
    )
    seconds: dict[str, float] = {}
    for way, words in WAYS.items():
        seconds[way] = in_processes(args, way)
        line = f"{words:<40} {seconds[way]:8.2f} s"
        if way != "one process":
            ideal = seconds["one process"] / args.processes
            line += f"   {seconds[way] / ideal - 1:+7.1%} of ideal ({ideal:.2f} s"
            line += ", bar 10 %)" if way != "silent" else ")"
            line += f"   {seconds[way] / seconds['silent'] - 1:+7.1%} of the floor"
        print(line, flush=True)
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", default="small", choices=["tiny", "small", "base", "large"])
    parser.add_argument("--rois", type=int, default=450)
    parser.add_argument("--micro-batches", type=int, default=8)
    parser.add_argument("--people", type=int, default=1, help="of a micro-batch")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)
    parser.add_argument("--rank", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.way is None:
        report(args)
    else:
        print(json.dumps(measure(args, args.way, args.rank, args.folder)))


if __name__ == "__main__":
    main()
