"""A store of UK Biobank's size: time to open it, to describe it, to sum over it, and its memory.

The table has a line for each of 40,000 scans; their arrays are links to a few files, so the store
takes no more room than its table. What is read is read as in any other store.

    python benchmarks/bench_store.py                                     # ten minutes
    python benchmarks/bench_store.py --scans 300 --summed 128 --rois 20  # seconds
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from parts.made_stores import many_people

from brainjepa_client.computing.describe import describe
from brainjepa_client.settings import SiteSettings
from brainjepa_core.atlas import Atlas, load_atlas
from brainjepa_core.evaluation.splits import folds_of_windows
from brainjepa_core.evaluation.tasks.settings import TaskSettings
from brainjepa_core.evaluation.tasks.task_data import task_data
from brainjepa_core.pretraining.site_sums.basis import connectivity_sum
from brainjepa_core.signals.storing.kept_aligned import KeptAligned
from brainjepa_core.signals.storing.store import ScanStore
from brainjepa_core.signals.window_settings import WindowSettings
from brainjepa_core.signals.windows import Windows


def processor_seconds() -> float:
    """Of this process and of those it has ended."""
    found = os.times()
    return found.user + found.system + found.children_user + found.children_system


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scans", type=int, default=40_000)
    parser.add_argument("--rois", type=int, default=450, help="of random names where not 450")
    parser.add_argument("--summed", type=int, default=40_000, help="people of the gradients' sum")
    parser.add_argument("--processes", type=int, default=2)
    arguments = parser.parse_args()
    rois = arguments.rois
    atlas = load_atlas() if rois == 450 else Atlas.from_names([f"r{i}" for i in range(rois)])
    with tempfile.TemporaryDirectory() as folder:
        many_people(Path(folder) / "store", atlas, arguments.scans)
        rows = measured(Path(folder), arguments.summed, arguments.processes)
    print(json.dumps(rows, indent=1))


def measured(folder: Path, summed: int, processes: int) -> dict[str, Any]:
    """The rows of the benchmark, in seconds and GB."""
    rows: dict[str, Any] = {}

    def timed(name: str, work: Callable[[], Any]) -> Any:
        start, processor = time.perf_counter(), processor_seconds()
        found = work()
        rows[f"{name}_s"] = round(time.perf_counter() - start, 3)
        rows[f"{name}_cpu_s"] = round(processor_seconds() - processor, 3)
        return found

    site = SiteSettings(name="site", store=folder / "store", state=folder / "state")
    store = timed("open", lambda: ScanStore.open(folder / "store"))
    rows["scans"] = len(store.records)
    timed("describe", lambda: describe(site, store))
    kept = KeptAligned(folder / "state" / "aligned", 10**11)
    windows = timed("windows", lambda: Windows([store], WindowSettings(), kept=kept))
    timed("folds", lambda: folds_of_windows(windows, 0, 5))
    task = TaskSettings(name="age", column="age", kind="regression")
    timed("task_table", lambda: task_data(task, windows))
    people = range(min(summed, windows.subjects))
    alone, shared = (
        Windows([store], WindowSettings(), kept=KeptAligned(folder / place, 10**11)).only(people)
        for place in ("alone", "shared")  # neither finds what the other has aligned
    )
    one = timed("gradients_1_process", lambda: connectivity_sum(alone))
    other = timed(f"gradients_{processes}_processes", lambda: connectivity_sum(shared, processes))
    rows["gradients_people"] = len(people)
    ratios = [
        rows[f"gradients_1_process_{of}"] / rows[f"gradients_{processes}_processes_{of}"]
        for of in ("s", "cpu_s")
    ]
    rows["gradients_times_as_fast"] = round(ratios[0], 2)
    # What it would be where no other program takes the processes' cores.
    rows["gradients_times_as_fast_by_processor_time"] = round(processes * ratios[1], 2)
    rows["gradients_same_bits"] = bool(np.array_equal(one.z_sum, other.z_sum))
    usage = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    rows["peak_memory_gb"], rows["peak_memory_of_a_process_gb"] = (
        round(found.ru_maxrss * 1024 / 1e9, 3) for found in usage
    )
    return rows


if __name__ == "__main__":
    main()
