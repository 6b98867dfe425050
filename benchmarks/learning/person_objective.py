"""What a window tells of the rest of a person, at hospitals that nothing was learned from.

R2 of the other half's connectome (`brainjepa_core.evaluation.other_half`) from windows of 128 s:
the window's own connectivity, linear regression, a temporal filter alone (depth 0), attention, and
the token objectives, over sets of hospitals that are left out and seeds; intervals are over people,
paired. With --federated also sites together against pooled and against each site alone. With
--choose, settings are compared within the training hospitals of each set, and the left-out ones
stay closed.

    python benchmarks/learning/person_objective.py                             one set, one seed
    python benchmarks/learning/person_objective.py --sets 3 --seeds 3 --out person.json
    python benchmarks/learning/person_objective.py --data A --data B --device cuda --jobs 8
    python benchmarks/learning/person_objective.py --budget 10 --rows "depth 2" --out x.json

Results are written to --out as they come; what is there is not computed again.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from functools import cache
from itertools import chain, product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from person.ema_teacher import EMA_TEACHER, SAME_LOOP, trained_by_ema
from person.table import ALONE, FEDERATED, OWN, POOLED, Job, table
from person.training import FRAMES, OUTER, TOKENS, federated, study_of, trained

from brainjepa_core.arrays import Float64
from brainjepa_core.evaluation.other_half import (
    Connectome,
    People,
    other_half_r2,
    window_connectivity,
)
from brainjepa_core.evaluation.readout.connectivity import matrix_of, pairs_of
from brainjepa_core.evaluation.readout.latent import LatentReader
from brainjepa_core.files import atomic_path
from brainjepa_core.models.interface import BrainModel
from brainjepa_core.pretraining.site_sums.basis import consensus_basis
from brainjepa_core.signals.importing.importers import import_site_archive
from brainjepa_core.signals.storing.store import ScanStore
from brainjepa_core.signals.windows import Windows

SHARED = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "abide"
RIDGE = "ridge"
LEFT_OUT = 4  # hospitals of a set
ROWS = (OWN, RIDGE, "depth 0", "depth 2", *TOKENS)
GRID = tuple(product((0, 2), (16, 32), (2e-3, 5e-3, 1e-2)))  # depth, patch, lr


@cache
def hospitals(folder: str) -> dict[str, list[ScanStore]]:
    """Stores by hospital, of one or several data sets."""
    found = defaultdict(list)
    for path in sorted(Path(folder).glob("*/*")):
        found[path.name].append(ScanStore.open(path))
    return dict(found)


def stores_of(data: Sequence[Path], folder: Path, rois: int | None) -> None:
    """Import the first ROIs of every archive to FOLDER/stores/<number of data>/<hospital>."""
    for number, source in enumerate(data):
        (folder / "archives").mkdir(exist_ok=True)
        for path in sorted(source.glob("*.npz")):
            with np.load(path) as file:
                arrays = dict(file)
            if "ts" not in arrays:  # a mapping of ROIs that lies beside them
                continue
            arrays |= {"ts": arrays["ts"][:, :rois], "roi": arrays["roi"][:rois]}
            archive = folder / "archives" / path.name
            np.savez(archive, **arrays)
            target = folder / "stores" / str(number) / path.stem
            import_site_archive(archive, target, source / "participants.tsv")


def sets_of(names: Sequence[str], number: int) -> list[list[str]]:
    """Sets of hospitals to leave out; beforehand, by chance."""
    return [
        sorted(np.random.default_rng(seed).permutation(sorted(names))[:LEFT_OUT].tolist())
        for seed in range(number)
    ]


def split_of(job: Job, names: Sequence[str]) -> tuple[list[str], list[str]]:
    """Hospitals that a job learns from, and those it is judged at."""
    others = [name for name in names if name not in job["left_out"]]
    if job["inner"] is None:
        return others, job["left_out"]
    order = np.random.default_rng(job["set"]).permutation(others).tolist()
    tested = order[:LEFT_OUT] if job["inner"] == 0 else order[LEFT_OUT:]
    return [name for name in others if name not in tested], tested


def windows_of(stores: Sequence[ScanStore], job: Job) -> Windows:
    """Windows of everybody who has two of them apart, whatever the row."""
    study = study_of({**job, "row": "depth 0"})
    return study.windows_of(stores)


def drawn_of(windows: Windows, job: Job) -> Windows:
    """The share of the people that a job learns from; a smaller share is within a larger one."""
    order = np.random.default_rng(job["set"]).permutation(windows.subjects)
    return windows.only(sorted(order[: round(job["share"] * windows.subjects)].tolist()))


def people_of(windows: Windows) -> People:
    """Halves of everybody's first scan, where they hold a window."""
    return People.of(windows, range(windows.subjects), FRAMES)


