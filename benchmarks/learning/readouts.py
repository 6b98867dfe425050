"""What read-outs of signals and of an untrained network tell of diagnosis and age, site by site.

Every hospital is told by the others; bases, means and penalties are of those others, and where it
says site-centred the tested hospital subtracts the mean of its own unlabelled features. Writes the
page of each task, with the tables of docs/evaluation.md, and prints what reading people cost beside
the least that it can: the products that a network's layers are made of, at the speed of this
machine's own matrix products. Archives of one name in several folders are one hospital's.

    python benchmarks/learning/readouts.py FOLDER... --out readouts
    python benchmarks/learning/readouts.py ABIDE --rois 200    # the first 200: CC200
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch

from brainjepa_core.evaluation.comparison import EvaluationPlan, compare_models
from brainjepa_core.evaluation.features.embeddings import cached_embeddings
from brainjepa_core.evaluation.features.readouts import SignalReadOuts
from brainjepa_core.evaluation.readout.connectivity import matrix_of
from brainjepa_core.evaluation.tasks.protocols import ProtocolSettings
from brainjepa_core.evaluation.tasks.settings import load_task
from brainjepa_core.evaluation.yardstick import LATENT_CONNECTIVITY as READ
from brainjepa_core.models.interface import BrainModel
from brainjepa_core.pretraining.settings import PretrainingSettings
from brainjepa_core.pretraining.site_sums.basis import consensus_basis
from brainjepa_core.signals.importing.importers import import_site_archive
from brainjepa_core.signals.windows import Windows

SHARED = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "abide"
PROTOCOL = ProtocolSettings(kind="leave_one_site_out", seeds=1)
TASKS = ("diagnosis", "age")
STARTS = {"default": "at step 0", "published": "published start"}  # by recipe


def windows_of(
    sources: Sequence[Path], folder: Path, rois: slice, study: PretrainingSettings
) -> Windows:
    """Windows of all archives of some folders, of some of their ROIs."""
    stores = {}
    for number, source in enumerate(sources):
        for path in sorted(source.glob("*.npz")):
            with np.load(path) as file:
                arrays = dict(file)
            if "ts" not in arrays:  # a mapping of ROIs that lies beside them
                continue
            arrays |= {"ts": arrays["ts"][:, rois], "roi": arrays["roi"][rois]}
            copy = folder / f"{number}" / path.name
            copy.parent.mkdir(exist_ok=True)
            np.savez(copy, **arrays)
            store = import_site_archive(copy, folder / path.stem, source / "participants.tsv")
            stores[path.stem] = store
    return study.windows_of([stores[name] for name in sorted(stores)])


def tell_cost(windows: Windows, model: BrainModel) -> None:
    """Read every eighth person by signals and by the network: seconds of all, and the floor."""
    few = windows.only(range(0, windows.subjects, 8))
    signals, people = SignalReadOuts(few), range(few.subjects)
    seen = signals.seen_from(np.arange(few.subjects))
    matrices = matrix_of(signals.pairs)
    parts: dict[str, Callable[[], object]] = {
        "connectivity 0.01-0.1 Hz": lambda: signals.slow_pairs,
        "log-connectivity": lambda: seen.features(matrices),
        "network": lambda: cached_embeddings(model, few, people, (READ,)),
    }
    times = windows.subjects / few.subjects
    for name, read in parts.items():
        began, cpu = time.perf_counter(), time.process_time()
        read()
        wall, cpu = time.perf_counter() - began, time.process_time() - cpu
        told = f"{times * wall:.0f} s, {times * cpu:.0f} s of processor"
        print(
            f"{name}: {told} for {windows.subjects} people, by {few.subjects} of them", flush=True
        )
    work = times * sum(map(partial(operations, few, model), people)) / 1e9
    speed = matrix_speed()
    seconds = f"{work:.0f} G operations / {speed:.0f} G/s = {work / speed:.0f} s"
    print(f"floor of the network: {seconds} of processor")


def operations(windows: Windows, model: BrainModel, person: int) -> float:
    """Multiplications and additions that the encoder needs for a person's windows."""
    shape, total = model.settings, 0.0
    for _, frames, rois in windows.whole_scans(person):
        for there, known in zip(frames, rois, strict=True):
            tokens = int(known.sum()) * -(-int(there.sum()) // shape.patch)
            width, depth = shape.width, shape.depth
            total += depth * (4 * tokens**2 * width + (8 + 4 * shape.mlp_ratio) * tokens * width**2)
    return total


def matrix_speed(size: int = 1536) -> float:
    """G operations of float32 matrix products a second of processor, whoever else is at work."""
    a = torch.randn(size, size)
    a @ a
    began = time.process_time()
    products = [a @ a for _ in range(5)]
    return len(products) * 2 * size**3 / (time.process_time() - began) / 1e9


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folders", nargs="*", type=Path, default=[SHARED])
    parser.add_argument("--rois", type=int)
    parser.add_argument("--out", type=Path, default=Path("readouts"))
    parser.add_argument("--recipe", choices=STARTS, default="default")
    arguments = parser.parse_args()
    missing = [folder for folder in arguments.folders if not folder.is_dir()]
    if missing:
        print(f"no site archives at {missing[0]}: nothing is measured")
        return
    with TemporaryDirectory() as folder:
        windows = windows_of(
            arguments.folders, Path(folder), slice(arguments.rois), PretrainingSettings()
        )
        model = PretrainingSettings(recipe=arguments.recipe).new_model(consensus_basis(windows))
        out: Path = arguments.out
        tell_cost(windows, model.eval())
        for name in TASKS:
            task = load_task(name).model_copy(update={"within_site": name == "age"})
            plan = EvaluationPlan(task, PROTOCOL, {STARTS[arguments.recipe]: model})
            began = time.perf_counter()
            compare_models(plan, windows, out / name, print)
            seconds = time.perf_counter() - began
            print(f"{out / name / 'results.html'}: {seconds:.0f} s", flush=True)


if __name__ == "__main__":
    main()
