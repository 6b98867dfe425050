"""What a deployed study costs: requests a message, bytes on the wire, seconds beyond the steps.

    python benchmarks/bench_deployment.py --only study         # beside the same one in one process
    python benchmarks/bench_deployment.py --only line          # through a slow line a site
    python benchmarks/bench_deployment.py --only sizes         # computed: small and base on it

Everything is real: SuperLink, proxy, and three sites with processes of their own. ``study`` has
three sites of 40 people, 48 ROIs and rounds of 200 steps; ``line`` a model of several MB and
rounds of 2 steps, in each format of the wire, against what requests and bytes come to.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any, get_args

from parts.slow_line import SlowLine

from brainjepa_client.answering.site import Site
from brainjepa_client.deploying.joining import KIT
from brainjepa_client.guarding.dry_run import requests
from brainjepa_client.settings import SiteSettings
from brainjepa_core.consortium.kit import read_kit
from brainjepa_core.machine.processors import usable_cores
from brainjepa_core.pretraining.settings import PretrainingSettings
from brainjepa_core.settings import read_settings
from brainjepa_core.signals.storing.store import ScanStore
from brainjepa_core.wire.flower_environment import use_flower_environment
from brainjepa_core.wire.messages import (
    BASIS,
    COMPONENTS,
    DESCRIBE,
    EVALUATE,
    GRADIENTS,
    TRAIN,
    Wire,
)
from brainjepa_core.wire.packing import pack_arrays
from brainjepa_core.wire.weights import travelling_bytes
from brainjepa_simulations.cohort.cohort import CohortSettings
from brainjepa_simulations.cohort.stores import write_cohort
from brainjepa_simulations.deployment import walk
from brainjepa_simulations.scenario import Scenario

PARTS = ("study", "line", "sizes")
ROUND_TRIP, RATE = 0.05, 10e6  # seconds there and back; bits a second
PIECE = 5 * 1024 * 1024  # bytes of Flower's largest object
OBJECTS = 5  # of a message beside the pieces of its array
AT_ONCE = 2  # objects that Flower asks for, or sends, at a time
POLL = 3.0  # seconds between a site's looks for a message
WIRES: tuple[Wire, ...] = get_args(Wire)


@dataclass
class Exchange:
    """The sites' messages of one kind: requests, and bytes of their bodies, either way."""

    kind: str = ""
    requests: Counter[str] = field(default_factory=Counter)
    down: int = 0
    up: int = 0

    def line(self) -> str:
        sites = self.requests["confirm-message-received"]
        there = sum(self.requests[name] for name in ("a message", "pull-object"))
        back = sum(self.requests[name] for name in ("push-messages", "push-object"))
        return (
            f"{(there + sites) / sites:4.1f} requests and {self.down / sites / 1e3:8.1f} kB down, "
            f"{back / sites:4.1f} requests and {self.up / sites / 1e3:8.1f} kB up"
        )


def exchanges(log: Path, sites: int) -> tuple[list[Exchange], Counter[str]]:
    """What the proxy passed, message by message, and what belongs to none.

    All sites are asked, and asked again only once all have answered.
    """
    found, beside = [Exchange()], Counter()
    for line in log.read_text().splitlines():
        words = line.split()
        if len(words) != 7 or words[0] != "POST":
            continue
        name, up, down = words[1].rsplit("/", 1)[1], int(words[3]), int(words[5])
        if name == "pull-messages" and down > 0:
            name = "a message"
        now = found[-1]
        if name in ("a message", "pull-object") and now.requests["push-messages"] == sites:
            found.append(now := Exchange())
        if name in ("a message", "pull-object", "confirm-message-received") or "push" in name:
            now.requests[name] += 1
            now.down, now.up = now.down + down, now.up + up
        else:
            beside[name] += 1
    kinds = [DESCRIBE, GRADIENTS, EVALUATE, *[TRAIN, EVALUATE] * len(found)]
    for exchange, kind in zip(found, kinds, strict=False):
        exchange.kind = kind
    return found, beside


