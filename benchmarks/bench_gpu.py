"""Pretraining on one GPU, as it is run: the loop, its loader and a store of synthetic scans.

    python benchmarks/bench_gpu.py                        # ViT-S, B and L in bf16: under 8 minutes
    python benchmarks/bench_gpu.py --sizes base --batches 64 128 --compile
    python benchmarks/bench_gpu.py --device cpu           # a tiny model, in seconds

For each size and batch: samples a second; utilisation (MFU), which is useful work, counted by
`parts.flops.step_flops`, over the card's dense peak (`parts.cards`); the most memory; the share of
the time in which the device waited for data; the slowest step over the median one, which tells of
plans and kernels that are built anew for sizes of masks. Then, at the first size and batch, other
kernels, and people who lack ROIs or frames, so that attention has masks. Where memory runs out,
smaller batches are tried. All of it is also written as JSON.
"""

from __future__ import annotations

import argparse
import gc
import json
import platform
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from bench_step import high_water
from parts.cards import peak_of
from parts.made_stores import few_people
from parts.timed_training import MOST_STEPS, Enough, TimedTraining

from brainjepa_core.atlas import Atlas
from brainjepa_core.files import atomic_path
from brainjepa_core.gradients import ConsensusBasis
from brainjepa_core.machine.processors import use_threads
from brainjepa_core.models.interface import BrainModel
from brainjepa_core.pretraining.computing.settings import Computing
from brainjepa_core.pretraining.loop import pretrain
from brainjepa_core.pretraining.schedules import ScheduleSettings
from brainjepa_core.pretraining.settings import PretrainingSettings, provenance
from brainjepa_core.pretraining.training_settings import TrainingSettings
from brainjepa_core.signals.window_settings import WindowSettings
from brainjepa_core.signals.windows import Windows

COMPILING = 150  # seconds, without which a compiled case is not begun


@dataclass(frozen=True)
class Case:
    """What is run.

    Attributes
    ----------
    size : str
        A preset.
    batch : int
        People of a step, and of its one micro-batch.
    computing : Computing
    whole : bool
        Whether everybody has all ROIs and frames.
    """

    size: str
    batch: int
    computing: Computing
    whole: bool = True


@dataclass(frozen=True)
class Bench:
    """What all cases have in common.

    Attributes
    ----------
    rois, frames, patch : int
        R, T and p.
    device : torch.device
    folder : Path
        For stores and runs; temporary.
    """

    rois: int
    frames: int
    patch: int
    device: torch.device
    folder: Path

    @property
    def card(self) -> str:
        """The device's name."""
        if self.device.type == "cuda":
            return torch.cuda.get_device_name(self.device)
        return platform.processor() or platform.machine()

    def study(self, case: Case) -> PretrainingSettings:
        """Settings whose steps are those of the case."""
        schedule = ScheduleSettings(total_steps=10 * MOST_STEPS)
        training = TrainingSettings(batch_size=case.batch, schedule=schedule)
        windows = WindowSettings(frames=self.frames)
        return PretrainingSettings(
            preset=case.size, model={"patch": self.patch}, windows=windows, training=training
        )

    def windows(self, people: int, whole: bool) -> Windows:
        """Windows of synthetic people, whose scans have been read once, as in later epochs."""
        atlas = Atlas.from_names([f"roi {i}" for i in range(self.rois)], "bench")
        store = few_people(self.folder / f"{people}-{whole}", atlas, people, whole=whole)
        found = Windows([store], WindowSettings(frames=self.frames), patch=self.patch)
        for person in range(found.subjects):
            found.batch([person], [(0, person)])
        return found

    def model(self, case: Case, windows: Windows) -> tuple[BrainModel, ConsensusBasis]:
        """A new model on a random basis."""
        study, rois = self.study(case), windows.atlas.rois
        shape = (len(rois), study.basis.components)
        gradients = np.random.default_rng(0).standard_normal(shape)
        basis = ConsensusBasis(rois, gradients, np.full(shape[1], np.nan))
        return study.new_model(basis), basis

    def run(self, case: Case, windows: Windows, seconds: float) -> dict[str, Any]:
        """Figures of a case; without them where its memory ran out."""
        told = {**asdict(case), "computing": case.computing.model_dump()}
        try:
            found = self._measured(case, windows, seconds)
        except torch.OutOfMemoryError:
            found = {}
        gc.collect()  # what the error held
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        return {**told, "out_of_memory": not found, **found}

    def _measured(self, case: Case, windows: Windows, seconds: float) -> dict[str, Any]:
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)
        model, basis = self.model(case, windows)
        training = TimedTraining(
            model,
            self.study(case).training,
            self.device,
            computing=case.computing,
            seconds=seconds,
        )
        with tempfile.TemporaryDirectory(dir=self.folder) as run:
            try:
                told = provenance(windows, basis)
                pretrain(training, windows, told, run, progress=False, on_log=training.logged)
            except Enough:
                pass
        steps, peak = training.steps(), peak_of(self.card, case.computing.precision)
        achieved = training.flops / training.seconds / 1e12
        memory = self.memory()
        return {
            "steps": len(steps),
            "samples_per_second": training.people / training.seconds,
            "step_ms": 1e3 * statistics.median(steps),
            "slowest_over_median": max(steps) / statistics.median(steps),
            "tflops": achieved,
            "mfu": None if peak is None else achieved / peak,
            "memory_gb": memory,
            "waiting_share": training.waited() / training.seconds,
        }

    def memory(self) -> float:
        """The most memory of a case; on a CPU, of the process so far. GB."""
        if self.device.type == "cuda":
            return torch.cuda.max_memory_allocated(self.device) / 1e9
        return high_water()


