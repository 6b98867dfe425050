"""What federating costs: the coordinator's memory, time beyond the sites' own, bytes, many sites.

    python benchmarks/bench_federation.py                     # all of it at ViT-S: minutes
    python benchmarks/bench_federation.py --only memory bytes # without training
    python benchmarks/bench_federation.py --preset tiny --rois 50 --only memory round

Parts: ``memory``, peak of a coordinator's process in a training round, by number of sites, each
in a process of its own; ``bytes``, what a site sends up, by wire; ``round``, a round of sites
that train in this process, and what of it is not optimiser steps, and not the sites' own work by
the clock that their replies tell; ``many``, the shipped scenario many_sites from start to report,
with 200 and with 500 sites.
"""

from __future__ import annotations

import argparse
import cProfile
import json
import os
import pstats
import subprocess
import sys
import tempfile
import time
from contextlib import AbstractContextManager
from pathlib import Path
from typing import get_args
from unittest import mock

import numpy as np
import torch
import yaml
from bench_step import high_water
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid
from parts.many_sites import many_run, print_growth, print_many

from brainjepa_client.answering.app import app as client_app
from brainjepa_client.computing import training as site_training
from brainjepa_core.arrays import Arrays
from brainjepa_core.machine.processors import usable_cores, use_threads
from brainjepa_core.models.brain_jepa.model import BrainJEPA
from brainjepa_core.models.checkpoint import model_arrays
from brainjepa_core.pretraining.step import Training
from brainjepa_core.wire.messages import BASIS, Wire
from brainjepa_core.wire.packing import PACKED, buffer_in, pack_arrays, unpack_arrays
from brainjepa_core.wire.weights import encode_weights
from brainjepa_server.combining.outer import OuterOptimizer
from brainjepa_server.record.history import RoundRecord
from brainjepa_server.rounds.round import Weights, train_round
from brainjepa_server.rounds.sites import Sites
from brainjepa_server.settings import StudySettings
from brainjepa_simulations.cohort.cohort import CohortSettings
from brainjepa_simulations.cohort.stores import write_cohort
from brainjepa_simulations.engines.inprocess import InProcessGrid

Seconds = np.ndarray  # wall and CPU; the second says more on a machine that others use too
WIRES: tuple[Wire, ...] = get_args(Wire)
PARTS = ("memory", "bytes", "round", "many")
LONG_ROUND = 50  # local steps of a usual round


def moved_weights_app(settings: StudySettings) -> ClientApp:
    """Sites that answer at once with the global weights, slightly moved."""
    app, rng = ClientApp(), np.random.default_rng(0)
    target, wire = settings.aggregation.target, settings.aggregation.wire

    @app.train()
    def moved(message: Message, context: Context) -> Message:
        sent = unpack_arrays(buffer_in(message.content.array_records["arrays"][PACKED].data))
        arrays: Arrays = {}
        for name in BrainJEPA.roles.sent(sent, target == "average"):
            noise = rng.standard_normal(sent[name].shape, dtype=np.float32)
            weights = {name: sent[name] + np.float32(1e-4) * noise}
            arrays |= encode_weights(weights, {name: sent[name]}, wire)
        steps = settings.rounds.local_steps
        told = {"share": 1.0, "loss": 1.0, "steps": steps, "seconds": 0.0, "refusal": ""}
        packed = ArrayRecord({PACKED: Array(pack_arrays(arrays))})
        content = RecordDict({"reply": ConfigRecord(told), "arrays": packed})
        return Message(content, reply_to=message)

    return app


def study(args: argparse.Namespace, wire: str = "fp32") -> StudySettings:
    """A study of rounds of `args.steps` steps with batch `args.batch`."""
    return StudySettings.model_validate(
        {
            "name": "bench",
            "floors": {"sites": 1, "subjects_per_site": 1, "subjects": 1},
            "rounds": {"local_steps": args.steps, "quorum": 1},
            "aggregation": {"wire": wire},
            "pretraining": {
                "preset": args.preset,
                "windows": {"frames": args.frames},
                "training": {
                    "batch_size": args.batch,
                    "schedule": {"total_steps": args.steps * 4, "warmup_steps": 1},
                },
            },
        }
    )