def connectome_of(model: BrainModel) -> Connectome:
    """Latent connectivity of windows by a model."""
    return LatentReader(model.eval()).of_window


def ridge_of(training: People) -> Connectome:
    """Kernel ridge from a window's pairs to the other half's, its penalty by hospitals left out."""
    told, tells, sites = [], [], []
    for halves, site in zip(training.halves, training.sites, strict=True):
        for half, other in halves.both_ways():
            target = pairs_of(window_connectivity(other, halves.known))
            for start in range(0, half.shape[1] - FRAMES + 1, FRAMES):
                window = half[:, start : start + FRAMES]
                tells.append(pairs_of(window_connectivity(window, halves.known)))
                told.append(target)
                sites.append(site)
    x, y = np.nan_to_num(np.array(tells)), np.nan_to_num(np.array(told))
    mean, level = x.mean(0), y.mean(0)
    x, y = x - mean, y - level
    kernel, place = x @ x.T, np.array(sites)
    unit = np.trace(kernel) / len(kernel)

    def weights(kept: Any, penalty: float) -> Float64:
        square = kernel[np.ix_(kept, kept)] + penalty * unit * np.eye(kept.sum())
        found: Float64 = np.linalg.solve(square, y[kept])
        return found

    def error(penalty: float) -> float:
        splits = [place != site for site in sorted(set(sites))]
        return sum(
            float(((kernel[np.ix_(~kept, kept)] @ weights(kept, penalty) - y[~kept]) ** 2).sum())
            for kept in splits
        )

    best = weights(np.ones(len(x), bool), min(10.0 ** np.arange(-2, 3), key=error))
    slope = x.T @ best if len(x) > x.shape[1] else None

    def predicted(window: Any, known: Any) -> Float64:
        given = np.nan_to_num(pairs_of(window_connectivity(window, known))) - mean
        found = given @ slope if slope is not None else (given @ x.T) @ best
        return matrix_of(level + found)

    return predicted


def connectomes_of(job: Job, stores: list[list[ScanStore]], windows: Windows) -> Connectome:
    """What a row reads windows by, having learned from the training hospitals."""
    if job["row"] == OWN:
        return window_connectivity
    if job["row"] == RIDGE:
        return ridge_of(people_of(windows))
    basis = consensus_basis(windows)
    if job["row"] in (EMA_TEACHER, SAME_LOOP):
        frozen = job["row"] == SAME_LOOP
        return connectome_of(trained_by_ema(study_of(job), windows, basis, frozen=frozen))
    if job["row"] == FEDERATED:
        return connectome_of(federated(job, [windows_of(own, job) for own in stores], basis))
    if job["row"].startswith(ALONE):
        return connectome_of(trained(job, windows_of(stores[job["site"]], job), basis))
    return connectome_of(trained(job, windows, basis))


def run(folder: str, job: Job) -> Job:
    """Learn at the training hospitals and judge at the others."""
    torch.set_num_threads(1)
    found = hospitals(folder)
    learning, tested = split_of(job, sorted(found))
    stores = [found[name] for name in learning]
    windows = windows_of(list(chain(*stores)), job)
    at = windows_of(list(chain(*(found[name] for name in tested))), job)
    began = time.perf_counter()
    connectome = connectomes_of(job, stores, drawn_of(windows, job))
    seconds = time.perf_counter() - began
    result = other_half_r2(people_of(windows), people_of(at), connectome, FRAMES)
    told = {name: job[name] for name in job if name != "device"}
    return {
        **told,
        "r2": result.r2,
        "errors": result.errors.tolist(),
        "totals": result.totals.tolist(),
        "seconds": seconds,
    }


