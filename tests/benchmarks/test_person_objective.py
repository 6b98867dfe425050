"""The benchmark's own promises: what is left out stays out, and one site together is one site."""

from __future__ import annotations

import importlib
import importlib.util
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

from brainjepa_core.pretraining.site_sums.basis import consensus_basis
from brainjepa_core.signals.storing.store import ScanStore
from brainjepa_simulations.cohort.cohort import CohortSettings
from brainjepa_simulations.cohort.stores import write_cohort

NAMES = [f"hospital{i:02d}" for i in range(12)]


@pytest.fixture(scope="module")
def bench() -> ModuleType:
    path = Path(__file__).parents[2] / "benchmarks" / "learning" / "person_objective.py"
    spec = importlib.util.spec_from_file_location("bench_person", path)
    module = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(path.parent)  # as where a script is run
        spec.loader.exec_module(module)
    return module


def job(bench, **choices) -> dict:
    left_out = bench.sets_of(NAMES, 1)[0]
    return {
        "row": "depth 0", "set": 0, "left_out": left_out, "inner": None, "seed": 0, "depth": 0,
        "patch": 16, "lr": 1e-2, "steps": 6, "batch": 4, "directions": 5, "budget": 1.0,
        "local_steps": 2, "outer": "fedavg", "device": "cpu", "share": 1.0, **choices,
    }  # fmt: skip


def test_left_out_hospitals_are_never_learned_from(bench):
    for number, left_out in enumerate(bench.sets_of(NAMES, 3)):
        for inner in (None, 0, 1):
            one = job(bench, left_out=left_out, set=number, inner=inner)
            learning, tested = bench.split_of(one, NAMES)
            assert not set(learning) & set(tested) and len(tested) == 4
            if inner is None:
                assert tested == left_out and len(learning) == 8
            else:  # settings are chosen without the left-out ones
                assert not set(left_out) & {*learning, *tested} and len(learning) == 4


def test_a_result_is_told_by_all_that_it_is_a_function_of(bench):
    one = job(bench)
    done = {**one, "r2": 0.2, "errors": [1.0], "totals": [2.0], "seconds": 3.0}
    done.pop("device")
    assert bench.key_of(done) == bench.key_of(one)
    assert bench.key_of({**one, "lr": 2e-2}) != bench.key_of(one)


def test_intervals_are_paired_over_people(bench):
    rng = np.random.default_rng(0)
    totals = rng.uniform(5, 15, 80)
    base = [{"set": 0, "errors": 0.8 * totals + rng.normal(0, 0.1, 80), "totals": totals}]
    better = [{"set": 0, "errors": base[0]["errors"] - 0.05 * totals, "totals": totals}]
    table = importlib.import_module(bench.table.__module__)
    r2, ratio, least, gain, low, high = table.interval(better, base)
    assert gain == pytest.approx(0.05) and low == pytest.approx(0.05) == high
    assert ratio == pytest.approx(r2 / (r2 - 0.05)) and least > 1


def hospitals(sites: int, folder: Path) -> list[ScanStore]:
    cohort = CohortSettings(
        sites=sites, subjects_per_site=6, rois=40, networks=4, latents=3, frames=160
    )
    return [ScanStore.open(path) for path in write_cohort(cohort, folder)]


def test_one_site_in_rounds_is_that_site_alone(bench, tmp_path):
    one, stores = job(bench), hospitals(1, tmp_path)
    windows = bench.windows_of(stores, one)
    basis = consensus_basis(windows)
    alone = bench.trained(one, windows, basis).state_dict()
    rounds = bench.federated(one, [windows], basis).state_dict()
    assert all(torch.equal(alone[name], rounds[name]) for name in alone)


def test_every_site_begins_a_round_from_the_global_weights(bench, tmp_path):
    """None of them where the site before it ended: one round is the mean of sites by themselves."""
    one, stores = job(bench, depth=2, steps=2), hospitals(2, tmp_path)
    sites = [bench.windows_of([store], one) for store in stores]
    basis = consensus_basis(bench.windows_of(stores, one))
    shares = np.array([site.subjects for site in sites]) / sum(site.subjects for site in sites)
    alone = [bench.trained({**one, "batch": 2}, site, basis).state_dict() for site in sites]
    found = bench.federated(one, sites, basis).state_dict()
    for name, value in found.items():
        mean = sum(share * own[name].double() for share, own in zip(shares, alone, strict=True))
        torch.testing.assert_close(value, mean.float(), rtol=0, atol=1e-7)