def first_weights(settings: StudySettings, rois: int) -> tuple[Weights, np.ndarray]:
    """Weights of a new model, and a basis."""
    model_settings = settings.pretraining.model_settings(rois)
    torch.manual_seed(0)
    basis = torch.randn(rois, model_settings.components)
    model = BrainJEPA(model_settings, basis)
    weights = {name: value.numpy() for name, value in model_arrays(model).items()}
    weights.pop(BASIS, None)
    return weights, basis.numpy()


def one_round(
    grid: Grid, nodes: int, settings: StudySettings, weights: Weights, basis: np.ndarray, number=0
) -> tuple[Weights, RoundRecord]:
    names = {f"site-{node:03d}": node for node in range(1, nodes + 1)}
    outer = OuterOptimizer(settings.aggregation.outer, BrainJEPA.roles)
    return train_round(
        Sites(grid, names), settings, number, weights, basis, outer, lambda site, reason: None
    )


def fake_round(args: argparse.Namespace, sites: int, wire: str) -> dict[str, float]:
    """Facts of a round of sites that do not train, in this process."""
    settings = study(args, wire)
    weights, basis = first_weights(settings, args.rois)
    before, began = high_water(), time.perf_counter()
    grid = InProcessGrid(moved_weights_app(settings), sites, {})
    _, record = one_round(grid, sites, settings, weights, basis)
    assert len(record.sites) == sites, record.rejected
    return {
        "before": before,
        "peak": high_water(),
        "up": record.bytes_up / sites,
        "seconds": (time.perf_counter() - began) / sites,
        "weights": sum(value.size for value in weights.values()),
    }


def in_child(sites: int, wire: str) -> dict[str, float]:
    """`fake_round` in a process of its own, with this process's arguments."""
    command = [sys.executable, __file__, *sys.argv[1:], "--fake-round", str(sites), wire]
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def report_memory(args: argparse.Namespace) -> None:
    found = {sites: in_child(sites, "fp32") for sites in args.memory_sites}
    for sites, facts in found.items():
        print(
            f"memory   {sites:>3} sites   peak {facts['peak']:6.3f} GB, before the round "
            f"{facts['before']:6.3f} GB; {facts['weights'] / 1e6:.1f} M weights; "
            f"{facts['seconds']:.2f} s a reply, its making included"
        )
    peaks = [facts["peak"] for facts in found.values()]
    print(f"memory   growth {100 * (peaks[-1] / peaks[0] - 1):+.1f} % (bar: below 10 %)")


def report_bytes(args: argparse.Namespace) -> None:
    up = {wire: in_child(2, wire)["up"] for wire in WIRES}
    told = (
        f"{wire} {size / 1e6:.1f} MB, {size / up['fp32']:.3f} of it" for wire, size in up.items()
    )
    print(f"bytes    up a site and round: {'; '.join(told)}")


def report_round(args: argparse.Namespace) -> None:
    """Rounds of real sites, one after the other in this process."""
    torch.set_num_threads(args.threads)
    settings = study(args)
    weights, basis = first_weights(settings, args.rois)
    with tempfile.TemporaryDirectory(prefix="bench-federation-") as scratch:
        grid = InProcessGrid(client_app, args.sites, virtual_sites(args, Path(scratch)))
        for number in range(args.rounds):
            steps: list[Seconds] = []  # of one step each
            sites: list[Seconds] = []  # of a site each, by the clock that its reply tells
            began = now()
            profile = cProfile.Profile() if args.profile else None
            with timed(Training, "advance", steps), timed(site_training, "_train", sites):
                if profile:
                    profile.enable()
                weights, record = one_round(grid, args.sites, settings, weights, basis, number)
                if profile:
                    profile.disable()
            assert len(record.sites) == args.sites, record.rejected
            print_round(args, number, steps, sites, now() - began)
            if profile:
                pstats.Stats(profile).sort_stats("tottime").print_stats(25)


