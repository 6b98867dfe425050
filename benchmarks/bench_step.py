"""A step of ViT-S on the CPU, beside a naive eager one, and beside that with fused attention.

The naive one (``tests/oracles/eager_jepa.py``) computes what the published code does, at its speed;
"with SDPA" it computes attention by torch's own fused kernel. All three have equal sizes and masks.
A step is of `--batch` people in micro-batches of `--micro`. What a step does once (response to a
blank window, optimiser, target encoder) and what it does for each micro-batch are timed by
themselves, in turns, and medians are put together: ``once + micro-batches * each``. Then the same
per prediction task, where several masks share one target pass; then peak memory, each in a process
of its own; then how far the step is from what the processor's matrix product allows.

    python benchmarks/bench_step.py                          # ViT-S, 450 ROIs: 8 min, two cores
    python benchmarks/bench_step.py --rois 45                # seconds; attention weighs less
    python benchmarks/bench_step.py --recipe published       # ours without the blank window
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from parts.flops import step_flops

from brainjepa_core.machine.processors import use_threads
from brainjepa_core.models.brain_jepa.model import BrainJEPA
from brainjepa_core.models.brain_jepa.published import to_official
from brainjepa_core.models.brain_jepa.settings import BrainJepaSettings
from brainjepa_core.models.masks.draw import MaskBatch, mask_batch
from brainjepa_core.models.masks.settings import MaskSettings
from brainjepa_core.pretraining.sampling import Batch
from brainjepa_core.pretraining.schedules import ScheduleSettings
from brainjepa_core.pretraining.step import MeanGradient, make_optimizer
from brainjepa_core.pretraining.training_settings import TrainingSettings

sys.path.append(str(Path(__file__).parents[1] / "tests"))
from oracles.eager_jepa import EagerJEPA

LR, WEIGHT_DECAY, MOMENTUM = 1e-3, 0.05, 0.996
TYPICAL = (1241 / 4500, 1127 / 4500)  # published context and target tokens, as shares
BARS = {"step": (3.9, 1.15), "task": (5.0, 1.7), "memory": 0.5}
Work = Callable[[], object]


@dataclass(frozen=True)
class Parts:
    """What a step does once, and what it does for each micro-batch."""

    once: Work
    each: Work


@dataclass(frozen=True)
class Cost:
    """Seconds on the clock, and of all processors together."""

    wall: float
    cpu: float

    def of_step(self, each: Cost, micro_batches: int) -> Cost:
        """A step of which this is what it does once."""
        wall = self.wall + micro_batches * each.wall
        return Cost(wall, self.cpu + micro_batches * each.cpu)


def our_parts(model: BrainJEPA, batch: Batch, people: int) -> Parts:
    """The parts of a step as training takes it."""
    settings = TrainingSettings(schedule=ScheduleSettings(total_steps=1000))
    optimizer = make_optimizer(model, settings)
    gradient = MeanGradient(model, settings, torch.device("cpu"))
    constants = model.step_constants()

    def once() -> None:
        model.step_constants()
        optimizer.step()
        model.after_step(MOMENTUM)

    return Parts(once, lambda: gradient._backward(batch, constants, people))


def eager_parts(eager: EagerJEPA, batch: Batch) -> Parts:
    """The parts of a step of the naive implementation."""
    trained = eager.trained()
    groups = [
        {"params": [p for p in trained if p.ndim > 1], "weight_decay": WEIGHT_DECAY},
        {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=LR)

    def once() -> None:
        optimizer.step()
        eager.after_step(MOMENTUM)

    indices = batch.draws["context_index"], batch.draws["target_index"]
    return Parts(once, lambda: eager.loss(batch.x, *indices).backward())


def make_eager(s: BrainJepaSettings, fused: bool) -> EagerJEPA:
    """The naive implementation, of the same sizes."""
    model = new_model(BrainJepaSettings(**s.model_dump() | PUBLISHED))
    return EagerJEPA(
        **to_official(model),
        gradient=model.basis.clone(),
        heads=s.heads,
        predictor_heads=s.predictor_heads,
        fused=fused,
    )


PUBLISHED = BrainJepaSettings.recipes["published"]


def new_model(s: BrainJepaSettings) -> BrainJEPA:
    """A model with random weights on a random basis."""
    torch.manual_seed(0)
    return BrainJEPA(s, torch.randn(s.rois, s.components))


def measure(parts: dict[str, Parts], repeats: int) -> dict[str, tuple[Cost, Cost]]:
    """Medians of each one's two parts, taken in turns after one warm-up each."""
    seconds: dict[str, list[tuple[Cost, Cost]]] = {name: [] for name in parts}
    for turn in range(repeats + 1):
        for name, part in parts.items():
            each, once = timed(part.each), timed(part.once)
            if turn:
                seconds[name].append((once, each))
    return {name: (_median(once), _median(each)) for name, (once, each) in _columns(seconds)}


