"""One step of the published recipe on the CPU, beside a naive eager implementation of it.

Both run in one process, in turns, from equal weights and equal masks; medians are compared. Then
the same per prediction task, where several masks share one target pass; then peak memory, each in
a process of its own; then how far the step is from what the processor's matrix product allows.

    python benchmarks/bench_step.py                          # ViT-S, 450 ROIs, batch 2: minutes
    python benchmarks/bench_step.py --rois 45                # seconds; attention weighs less
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
from collections.abc import Callable
from pathlib import Path

import torch
from flops import step_flops
from torch import Tensor

from brainjepa_core.models.brain_jepa.model import BrainJEPA
from brainjepa_core.models.brain_jepa.published import to_official
from brainjepa_core.models.brain_jepa.settings import BrainJepaSettings
from brainjepa_core.models.masks.draw import MaskBatch, mask_batch
from brainjepa_core.models.masks.settings import MaskSettings

sys.path.append(str(Path(__file__).parents[1] / "tests"))
from oracles.eager_jepa import EagerJEPA

LR, WEIGHT_DECAY, MOMENTUM = 1e-3, 0.05, 0.996
TYPICAL = (1241 / 4500, 1127 / 4500)  # published context and target tokens, as shares
Step = Callable[[], Tensor]
Indices = tuple[Tensor, Tensor]


def adamw(parameters: list[Tensor], fused: bool) -> torch.optim.AdamW:
    """AdamW that decays matrices only."""
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": WEIGHT_DECAY},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=LR, fused=fused or None)


def make_step(
    optimizer: torch.optim.Optimizer,
    loss_of: Callable[[], Tensor],
    after_step: Callable[[float], None],
) -> Step:
    """A whole optimiser step as a function without arguments."""

    def step() -> Tensor:
        loss = loss_of()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        after_step(MOMENTUM)
        return loss.detach()

    return step


def our_step(model: BrainJEPA, x: Tensor, indices: Indices) -> Step:
    optimizer = adamw([p for p in model.parameters() if p.requires_grad], fused=True)
    return make_step(optimizer, lambda: model(x, *indices).mean(), model.after_step)


def eager_step(eager: EagerJEPA, x: Tensor, indices: Indices) -> Step:
    optimizer = adamw(eager.trained(), fused=False)
    return make_step(optimizer, lambda: eager.loss(x, *indices), eager.after_step)


def make_eager(model: BrainJEPA) -> EagerJEPA:
    """Eager twin of a model, with its own copies of the weights."""
    s = model.settings
    return EagerJEPA(
        **to_official(model),
        gradient=model.basis.clone(),
        heads=s.heads,
        predictor_heads=s.predictor_heads,
    )


def measure(steps: dict[str, Step], repeats: int) -> dict[str, list[float]]:
    """Seconds of each step, taken in turns after one warm-up each."""
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for turn in range(repeats + 1):
        for name, step in steps.items():
            start = time.perf_counter()
            step()
            if turn:
                seconds[name].append(time.perf_counter() - start)
    return seconds


def matmul_peak(size: int = 2048) -> float:
    """Best measured rate of a large float32 matrix product, FLOP/s."""
    a, b = torch.randn(size, size), torch.randn(size, size)
    seconds = measure({"matmul": lambda: a @ b}, repeats=8)["matmul"]
    return 2 * size**3 / min(seconds)


def draw(s: BrainJepaSettings, batch: int, masks: int) -> Indices:
    """Balanced masks of a typical step, [B, Nc] and [B, Nt], or [B, K, ...] for several.

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

    drawn = masks_at(min(range(100), key=distance), batch * masks)
    shape = (batch, -1) if masks == 1 else (batch, masks, -1)
    return drawn.context_index.reshape(shape), drawn.target_index.reshape(shape)


def high_water() -> float:
    """Largest resident size of this process so far, GB."""
    status = Path("/proc/self/status")
    if status.exists():  # getrusage would show a child the peak of the parent that started it
        fields = dict(line.split(":", 1) for line in status.read_text().splitlines())
        return int(fields["VmHWM"].split()[0]) * 1024 / 1e9
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e9


def peak_memory(name: str, s: BrainJepaSettings, batch: int) -> dict[str, float]:
    """GB that two steps reach above what the process held before, measured in this process."""
    torch.manual_seed(0)
    model = BrainJEPA(s, torch.randn(s.rois, s.components))
    x, indices = torch.randn(batch, s.rois, s.frames), draw(s, batch, masks=1)
    if name == "ours":
        step = our_step(model, x, indices)
    else:
        step = eager_step(make_eager(model), x, indices)
        del model
    before = high_water()
    for _ in range(2):
        step()
    return {"peak": high_water(), "above": high_water() - before}


def in_child(name: str) -> dict[str, float]:
    """`peak_memory` in a process of its own, with this process's arguments."""
    command = [sys.executable, __file__, *sys.argv[1:], "--memory-of", name]
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def report(args: argparse.Namespace, s: BrainJepaSettings) -> None:
    torch.manual_seed(0)
    model = BrainJEPA(s, torch.randn(s.rois, s.components))
    x = torch.randn(args.batch, s.rois, s.frames)
    one, several = draw(s, args.batch, 1), draw(s, args.batch, args.masks)
    n_context, n_target = one[0].shape[-1], one[1].shape[-1]
    print(
        f"{args.size}: {s.rois} ROIs x {s.frames} frames, {s.tokens} tokens, batch {args.batch}, "
        f"{n_context} context and {n_target} target tokens; torch {torch.__version__}, "
        f"{torch.get_num_threads()} threads, load {os.getloadavg()[0]:.1f}"
    )
    steps = {
        "ours": our_step(model, x, one),
        "eager": eager_step(make_eager(model), x, one),
        f"ours, {args.masks} masks": our_step(model, x, several),
    }
    seconds = {k: statistics.median(v) for k, v in measure(steps, args.repeats).items()}
    ours, eager, shared = seconds.values()
    print(
        f"step at equal masks    ours {ours:7.2f} s   eager {eager:7.2f} s   "
        f"ratio {eager / ours:.2f} (bar 2.4)"
    )
    print(
        f"per prediction task    ours {shared / args.masks:7.2f} s   eager {eager:7.2f} s   "
        f"ratio {eager * args.masks / shared:.2f} (bar 4), {args.masks} masks a sample"
    )
    print_floor(args, s, n_context, n_target, ours)
    ours_gb, eager_gb = in_child("ours"), in_child("eager")
    print(
        f"peak memory            ours {ours_gb['peak']:7.2f} GB  eager {eager_gb['peak']:7.2f} GB"
        f"  share {ours_gb['peak'] / eager_gb['peak']:.2f} (bar 0.5); above the model alone "
        f"{ours_gb['above']:.2f} and {eager_gb['above']:.2f} GB"
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
    parser.add_argument("--rois", type=int, default=450)
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--masks", type=int, default=4, help="masks per sample of the second part")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--memory-of", choices=["ours", "eager"], help=argparse.SUPPRESS)
    args = parser.parse_args()
    settings = BrainJepaSettings.preset(args.size, rois=args.rois, recipe="published")
    if args.memory_of:
        print(json.dumps(peak_memory(args.memory_of, settings, args.batch)))
    else:
        report(args, settings)


if __name__ == "__main__":
    main()
