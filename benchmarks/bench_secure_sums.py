"""What a secure sum costs a site and the coordinator, beside what AES must cost.

Processor seconds of one core, so that others on the machine matter little. The floor is the bytes
of all masks at the speed at which this machine draws and adds one. Memory is the peak of a process
of its own beyond what it had before: of a site the vector beside its update; of the coordinator
the sum and one message, and in a whole round of a study all beyond the weights that it began with,
from the first message to the mean weights.

    python benchmarks/bench_secure_sums.py                      # 22 M and 86 M numbers: minutes
    python benchmarks/bench_secure_sums.py --numbers 1000000    # seconds
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import resource
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from cryptography.hazmat.primitives.asymmetric import ec

from brainjepa_core.arrays import Arrays
from brainjepa_core.consortium import fingerprints
from brainjepa_core.models.roles import Roles
from brainjepa_core.secure_sums.encoding.updates import SHARE, UpdateCode
from brainjepa_core.secure_sums.in_memory import answer
from brainjepa_core.secure_sums.masks import Mask, add_masks
from brainjepa_core.secure_sums.memory import SumMemory
from brainjepa_core.secure_sums.messages import MASKED
from brainjepa_core.secure_sums.server import SumServer
from brainjepa_core.secure_sums.site import SumSite
from brainjepa_core.secure_sums.terms import SumTerms
from brainjepa_core.wire.contract import Contract
from brainjepa_core.wire.messages import Reply
from brainjepa_core.wire.packing import pack_arrays
from brainjepa_core.wire.sum_terms import terms_at
from brainjepa_core.wire.summed_updates import LOSS
from brainjepa_server.combining.validation import Counts
from brainjepa_server.consortium.proposing import questions
from brainjepa_server.rounds.sites import Answer
from brainjepa_server.rounds.summed import summed_training
from brainjepa_server.settings import StudySettings

TENSORS = 87  # of a ViT-S with its predictor: a vector comes in about as many arrays
Report = dict[str, float]


@contextmanager
def timed(report: Report, name: str) -> Iterator[None]:
    start = time.process_time()
    yield
    report[name] += time.process_time() - start


def peak_bytes() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def sizes(numbers: int) -> dict[str, int]:
    each, first = numbers // TENSORS, numbers - numbers // TENSORS * (TENSORS - 1)
    return {f"block.{k:02d}": each if k else first for k in range(TENSORS)}


def update_of(numbers: int) -> Arrays:
    rng = np.random.default_rng(0)
    return {
        name: rng.standard_normal(size, np.float32) * np.float32(1e-3)
        for name, size in sizes(numbers).items()
    }


def zeros(numbers: int) -> Arrays:
    """A vector that only masks are in: for the coordinator it costs as much as any."""
    made: Arrays = {name: np.zeros(size, np.uint32) for name, size in sizes(numbers).items()}
    return {**made, SHARE: np.ones(1, np.uint32)}


def keys_of(sites: int) -> dict[str, ec.EllipticCurvePrivateKey]:
    return {f"site-{n:03d}": ec.generate_private_key(ec.SECP384R1()) for n in range(sites)}


def whole_sum(numbers: int, sites: int, gone: int) -> Report:
    """A sum of `sites`, of which `gone` drop out before their vectors come; the last is timed."""
    report: Report = defaultdict(float)
    keys = keys_of(sites)
    roster = {name: fingerprints.of_key(key.public_key()) for name, key in keys.items()}
    terms = SumTerms("bench", "a" * 64, "train", 0, "b" * 64, roster)
    code, timed_one = UpdateCode(norm=1e3, reach=0.1, sites=sites), list(keys)[-1]
    layout = {name: (np.uint32, (size,)) for name, size in {**sizes(numbers), SHARE: 1}.items()}
    with tempfile.TemporaryDirectory() as folder:
        before = peak_bytes()
        server = SumServer(terms, layout)
        while server.step is not None:
            for name in server.asked[gone:] if server.step == MASKED else server.asked:
                site = SumSite(name, keys[name], terms, SumMemory(Path(folder) / name))
                request, masked = server.request(name), server.step == MASKED
                vector = zeros(numbers) if masked else {}
                of_site = report if name == timed_one else defaultdict(float)
                with timed(of_site, "site_mask" if masked else "site_small_steps"):
                    reply = answer(site, server.step, request, vector)
                if name == timed_one and not masked:
                    report["bytes_small_steps"] += pack_arrays(reply).nbytes
                with timed(report, "server_receive"):
                    server.receive(name, reply)
                del reply, vector
            server.end_step()
        with timed(report, "server_unmask"):
            total = server.total()
    assert code.shares(total, len(server.alive)) == sites - gone
    assert not any(array.any() for name, array in total.items() if name != SHARE)
    report["server_bytes_a_number"] = (peak_bytes() - before) / numbers
    return dict(report)


class Masked:
    """Sites of a study, as the coordinator's round sees them, that add nothing but their masks."""

    def __init__(self, folder: Path, study: StudySettings, numbers: int, sites: int) -> None:
        self._keys = {
            f"site-{n:03d}": ec.generate_private_key(ec.SECP384R1()) for n in range(sites)
        }
        roster = {name: fingerprints.of_key(key.public_key()) for name, key in self._keys.items()}
        self.contract = Contract(consortium="bench", roster=roster, **questions(study))
        self.folder, self._numbers = folder, numbers
        self.nodes = dict.fromkeys(roster, 0)
        self.counts = dict.fromkeys(roster, Counts(20, 20))

    def ask(self, kind, assignment, arrays, names, deadline, arrived, retries, steps):  # type: ignore[no-untyped-def]
        for name in names:
            part = steps[name]
            terms = terms_at(name, self.contract, kind, assignment.round, part)
            site = SumSite(name, self._keys[name], terms, SumMemory(self.folder / name))
            vector: Arrays = {}
            if part.step == MASKED:
                vector = {**zeros(self._numbers), LOSS: np.zeros(1, np.uint32)}
            told = answer(site, part.step, part.message, vector)
            yield Answer(name, Reply(arrays=told), 0, 0)
            del vector, told


