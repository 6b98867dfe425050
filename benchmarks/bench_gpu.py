"""Pretraining steps on one GPU in bf16: samples a second, utilisation, peak memory.

    python benchmarks/bench_gpu.py                            # ViT-S, B and L
    python benchmarks/bench_gpu.py --sizes base --batch 64 --masks 4 --compile

Utilisation (MFU) is useful work, counted by `flops.step_flops`, over the dense bf16 peak of the
device's data sheet.
"""

from __future__ import annotations

import argparse
import time

import torch
from bench_step import Step, adamw, draw, make_step
from flops import step_flops

from brainjepa_core.models.brain_jepa.model import BrainJEPA
from brainjepa_core.models.brain_jepa.settings import BrainJepaSettings

PEAK_TFLOPS = {"H100": 989.0, "H200": 989.0, "A100": 312.0}  # dense bf16, SXM
WARM_UP = 3


def peak_of(device_name: str) -> float | None:
    """Dense bf16 peak of a device in TFLOP/s, or None where the table has no such device."""
    return next((peak for name, peak in PEAK_TFLOPS.items() if name in device_name), None)


def gpu_step(model: BrainJEPA, batch: int, masks: int, compiled: bool) -> Step:
    """A whole step on random windows that are on the device already."""
    s = model.settings
    x = torch.randn(batch, s.rois, s.frames, device="cuda")
    indices = [index.cuda() for index in draw(s, batch, masks)]
    losses = torch.compile(model.sample_losses) if compiled else model.sample_losses

    def loss() -> torch.Tensor:
        with torch.autocast("cuda", torch.bfloat16):
            return losses(x, *indices).mean()

    optimizer = adamw([p for p in model.parameters() if p.requires_grad], fused=True)
    return make_step(optimizer, loss, model.after_step)


def report(size: str, args: argparse.Namespace) -> None:
    s = BrainJepaSettings.preset(size, rois=args.rois, recipe=args.recipe)
    torch.manual_seed(0)
    model = BrainJEPA(s, torch.randn(s.rois, s.components)).cuda()
    step = gpu_step(model, args.batch, args.masks, args.compile)
    for _ in range(WARM_UP):
        step()
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    start = time.perf_counter()
    for _ in range(args.steps):
        step()
    torch.cuda.synchronize()
    seconds = (time.perf_counter() - start) / args.steps
    context, target = draw(s, 1, args.masks)
    work = step_flops(s, context.shape[-1], target.shape[-1], batch=args.batch, masks=args.masks)
    achieved = sum(work.values()) / seconds / 1e12
    peak = peak_of(torch.cuda.get_device_name())
    used = "no peak known" if peak is None else f"MFU {achieved / peak:5.1%}"
    print(
        f"{size:<6} {args.batch / seconds:8.1f} samples/s  {1e3 * seconds:8.1f} ms a step  "
        f"{achieved:6.1f} TFLOP/s  {used}  "
        f"peak memory {torch.cuda.max_memory_allocated() / 1e9:5.1f} GB"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", nargs="+", default=["small", "base", "large"])
    parser.add_argument("--rois", type=int, default=450)
    parser.add_argument("--recipe", default="default", choices=["default", "published"])
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--masks", type=int, default=1, help="masks per sample")
    parser.add_argument("--steps", type=int, default=10, help="steps that are timed")
    parser.add_argument("--compile", action="store_true", help="through torch.compile")
    args = parser.parse_args()
    if not torch.cuda.is_available():
        print("No CUDA device here: nothing measured. Run this on a machine with a GPU.")
        return
    compiled = ", compiled" if args.compile else ""
    print(
        f"{torch.cuda.get_device_name()}, torch {torch.__version__}: {args.recipe} recipe, "
        f"{args.rois} ROIs, batch {args.batch}, {args.masks} masks a sample, bf16{compiled}"
    )
    for size in args.sizes:
        report(size, args)
        torch.cuda.empty_cache()


if __name__ == "__main__":
    main()