def scenario(steps: int, rounds: int, wire: str, model: dict[str, Any], **cohort: Any) -> Scenario:
    """Three sites of 48 ROIs."""
    sites = ["site-01", "site-02", "site-03"]
    schedule = {"total_steps": steps * rounds, "warmup_steps": 1, "ema": 0.99}
    return Scenario.model_validate(
        {
            "cohort": {"sites": 3, "rois": 48, "networks": 6, "frames": 240, **cohort},
            "policy": {"min_subjects": 10},
            "study": {
                "name": "bench",
                "sites": sites,
                "floors": {"sites": 3, "subjects_per_site": 10, "subjects": 30},
                "rounds": {
                    "local_steps": steps, "quorum": 3, "joining_time": 600, "deadline": 1800,
                },
                "aggregation": {"wire": wire},
                "pretraining": {
                    "preset": "tiny",
                    "model": model,
                    "windows": {"frames": 80},
                    "basis": {"components": 20},
                    "training": {"batch_size": 8, "clip_norm": 1.0, "schedule": schedule},
                },
            },
        }
    )  # fmt: skip


def model_of(width: int, depth: int) -> dict[str, Any]:
    return {
        "width": width, "depth": depth, "heads": 2,
        "predictor_width": width, "predictor_depth": depth, "predictor_heads": 2,
    }  # fmt: skip


def deployed(folder: Path, chosen: Scenario, *, slow: bool) -> tuple[Path, list[SlowLine]]:
    """Run a study with real processes, each site at the end of a slow line if asked to."""
    quiet = lambda text: None  # noqa: E731
    sites = walk.set_up_consortium(folder, chosen, quiet)
    place = folder / walk.COORDINATOR
    lines = []
    with ExitStack() as stack:
        for path in sites if slow else ():
            kit = read_kit(place / "kit")
            lines.append(SlowLine(kit.port, ROUND_TRIP, RATE))
            stack.enter_context(lines[-1].open())
            at_site = read_settings(path, SiteSettings).state / KIT
            at_site.write_text(replace(kit, port=lines[-1].port).text())
        walk.run_deployed(folder, sites, quiet)
    return place, lines


def rounds_of(study: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (study / "rounds.jsonl").open()]


def report_study(args: argparse.Namespace) -> None:
    chosen = scenario(args.steps, args.rounds, args.wire, model_of(32, 2), subjects_per_site=40)
    with tempfile.TemporaryDirectory(prefix="bench-deployment-") as scratch:
        folder = Path(scratch)
        began = time.perf_counter()
        place, _ = deployed(folder / "deployed", chosen, slow=False)
        print(f"study    deployed: {time.perf_counter() - began:.0f} s in all")
        found, beside = exchanges(place / "running" / "proxy.log", 3)
        for exchange in found:
            print(f"study    {exchange.kind:>9}: {exchange.line()}")
        print(f"study    beside these: {dict(beside)}")
        began = time.perf_counter()
        final = walk.run_in_one_process(folder / "deployed", chosen)
        print(f"study    in one process: {time.perf_counter() - began:.0f} s in all")
        both = place / "studies" / "bench", final.parent
        for one, other in zip(*map(rounds_of, both), strict=True):
            beyond, alone = one["seconds_beyond_sites"], other["seconds_beyond_sites"]
            steps = max(site["seconds"] for site in one["sites"].values())
            print(
                f"study    round {one['number']}: {one['seconds']:6.1f} s, of which sites worked "
                f"{steps:6.1f} s and {beyond:5.1f} s are beyond; in one process "
                f"{other['seconds']:6.1f} s, beyond {alone:4.1f} s; "
                f"{one['bytes_up'] / 1e3:.1f} kB of arrays up"
            )
        same = len({walk.digest_of_weights(study / "final") for study in both}) == 1
        print(f"study    final weights: {'the same bits' if same else 'OTHER BITS'}")


