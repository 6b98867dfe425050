"""What a training window costs: by hand, the first time, from memory, from disk; and its mask.

Processor seconds of one thread, so that other programs of the machine do not count. The floor is
the window's bytes, read and written once, at the speed that a large copy reaches on this machine;
windows are taken from a cohort too large for the processor's caches. "By hand" is the same
alignment as textbooks write it (the tests' oracle).

    python benchmarks/bench_windows.py                  # 64 people, 450 ROIs: half a minute
    python benchmarks/bench_windows.py --people 8       # seconds
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from parts.made_stores import few_people

from brainjepa_core.atlas import load_atlas
from brainjepa_core.models.masks.draw import mask_batch
from brainjepa_core.models.masks.settings import MaskSettings
from brainjepa_core.signals.storing.kept_aligned import KeptAligned
from brainjepa_core.signals.storing.store import ScanStore
from brainjepa_core.signals.window_settings import WindowSettings
from brainjepa_core.signals.windows import Windows

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from oracles.alignment import aligned_by_hand

PATCH = 16


def copy_seconds_per_byte(size: int = 256 << 20, repeats: int = 7) -> float:
    """Of a copy that no cache holds; counts a byte once, though it is read and written."""
    source, target = np.ones(size, np.uint8), np.zeros(size, np.uint8)
    return min(seconds(lambda: np.copyto(target, source)) for _ in range(repeats)) / size


def seconds(work: Callable[[], object]) -> float:
    """Processor time of this thread."""
    start = time.thread_time()
    work()
    return time.thread_time() - start


def window_ms(windows: Windows, batch: int, repeats: int) -> float:
    """Milliseconds a window, in batches of random people."""
    rng = np.random.default_rng(0)
    times = []
    for i in range(repeats):
        people = rng.integers(windows.subjects, size=batch).tolist()
        seeds = [(i, j) for j in range(batch)]
        times.append(seconds(lambda people=people, seeds=seeds: windows.batch(people, seeds)))
    return statistics.median(times) * 1e3 / batch


def first_pass_ms(windows: Windows) -> float:
    """Milliseconds a scan, of scans that nobody has aligned yet."""
    each = [seconds(lambda p=p: windows.aligned(p)) for p in range(windows.subjects)]
    return statistics.median(each) * 1e3


def by_hand_ms(store: ScanStore, settings: WindowSettings) -> float:
    """Milliseconds a scan of the naive version, read from the same files."""
    each = [
        seconds(lambda r=r: aligned_by_hand(store.series(r), r.tr, settings.tr))
        for r in store.records
    ]
    return statistics.median(each) * 1e3


def mask_ms(rois: int, frames: int, batch: int, repeats: int) -> float:
    """Milliseconds a mask, in batches of steps that follow one another."""
    times = []
    for step in range(repeats):
        drawn = {"rois": rois, "patches": frames // PATCH, "seed": 0, "step": step}
        times.append(seconds(lambda d=drawn: mask_batch(MaskSettings(), samples=range(batch), **d)))
    return statistics.median(times) * 1e3 / batch


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--people", type=int, default=64)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--repeats", type=int, default=30)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        report = measured(Path(folder), arguments.people, arguments.batch, arguments.repeats)
    print(json.dumps({key: round(value, 4) for key, value in report.items()}, indent=1))


def measured(folder: Path, people: int, batch: int, repeats: int) -> dict[str, float]:
    """The rows of the benchmark."""
    store, settings = few_people(folder / "site", load_atlas(), people), WindowSettings()
    rois, kept = len(store.atlas), KeptAligned(folder / "aligned", 10**10)
    floor = copy_seconds_per_byte() * rois * settings.frames * 4 * 1e3
    from_memory = Windows([store], settings)
    report = {
        "window_bytes": rois * settings.frames * 4,
        "floor_ms": floor,
        "by_hand_ms": by_hand_ms(store, settings),
        "first_pass_ms": first_pass_ms(from_memory),
        "first_pass_and_kept_ms": first_pass_ms(Windows([store], settings, kept=kept)),
        "from_memory_ms": window_ms(from_memory, batch, repeats),
        # As of a site of far more scans than memory holds.
        "from_disk_ms": window_ms(Windows([store], settings, 1, kept=kept), batch, repeats),
        "mask_ms": mask_ms(rois, settings.frames, batch, repeats),
    }
    report["first_pass_times_as_fast_as_by_hand"] = report["by_hand_ms"] / report["first_pass_ms"]
    for name in ("from_memory", "from_disk"):
        report[f"{name}_times_floor"] = report[f"{name}_ms"] / floor
        report[f"{name}_windows_a_second"] = 1e3 / report[f"{name}_ms"]
    report["masks_a_second"] = 1e3 / report["mask_ms"]
    return report


if __name__ == "__main__":
    main()