def whole_round(numbers: int, sites: int, gone: int) -> Report:
    """The coordinator's memory in a round of a study, beyond the weights that the round began with.

    From it, mean weights of 8 bytes a number leave, as of any round. A round of next to nothing
    goes before, since what is imported for the first one is there anyway.
    """
    _one_round(1000, sites)
    before = peak_bytes()
    weights = _one_round(numbers, sites)
    return {"round_bytes_a_number": (peak_bytes() - before - weights) / numbers}


def _one_round(numbers: int, sites: int) -> int:
    """Bytes of the weights that a round began with."""
    study = StudySettings.model_validate(
        {"name": "bench", "pretraining": {}, "protect": "secure_sum", "rounds": {"quorum": 3}}
    )
    base = update_of(numbers)
    with tempfile.TemporaryDirectory() as folder:
        asked = Masked(Path(folder), study, numbers, sites)
        roles = Roles(("block.",), {})
        summed_training(asked, study, study.assignment(0), base, roles, lambda *_: None)
    return sum(array.nbytes for array in base.values())


def one_site(numbers: int, sites: int, gone: int) -> Report:
    """Encoding, and the memory of encoding and masking beyond the update, which is there anyway."""
    report: Report = defaultdict(float)
    update, code = update_of(numbers), UpdateCode(norm=1e3, reach=0.1, sites=sites)
    before = peak_bytes()
    with timed(report, "site_encode"):
        vector = code.encode(update, 1, bytes(32))
    masks = [Mask(bytes([n]) * 32, n % 2 == 0) for n in range(sites)]
    add_masks(vector, masks)
    report["site_bytes_a_number"] = (peak_bytes() - before) / numbers
    add_masks(vector, [Mask(mask.key, not mask.added) for mask in masks])
    errors = (np.abs(code.mean(vector[name], 1) - update[name]).max() for name in update)
    report["error_in_steps"] = float(max(errors)) / code.points.step
    report["bytes_vector"] = pack_arrays(vector).nbytes
    return dict(report)


def masks_alone(numbers: int, sites: int, gone: int) -> Report:
    """What `sites` masks cost a site."""
    report: Report = defaultdict(float)
    vector = {"a": np.zeros(numbers, np.uint32)}
    with timed(report, f"masks_of_{sites}_sites"):
        add_masks(vector, [Mask(bytes([n]) * 32, n % 2 == 0) for n in range(sites)])
    return dict(report)


def one_mask(numbers: int, sites: int, gone: int) -> Report:
    """The least seconds of drawing one mask and adding it, of a few times."""
    return {"floor": min(masks_alone(numbers, 1, 0)["masks_of_1_sites"] for _ in range(5))}


def in_a_process(work: Callable[[int, int, int], Report], *arguments: int) -> Report:
    """Of its own; its peak would begin at this one's, so nothing large is ever held here."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(work, arguments)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--numbers", type=int, nargs="+", default=[22_000_000, 86_000_000])
    parser.add_argument("--sites", type=int, default=12)
    parser.add_argument("--gone", type=int, default=2)
    parser.add_argument("--many", type=int, default=100, help="sites whose masks alone are timed")
    arguments = parser.parse_args()
    floor = in_a_process(one_mask, 1 << 24, 1, 0)["floor"] / (4 << 24)
    print(f"one mask: {1e-9 / floor:.2f} GB/s")
    for numbers in arguments.numbers:
        among = (numbers, arguments.sites, arguments.gone)
        report = in_a_process(whole_sum, *among) | in_a_process(one_site, *among)
        report |= in_a_process(whole_round, *among)
        parts = ("site_encode", "site_mask", "site_small_steps")
        report["site"] = sum(report[part] for part in parts)
        report["bytes_up_over_fp32"] = (report["bytes_vector"] + report["bytes_small_steps"]) / (
            4 * numbers
        )
        report["site_mask_floor"] = floor * 4 * numbers * arguments.sites
        print(f"{numbers / 1e6:g} M numbers, {arguments.sites} sites, {arguments.gone} gone")
        print(json.dumps({name: round(value, 4) for name, value in report.items()}, indent=1))
    many = in_a_process(masks_alone, arguments.numbers[0], arguments.many, 0)
    print(f"{arguments.numbers[0] / 1e6:g} M numbers", json.dumps(many))


if __name__ == "__main__":
    main()