def timed(owner: object, name: str, found: list[Seconds]) -> AbstractContextManager[object]:
    """Within it, each call of a function adds what it took."""
    function = getattr(owner, name)

    def call(*given: object) -> object:
        start = now()
        made = function(*given)
        found.append(now() - start)
        return made

    return mock.patch.object(owner, name, call)


def now() -> Seconds:
    return np.array([time.perf_counter(), time.process_time()])


def virtual_sites(args: argparse.Namespace, folder: Path) -> dict[str, str]:
    cohort = CohortSettings(
        sites=args.sites, subjects_per_site=args.subjects, rois=args.rois, frames=args.frames + 40
    )
    for store in write_cohort(cohort, folder / "stores"):
        settings = {
            "name": store.name,
            "store": str(store),
            "state": str(folder / "state" / store.name),
            "threads": args.threads,
            "policy": {"min_subjects": 1, "min_people_in_sum": 1},
        }
        path = folder / "sites" / f"{store.name}.yaml"
        path.parent.mkdir(exist_ok=True)
        path.write_text(yaml.safe_dump(settings))
    return {"virtual-sites": str(folder / "sites")}


def print_round(
    args: argparse.Namespace,
    number: int,
    steps: list[Seconds],
    sites: list[Seconds],
    whole: Seconds,
) -> None:
    print(f"round    {number}: {args.sites} sites x {args.steps} steps of batch {args.batch}")
    for column, clock in enumerate(("wall", "CPU")):
        step = sum(float(seconds[column]) for seconds in steps) / len(steps)
        own = sum(float(seconds[column]) for seconds in sites)
        more = (LONG_ROUND - args.steps) * args.sites * step  # of a usual round
        parts = (
            ("the steps", float(whole[column]) - step * len(steps), 5),
            ("the sites' own clocks", float(whole[column]) - own, 2),
        )
        told = "; ".join(
            f"beyond {what} {beyond:.2f} s, {100 * beyond / whole[column]:.1f} %, in a round of "
            f"{LONG_ROUND} steps {100 * beyond / (whole[column] + more):.2f} % (bar: {bar} %)"
            for what, beyond, bar in parts
        )
        print(f"round    {clock:>4}: {whole[column]:.2f} s, a step {step:.2f} s; {told}")


def report_many(args: argparse.Namespace) -> None:
    for engine in args.engines:
        found = []
        for sites in args.many_sites:
            with tempfile.TemporaryDirectory(prefix="bench-federation-") as scratch:
                found.append(many_run(engine, sites, Path(scratch)))
            print_many(engine, found[-1])
        print_growth(engine, found[0], found[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--preset", default="small")
    parser.add_argument("--rois", type=int, default=450)
    parser.add_argument("--frames", type=int, default=160)
    parser.add_argument("--memory-sites", type=int, nargs="+", default=[4, 32])
    parser.add_argument("--sites", type=int, default=4, help="that train, in part round")
    parser.add_argument("--subjects", type=int, default=6, help="of each of these")
    parser.add_argument("--steps", type=int, default=2, help="local ones")
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--threads", type=int, help="of torch; all cores by default")
    parser.add_argument("--many-sites", type=int, nargs="+", default=[200, 500])
    parser.add_argument("--engines", nargs="+", default=["inprocess", "flower"])
    parser.add_argument("--profile", action="store_true", help="of part round")
    parser.add_argument("--fake-round", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    args.threads = use_threads(args.threads)
    if args.fake_round:
        print(json.dumps(fake_round(args, int(args.fake_round[0]), args.fake_round[1])))
        return
    print(
        f"{args.preset}: {args.rois} ROIs x {args.frames} frames; torch {torch.__version__}, "
        f"{args.threads} threads, {usable_cores()} cores, load {os.getloadavg()[0]:.1f}"
    )
    report = {
        "memory": report_memory,
        "bytes": report_bytes,
        "round": report_round,
        "many": report_many,
    }
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    for part in args.only:
        report[part](args)


if __name__ == "__main__":
    main()