def jobs_of(arguments: argparse.Namespace, names: Sequence[str]) -> Iterator[Job]:
    """All that is asked for, cheap rows first."""
    settings = ("patch", "lr", "steps", "batch", "directions", "budget", "device")
    base = {name: getattr(arguments, name) for name in (*settings, "local_steps", "outer")}
    base["share"] = 1.0
    for number, left_out in enumerate(sets_of(names, arguments.sets)):
        job = {**base, "set": number, "left_out": left_out, "inner": None, "seed": 0, "depth": 2}
        if arguments.choose:
            for inner, (depth, patch, lr) in product((0, 1), ((None, 16, 0.0), *GRID)):
                row = OWN if depth is None else f"depth {depth}, patch {patch}, lr {lr:g}"
                sizes = {"depth": depth or 0, "patch": patch, "lr": lr or 1e-3}
                yield {**job, **sizes, "row": row, "inner": inner}
            continue
        for row in arguments.rows:
            seeds = (0,) if row in (OWN, RIDGE) else range(arguments.seeds)
            depth = int(row.split()[1]) if row.startswith("depth") else 2
            yield from ({**job, "row": row, "depth": depth, "seed": seed} for seed in seeds)
        if arguments.federated:
            for depth, seed in product((0, 2), range(arguments.seeds)):
                both = {**job, "depth": depth, "seed": seed}
                yield from ({**both, "row": row} for row in (POOLED, FEDERATED))
                for site in range(len(names) - LEFT_OUT):
                    yield {**both, "row": f"{ALONE} {site}", "site": site}


def key_of(job: Job) -> str:
    """What makes a result the same one."""
    skipped = ("r2", "errors", "totals", "seconds", "device")
    return json.dumps({k: v for k, v in job.items() if k not in skipped}, sort_keys=True)


def arguments_of() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, action="append", help="folders of site archives")
    parser.add_argument("--out", type=Path, help="JSON, written as results come")
    parser.add_argument("--rois", type=int, default=200, help="first ROIs: CC200 of ABIDE")
    parser.add_argument("--rows", nargs="*", default=list(ROWS), choices=ROWS)
    parser.add_argument("--sets", type=int, default=1)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--choose", action="store_true", help="compare settings, nested")
    parser.add_argument("--federated", action="store_true", help="against pooled and alone")
    parser.add_argument("--budget", type=float, default=1.0, help="times the steps")
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--local-steps", type=int, default=4, help="of a site in a round")
    parser.add_argument("--outer", choices=OUTER, default="fedadam", help="the coordinator's step")
    parser.add_argument("--lr", type=float, default=5e-3)
    parser.add_argument("--patch", type=int, default=16)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--directions", type=int, default=20)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--jobs", type=int, default=2, help="processes")
    return parser.parse_args()


def main() -> None:
    """Run what is not there yet, a line a result, then the table."""
    arguments = arguments_of()
    data = arguments.data or [SHARED]
    if not all(folder.is_dir() for folder in data):
        print(f"no site archives at {', '.join(map(str, data))}: nothing is measured")
        return
    kept = arguments.out is not None and arguments.out.exists()
    results = json.loads(arguments.out.read_text()) if kept else []
    there = {key_of(result) for result in results}
    began = time.perf_counter()
    with TemporaryDirectory() as folder:
        stores_of(data, Path(folder), arguments.rois)
        stores = str(Path(folder) / "stores")
        jobs = list(jobs_of(arguments, sorted(hospitals(stores))))
        left = [job for job in jobs if key_of(job) not in there]
        print(f"{len(left)} of {len(jobs)} runs to do", flush=True)
        spawn = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(arguments.jobs, mp_context=spawn) as pool:
            waiting = [pool.submit(run, stores, job) for job in left]
            for done, future in enumerate(as_completed(waiting), 1):
                result = future.result()
                results.append(result)
                if arguments.out is not None:
                    with atomic_path(arguments.out) as temporary:
                        temporary.write_text(json.dumps(results) + "\n")
                place = f"set {result['set']}" + ("" if result["inner"] is None else " inner")
                print(
                    f"{done}/{len(left)} {place} seed {result['seed']} {result['row']}: "
                    f"R2 {result['r2']:.4f}, {result['seconds']:.0f} s "
                    f"({time.perf_counter() - began:.0f} s in all)",
                    flush=True,
                )
    asked = {key_of(job) for job in jobs}
    print(table([r for r in results if key_of(r) in asked], arguments.choose))


if __name__ == "__main__":
    main()