def seconds(size: float) -> float:
    """A message of so many bytes on the line: requests one after the other, `AT_ONCE` together."""
    objects = OBJECTS + -(-size // PIECE)
    return ROUND_TRIP * (2 + objects / AT_ONCE) + 8 * size / RATE


def report_line(args: argparse.Namespace) -> None:
    for width, depth in args.models:
        for wire in args.wires:
            model = model_of(width, depth)
            chosen = scenario(2, args.rounds, wire, model, subjects_per_site=40)
            with tempfile.TemporaryDirectory(prefix="bench-deployment-") as scratch:
                place, lines = deployed(Path(scratch) / "deployed", chosen, slow=True)
                found, _ = exchanges(place / "running" / "proxy.log", 3)
                done = rounds_of(place / "studies" / "bench")
            trained = [exchange for exchange in found if exchange.kind == TRAIN]
            for exchange, record in zip(trained, done, strict=True):
                size = exchange.down / 3, exchange.up / 3
                told = sum(map(seconds, size))
                beyond = record["seconds"] - max(s["seconds"] for s in record["sites"].values())
                print(
                    f"line     {wire}, round {record['number']}: {size[0] / 1e6:.2f} MB down, "
                    f"{size[1] / 1e6:.2f} MB up; {beyond:.1f} s beyond the "
                    f"sites' work, computed {told:.1f} s and up to {POLL:.0f} s until a site looks"
                )
            passed = [sum(getattr(line, way).bytes for line in lines) for way in ("down", "up")]
            bodies = [sum(getattr(e, way) for e in found) for way in ("down", "up")]
            print(
                f"line     {wire}: {passed[0] / 1e6:.2f} MB down and {passed[1] / 1e6:.2f} MB up "
                f"with TLS, heads and looks, of which messages {bodies[0] / 1e6:.2f} and "
                f"{bodies[1] / 1e6:.2f}"
            )
            for way in ("down", "up"):
                bursts = [b for line in lines for b in getattr(line, way).bursts if b.bytes > 1e6]
                for burst in sorted(bursts, key=lambda b: b.begin):
                    print(
                        f"line     {wire}: {burst.bytes / 1e6:6.2f} MB {way} in "
                        f"{burst.seconds:5.1f} s, computed {seconds(burst.bytes):5.1f} s; the line "
                        f"was full {100 * 8 * burst.bytes / RATE / burst.seconds:.0f} % of them"
                    )


def message_sizes(site: SiteSettings, preset: str) -> dict[str, dict[Wire, tuple[int, int]]]:
    """Bytes down and up of the messages of a round, by kind and format."""
    study, store = PretrainingSettings(preset=preset), ScanStore.open(site.store)
    train, evaluate = islice(requests(store, study, "fp32"), 2, 4)  # after describe and gradients
    roles = study.model_family.model.roles
    shapes = {name: array.shape for name, array in train.arrays.items()}
    sent = roles.sent(shapes, with_followers=True)
    weights = pack_arrays(train.arrays).nbytes
    kept = {BASIS, *roles.read(shapes)}
    asked = pack_arrays({k: v for k, v in train.arrays.items() if k in kept}).nbytes
    answer = Site(site).answer(evaluate)
    if answer.refusal:
        raise ValueError(answer.refusal)
    sums = pack_arrays(answer.arrays).nbytes
    return {
        TRAIN: {
            wire: (weights, sum(travelling_bytes(shapes[name], wire) for name in sent))
            for wire in WIRES
        },
        EVALUATE: dict.fromkeys(WIRES, (asked + evaluate.arrays[COMPONENTS].nbytes, sums)),
    }


def report_sizes(args: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory(prefix="bench-deployment-") as scratch:
        cohort = CohortSettings(sites=1, subjects_per_site=20, rois=450, frames=200)
        (store,) = write_cohort(cohort, Path(scratch) / "stores")
        policy = {"min_subjects": 1, "min_people_in_sum": 1}
        for preset in args.presets:
            state = Path(scratch) / "state" / preset
            site = SiteSettings(name="one", store=store, state=state, policy=policy)
            sizes = message_sizes(site, preset)
            for wire in args.wires:
                whole = 0.0
                for kind, by_wire in sizes.items():
                    down, up = by_wire[wire]
                    whole += seconds(down) + seconds(up)
                    print(
                        f"sizes    {preset}, {wire}, {kind:>8}: {down / 1e6:6.1f} MB down in "
                        f"{seconds(down):5.0f} s, {up / 1e6:6.1f} MB up in {seconds(up):5.0f} s"
                    )
                print(f"sizes    {preset}, {wire}: {whole:.0f} s a round and its evaluation")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--steps", type=int, default=200, help="local ones, of part study")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--wire", choices=WIRES, default="fp32", help="of part study")
    parser.add_argument("--wires", nargs="+", choices=WIRES, default=WIRES, help="of part line")
    parser.add_argument("--presets", nargs="+", default=["small", "base"], help="of part sizes")
    parser.add_argument(
        "--models", nargs="+", type=lambda text: tuple(map(int, text.split("x"))),
        default=[(32, 2), (128, 4)], help="of part line: width x depth",
    )  # fmt: skip
    args = parser.parse_args()
    use_flower_environment()
    print(f"{usable_cores()} cores, load {os.getloadavg()[0]:.1f}")
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    report = {"study": report_study, "line": report_line, "sizes": report_sizes}
    for part in args.only:
        report[part](args)


if __name__ == "__main__":
    main()
