"""What the person objective makes of people, steps and choices: the cells of docs/learning.md.

A cell is one training, judged at hospitals that are left out by what 128 s tell of the other half
of a scan (`person_objective.py`). Cells are kept one by one, so that the command goes on where it
was stopped, and the page is written from all that are there, those measured elsewhere too.

    python benchmarks/learning/scaling.py --data A --data B     cells that lack, then the page
    python benchmarks/learning/scaling.py --page-only           the page from what is there
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Iterator, Sequence
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from person.ema_teacher import EMA_TEACHER, SAME_LOOP
from person.table import ALONE, FEDERATED, OWN, Job, interval
from person_objective import hospitals, run, sets_of, stores_of
from scaling_page import page

from brainjepa_core.files import atomic_path

HERE = Path(__file__).resolve().parent
CELLS = HERE / "cells"
PAGE = HERE.parents[1] / "docs" / "learning.md"
SHARED = HERE.parents[1].parent / "shared" / "data"
DATA = (SHARED / "abide", SHARED / "abide_extra")
ROIS = 64
BASE: Job = {
    "inner": None, "seed": 0, "set": 0, "patch": 16, "lr": 1e-2, "steps": 300, "batch": 16,
    "directions": 20, "budget": 1.0, "local_steps": 4, "outer": "fedadam", "device": "cpu",
    "depth": 0, "share": 1.0,
}  # fmt: skip
SETS, SHARES, STEPS = range(3), (0.125, 0.25, 0.5, 1.0), (75, 300, 900)
HOSPITALS = 8  # that train, of twelve
CHOICES: dict[str, Job] = {
    "patches of 32 frames": {"patch": 32},
    "learning rate 2e-3": {"lr": 2e-3},
    "10 directions": {"directions": 10},
    "31 directions": {"directions": 31},
}
FAILURES = ("token objective", "token objective, published", "masked autoencoder")


def cells() -> Iterator[tuple[str, Job]]:
    """Every cell: the table that it stands in, and what it is; cheap ones first."""
    for number in SETS:
        yield "bar", {"row": OWN, "set": number}
    for share, number in product(SHARES, SETS):
        yield "people", {"row": "depth 0", "share": share, "set": number}
    for steps, number in product(STEPS, SETS):
        yield "steps", {"row": "depth 0", "steps": steps, "set": number}
    for name, choice in CHOICES.items():
        yield "choices", {"row": "depth 0", "choice": name, **choice}
    yield "federation", {"row": FEDERATED, "depth": 0}
    for share in SHARES[::-1]:
        yield "people", {"row": "depth 2", "depth": 2, "share": share}
    for steps in STEPS[:2]:
        yield "steps", {"row": "depth 2", "depth": 2, "steps": steps}
    yield "federation", {"row": FEDERATED, "depth": 2}
    for depth, site in product((0, 2), range(HOSPITALS)):
        yield "federation", {"row": f"{ALONE} {site + 1}", "depth": depth, "site": site}
    for depth, row, number in product((0, 2), (SAME_LOOP, EMA_TEACHER), SETS):
        yield "teacher", {"row": row, "depth": depth, "set": number}
    for number in SETS[1:]:
        yield "people", {"row": "depth 2", "depth": 2, "share": 1.0, "set": number}
    for row in FAILURES:
        yield "objectives", {"row": row, "depth": 2}


def file_of(job: Job) -> Path:
    """Where a cell is kept: its name says how it differs from the others."""
    told = {"row": job["row"], **{k: v for k, v in job.items() if BASE.get(k) != v}}
    words = "_".join(f"{k}-{v}" for k, v in sorted(told.items()) if k not in ("left_out", "choice"))
    return CELLS / f"{words.replace(' ', '-').replace(',', '').replace(chr(39), '')}.json"


def made(result: Job, own: Job) -> dict[str, Any]:
    """A cell's figures, without anything of a person."""
    r2, ratio, least, gain, low, high = interval([result], [own])
    found = {"r2": r2, "ratio": ratio, "least": least, "gain": gain, "low": low, "high": high}
    return {
        "rois": ROIS,
        "tested": len(result["errors"]),
        **{name: round(value, 4) for name, value in found.items()},
        "seconds": round(result["seconds"]),
    }


def fill(data: Sequence[Path], minutes: float) -> None:
    """Make the cells that lack, a line each, until the minutes are over."""
    until = time.monotonic() + 60 * minutes
    paths = {file_of({**BASE, **job}): {**BASE, **job} for _, job in cells()}
    lacking = {path: job for path, job in paths.items() if not path.exists()}
    if not lacking:
        return
    own: dict[int, Job] = {}
    with TemporaryDirectory() as folder:
        stores_of(data, Path(folder), ROIS)
        stores = str(Path(folder) / "stores")
        sets = sets_of(sorted(hospitals(stores)), len(SETS))
        for done, (path, job) in enumerate(lacking.items()):
            if time.monotonic() > until:
                print(f"{len(lacking) - done} cells are left; call again", flush=True)
                return
            number, left_out = job["set"], sets[job["set"]]
            if number not in own:
                bar = {**BASE, "row": OWN, "set": number, "left_out": left_out}
                own[number] = run(stores, bar)
            told = made(run(stores, {**job, "left_out": left_out}), own[number])
            with atomic_path(path) as temporary:
                temporary.write_text(json.dumps(told, indent=1) + "\n")
            print(f"{done + 1}/{len(lacking)} {path.stem}: R2 {told['r2']}", flush=True)


def main() -> None:
    """Make what lacks, then the page."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, action="append", help="folders of site archives")
    parser.add_argument("--page-only", action="store_true")
    parser.add_argument("--minutes", type=float, default=60.0, help="after which no cell begins")
    arguments = parser.parse_args()
    data = arguments.data or DATA
    torch.set_num_threads(1)
    os.nice(10)
    if not arguments.page_only:
        missing = [folder for folder in data if not folder.is_dir()]
        if missing:
            print(f"no site archives at {missing[0]}: the page is of the cells that are there")
        else:
            CELLS.mkdir(exist_ok=True)
            fill(data, arguments.minutes)
    known = {table: [] for table, _ in cells()}
    for table, job in cells():
        path = file_of({**BASE, **job})
        known[table].append({**job, **(json.loads(path.read_text()) if path.exists() else {})})
    with atomic_path(PAGE) as temporary:
        temporary.write_text(page(known))
    print(PAGE)


if __name__ == "__main__":
    main()