def _columns(
    seconds: dict[str, list[tuple[Cost, Cost]]],
) -> list[tuple[str, tuple[Sequence[Cost], Sequence[Cost]]]]:
    return [(name, tuple(zip(*rows, strict=True))) for name, rows in seconds.items()]


def _median(costs: Sequence[Cost]) -> Cost:
    walls, cpus = [c.wall for c in costs], [c.cpu for c in costs]
    return Cost(statistics.median(walls), statistics.median(cpus))


def timed(work: Work) -> Cost:
    """What it costs to do it now."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return Cost(time.perf_counter() - wall, time.process_time() - cpu)


def matmul_peak(size: int = 2048, repeats: int = 8) -> float:
    """Best measured rate of a large float32 matrix product, FLOP/s."""
    a, b = torch.randn(size, size), torch.randn(size, size)
    return 2 * size**3 / min(timed(lambda: a @ b).wall for _ in range(repeats))


def make_batch(s: BrainJepaSettings, people: int, masks: int) -> Batch:
    """A micro-batch with balanced masks of a typical step, [B, N] or [B, K, N] for several.

    Sizes vary from step to step; the step whose sizes are nearest to `TYPICAL` is taken, and all
    masks are drawn from it, so that every prediction task that is compared is of one size.
    """

    def masks_at(step: int, samples: int) -> MaskBatch:
        return mask_batch(
            MaskSettings(),
            rois=s.rois,
            patches=s.time_patches,
            seed=0,
            step=step,
            samples=range(samples),
        )

    def distance(step: int) -> float:
        drawn = masks_at(step, 1)
        sizes = drawn.context_index.shape[-1], drawn.target_index.shape[-1]
        return sum(abs(n / s.tokens - share) for n, share in zip(sizes, TYPICAL, strict=True))

    drawn = masks_at(min(range(100), key=distance), people * masks)
    shape = (people, -1) if masks == 1 else (people, masks, -1)
    names = ("context_index", "target_index")
    draws = {name: getattr(drawn, name).reshape(shape) for name in names}
    return Batch(torch.randn(people, s.rois, s.frames), None, draws)


def high_water() -> float:
    """Largest resident size of this process so far, GB."""
    status = Path("/proc/self/status")
    if status.exists():  # getrusage would show a child the peak of the parent that started it
        fields = dict(line.split(":", 1) for line in status.read_text().splitlines())
        return int(fields["VmHWM"].split()[0]) * 1024 / 1e9
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e9


def peak_memory(name: str, s: BrainJepaSettings, people: int) -> float:
    """GB that a step of one micro-batch takes, measured in this process."""
    batch = make_batch(s, people, masks=1)
    if name == "ours":
        parts = our_parts(new_model(s), batch, people)
    else:
        parts = eager_parts(make_eager(s, fused=False), batch)
    parts.each()
    parts.once()
    return high_water()


def in_child(name: str) -> float:
    """`peak_memory` in a process of its own, with this process's arguments."""
    command = [sys.executable, __file__, *sys.argv[1:], "--memory-of", name]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def report(args: argparse.Namespace, s: BrainJepaSettings) -> None:
    one, several = (make_batch(s, args.micro, masks) for masks in (1, args.masks))
    sizes = one.draws["context_index"].shape[-1], one.draws["target_index"].shape[-1]
    print(
        f"{args.size}, {args.recipe}: {s.rois} ROIs x {s.frames} frames, {s.tokens} tokens, batch "
        f"{args.batch} in micro-batches of {args.micro}, {sizes[0]} context and {sizes[1]} target "
        f"tokens; torch {torch.__version__}, {torch.get_num_threads()} threads, "
        f"load {os.getloadavg()[0]:.1f}",
        flush=True,
    )
    model = new_model(s)
    parts = {
        "ours": our_parts(model, one, args.batch),
        "eager": eager_parts(make_eager(s, fused=False), one),
        "eager with SDPA": eager_parts(make_eager(s, fused=True), one),
        "shared": our_parts(model, several, args.batch),
    }
    count = args.batch // args.micro
    measured = measure(parts, args.repeats)
    steps = {name: once.of_step(each, count) for name, (once, each) in measured.items()}
    _print_ratios("step", steps["ours"], steps, 1, BARS["step"])
    _print_ratios(f"task, {args.masks} masks", steps["shared"], steps, args.masks, BARS["task"])
    once, each = measured["ours"]
    print(f"  of ours: once a step {once.wall:.2f} s, each micro-batch {each.wall:.2f} s")
    print_floor(args, s, *sizes, steps["ours"].wall)
    ours, eager = in_child("ours"), in_child("eager")
    print(
        f"peak memory, one micro-batch: ours {ours:.2f} GB, eager {eager:.2f} GB, share "
        f"{ours / eager:.2f} (bar {BARS['memory']})"
    )