def cases(args: argparse.Namespace, chosen: Computing) -> list[list[Case]]:
    """Groups of cases; within a group batches grow."""
    sizes = [[Case(size, batch, chosen) for batch in sorted(args.batches)] for size in args.sizes]
    first = replace(sizes[0][0], whole=True)
    others: list[dict[str, Any]] = [] if args.device == "cpu" else [{"attention": "cudnn"}]
    kernels = [[replace(first, computing=changed(chosen, **other))] for other in others]
    masked = [replace(first, whole=False)]
    if args.device != "cpu" and chosen.precision == "bf16":
        masked.append(replace(masked[0], computing=changed(chosen, attention="packed")))
    compiled = replace(first, computing=changed(chosen, compile=True))
    last = [] if chosen.compile or args.device == "cpu" else [[compiled]]
    return [*sizes, *kernels, *([case] for case in masked), *last]


def changed(computing: Computing, **choices: Any) -> Computing:
    """The same with other choices, which are checked."""
    return Computing(**{**computing.model_dump(), **choices})


def figures(bench: Bench, args: argparse.Namespace, chosen: Computing) -> Iterator[dict[str, Any]]:
    """Figures of each case as they come, of all within the minutes that were given."""
    began, groups = time.perf_counter(), cases(args, chosen)
    left = sum(len(group) for group in groups)
    made: dict[bool, Windows] = {}
    for group in groups:
        for case in group:
            if case.whole not in made:
                made[case.whole] = bench.windows(max(args.batches), case.whole)
            spare = 60 * args.minutes - (time.perf_counter() - began)
            if spare <= (COMPILING if case.computing.compile else 0):
                return
            found = bench.run(case, made[case.whole], min(args.seconds, spare / left / 2))
            yield found
            left -= 1
            if found["out_of_memory"]:
                yield from smaller(bench, case, group, made[case.whole], args.seconds)
                break


def smaller(
    bench: Bench, case: Case, group: Sequence[Case], windows: Windows, seconds: float
) -> Iterator[dict[str, Any]]:
    """Half the people and half again, until they fit; none where a smaller batch has fitted."""
    while case == group[0] and case.batch > 1:
        case = replace(case, batch=case.batch // 2)
        group = [case]
        found = bench.run(case, windows, seconds)
        yield found
        if not found["out_of_memory"]:
            return


def line(found: dict[str, Any]) -> str:
    """A case in one line."""
    computing = Computing(**found["computing"])
    what = f"{found['size']:<6} batch {found['batch']:4}  "
    how = computing.in_words + ("" if found["whole"] else ", ROIs and frames missing")
    if found["out_of_memory"]:
        return f"{what}out of memory  ({how})"
    used = "no peak known" if found["mfu"] is None else f"MFU {found['mfu']:5.1%}"
    return (
        f"{what}{found['samples_per_second']:8.1f} samples/s  {found['step_ms']:8.1f} ms a step "
        f"(slowest {found['slowest_over_median']:.1f} x)  {found['tflops']:6.1f} TFLOP/s  {used}  "
        f"{found['memory_gb']:5.1f} GB  waiting {found['waiting_share']:5.1%}  ({how})"
    )


def main(words: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda", help="cuda, cuda:1 ..., or cpu (tiny)")
    parser.add_argument("--sizes", nargs="+", help="small base large, or tiny on a CPU")
    parser.add_argument("--batches", nargs="+", type=int, help="people of a step, of each size")
    parser.add_argument("--precision", default=None, choices=["fp32", "tf32", "bf16"])
    parser.add_argument("--attention", default="fused", choices=["fused", "cudnn", "packed"])
    parser.add_argument("--compile", action="store_true", help="through torch.compile")
    parser.add_argument("--rois", type=int, help="450, or 12 on a CPU")
    parser.add_argument("--frames", type=int, default=160)
    parser.add_argument("--seconds", type=float, default=20.0, help="of a case at most")
    parser.add_argument("--minutes", type=float, default=7.0, help="of all cases")
    parser.add_argument("--out", type=Path, default=Path("bench_gpu.json"))
    args = parser.parse_args(words)
    on_cpu = args.device == "cpu"
    if not on_cpu and not torch.cuda.is_available():
        print("No CUDA device here: nothing measured. --device cpu tries the program itself.")
        return
    args.sizes = args.sizes or (["tiny"] if on_cpu else ["small", "base", "large"])
    args.batches = args.batches or ([2, 4] if on_cpu else [16, 32, 64])
    precision = args.precision or ("fp32" if on_cpu else "bf16")
    chosen = Computing(precision=precision, attention=args.attention, compile=args.compile)
    use_threads()
    rois = args.rois or (12 if on_cpu else 450)
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(rois, args.frames, 16, torch.device(args.device), Path(folder))
        told: dict[str, Any] = {
            "card": bench.card,
            "peak_tflops": peak_of(bench.card, precision),
            "torch": torch.__version__,
            "rois": rois,
            "frames": args.frames,
            "cases": [],
        }
        print(f"{bench.card}, torch {torch.__version__}, {rois} ROIs x {args.frames} frames")
        for found in figures(bench, args, chosen):
            print(line(found), flush=True)
            told["cases"].append(found)
            with atomic_path(args.out) as temporary:  # whatever ends this early
                temporary.write_text(json.dumps(told, indent=1) + "\n")


if __name__ == "__main__":
    main()
