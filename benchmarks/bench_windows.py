"""What a training window costs once its scan is cached, beside what copying it must cost.

The floor is the window's bytes, read and written once, at the bandwidth that a large copy reaches
on this machine; windows are taken from a cohort too large for the processor's caches.

    python benchmarks/bench_windows.py                  # 64 people, 450 ROIs: half a minute
    python benchmarks/bench_windows.py --people 8       # seconds
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np

from brainjepa_core.atlas import load_atlas
from brainjepa_core.signals.storing.store import ScanStore
from brainjepa_core.signals.window_settings import WindowSettings
from brainjepa_core.signals.windows import Windows

SCAN_FRAMES, SCAN_TR = 490, 0.735  # as UK Biobank's


def copy_seconds_per_byte(size: int = 256 << 20, repeats: int = 7) -> float:
    """Of a copy that no cache holds; counts a byte once, though it is read and written."""
    source, target = np.ones(size, np.uint8), np.zeros(size, np.uint8)
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        np.copyto(target, source)
        times.append(time.perf_counter() - start)
    return min(times) / size


def make_store(folder: Path, people: int) -> ScanStore:
    atlas = load_atlas()
    store = ScanStore.create(folder, atlas)
    rng = np.random.default_rng(0)
    for person in range(people):
        series = rng.standard_normal((len(atlas), SCAN_FRAMES), np.float32)
        store.append(series, subject=f"{person:04d}", tr=SCAN_TR)
    return store


def median_ms(windows: Windows, batch: int, repeats: int) -> float:
    """Milliseconds a window, in batches of random people."""
    rng = np.random.default_rng(0)
    times = []
    for i in range(repeats):
        people = rng.integers(windows.subjects, size=batch).tolist()
        start = time.perf_counter()
        windows.batch(people, [(i, j) for j in range(batch)])
        times.append(time.perf_counter() - start)
    return statistics.median(times) * 1e3 / batch


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--people", type=int, default=64)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--repeats", type=int, default=30)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        store = make_store(Path(folder) / "site", arguments.people)
        window_bytes = len(store.atlas) * WindowSettings().frames * 4
        floor = copy_seconds_per_byte() * window_bytes * 1e3
        report = {"floor_ms": floor, "window_bytes": window_bytes}
        for temporal in ("antialias", "official"):
            windows = Windows([store], WindowSettings(temporal=temporal))
            start = time.perf_counter()
            for person in range(windows.subjects):
                windows.aligned(person)
            report[f"{temporal}_first_ms"] = (time.perf_counter() - start) * 1e3 / windows.subjects
            cached = median_ms(windows, arguments.batch, arguments.repeats)
            report[f"{temporal}_cached_ms"] = cached
            report[f"{temporal}_times_floor"] = cached / floor
    print(json.dumps({key: round(value, 4) for key, value in report.items()}, indent=1))


if __name__ == "__main__":
    main()