def _print_ratios(
    what: str, ours: Cost, steps: dict[str, Cost], tasks: int, bars: tuple[float, float]
) -> None:
    """A line for each of the two that ours is compared with: seconds, ratio, and its bar."""
    for name, bar in zip(("eager", "eager with SDPA"), bars, strict=True):
        other = steps[name]
        print(
            f"{what:<14} ours {ours.wall / tasks:8.2f} s   {name:<15} {other.wall:8.2f} s   ratio "
            f"{tasks * other.wall / ours.wall:5.2f} (bar {bar}); processor seconds "
            f"{ours.cpu / tasks:.2f} and {other.cpu:.2f}, ratio {tasks * other.cpu / ours.cpu:.2f}",
            flush=True,
        )


def print_floor(
    args: argparse.Namespace, s: BrainJepaSettings, n_context: int, n_target: int, seconds: float
) -> None:
    """Work of the step, and how close to the processor's matrix product it ran."""
    parts = step_flops(s, n_context, n_target, batch=args.batch)
    for name, flops in parts.items():
        print(f"  {name:<20} {flops / 1e9:9.1f} GFLOP")
    total, peak = sum(parts.values()), matmul_peak()
    print(
        f"  in all {total / 1e9:.1f} GFLOP at {total / seconds / 1e9:.0f} GFLOP/s; a matrix "
        f"product reaches {peak / 1e9:.0f}, so the floor is {total / peak:.2f} s "
        f"({total / peak / seconds:.0%} of it reached)"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", default="small", choices=["small", "base", "large"])
    parser.add_argument("--recipe", default="default", choices=["default", "published"])
    parser.add_argument("--rois", type=int, default=450)
    parser.add_argument("--batch", type=int, default=16, help="people of a step")
    parser.add_argument("--micro", type=int, default=2, help="people of a micro-batch")
    parser.add_argument("--masks", type=int, default=4, help="masks a sample of the second part")
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--threads", type=int, help="of torch; all cores by default")
    parser.add_argument("--memory-of", choices=["ours", "eager"], help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.batch % args.micro:
        parser.error(f"expected --batch to be a multiple of --micro, found {args.batch}")
    use_threads(args.threads)
    settings = BrainJepaSettings.preset(args.size, rois=args.rois, recipe=args.recipe)
    if args.memory_of:
        print(json.dumps(peak_memory(args.memory_of, settings, args.micro)))
    else:
        report(args, settings)


if __name__ == "__main__":
    main()
