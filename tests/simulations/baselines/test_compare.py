"""Baselines: the same start, steps and judge, on other people's data."""

from __future__ import annotations

import numpy as np
import pytest
from small_consortium import (
    bits,
    in_this_process_alone,
    local_training,
    prepare,
    run,
    same,
    scenario,
    weights,
)

from brainjepa_core.machine.workers import in_order
from brainjepa_core.models.checkpoint import model_arrays, read_model
from brainjepa_core.signals.storing.store import ScanStore
from brainjepa_server.record.history import FEDERATED, POOLED, RANDOM, alone, read_history
from brainjepa_simulations.baselines import compare as compare_module
from brainjepa_simulations.baselines.compare import BASELINES, compare
from brainjepa_simulations.commands.simulate import comparison
from brainjepa_simulations.engines.virtual_sites import STORES


@pytest.fixture(autouse=True)
def in_this_process(monkeypatch):
    monkeypatch.setattr(compare_module, "in_order", in_this_process_alone)


@pytest.mark.slow
def test_in_processes_of_their_own(tmp_path, monkeypatch):
    monkeypatch.setattr(compare_module, "in_order", in_order)
    chosen = scenario(1, 6)
    run(chosen, tmp_path)
    assert list(compare(chosen, tmp_path, stores_of(tmp_path), 2)) == [POOLED, alone("site-01")]
    assert same(baseline(tmp_path, "pooled"), weights(tmp_path))


def stores_of(folder) -> list[ScanStore]:
    return [ScanStore.open(path) for path in sorted((folder / STORES).iterdir())]


def baseline(folder, name: str) -> dict[str, np.ndarray]:
    model, _ = read_model(folder / BASELINES / name)
    return {key: value.numpy() for key, value in model_arrays(model).items()}


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def test_of_one_site_all_three_are_one_model(tmp_path, device):
    chosen = scenario(1, 6, device=device)
    run(chosen, tmp_path)
    assert list(compare(chosen, tmp_path, stores_of(tmp_path), 1)) == [POOLED, alone("site-01")]
    for name in ("pooled", "site-01-alone"):
        assert same(baseline(tmp_path, name), weights(tmp_path))
    rows = read_history(tmp_path).baselines
    found = {m: [(r.pool, r.outcome, r.r2) for r in rows if r.model == m] for m in
             (FEDERATED, POOLED, alone("site-01"), RANDOM)}  # fmt: skip
    assert found[FEDERATED] == found[POOLED] == found[alone("site-01")] != []
    assert found[RANDOM] != found[POOLED]


def test_the_coordinators_step_is_taken_too(tmp_path):
    """Sites that take plain steps leave the optimiser to the coordinator: baselines need it."""
    outer = {"kind": "fedadam", "lr": 1e-3}
    chosen = scenario(1, 2, aggregation={"outer": outer})
    run(chosen, tmp_path)
    list(compare(chosen, tmp_path, stores_of(tmp_path), 1))
    assert same(baseline(tmp_path, "pooled"), weights(tmp_path))


@pytest.mark.slow
def test_of_more_sites_each_has_its_own_and_the_pool_all(tmp_path):
    chosen = scenario(2, 6)
    run(chosen, tmp_path)
    names = list(compare(chosen, tmp_path, stores_of(tmp_path), 1))
    assert names == [POOLED, alone("site-01"), alone("site-02")]
    # As many people a step as both sites take, in micro-batches of one site's.
    at_once = scenario(2, 6, training={"batch_size": 8, "accumulation": 2})
    assert same(baseline(tmp_path, "pooled"), bits(local_training(at_once, tmp_path)))
    single = scenario(1, 6)
    prepare(single, tmp_path / "single")
    (tmp_path / "single" / "basis.npz").write_bytes((tmp_path / "basis.npz").read_bytes())
    expected = bits(local_training(single, tmp_path / "single"))
    assert same(baseline(tmp_path, "site-01-alone"), expected)
    history = read_history(tmp_path)
    groups = {(r.pool, r.outcome) for r in history.baselines}
    assert len(history.baselines) == 5 * len(groups)
    table = comparison(history)
    assert [str(column.header).replace("\n", " ") for column in table.columns] == [
        "trained", "age within site", "connectivity", "latents", "the other half",
    ]  # fmt: skip
    assert list(table.columns[0].cells) == [
        "on all data in one place", "by the federation", "by each site alone (mean)",
        "untrained (random weights)",
    ]  # fmt: skip
    # A second time nothing is trained, and no row is there twice.
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / BASELINES).rglob("*")}
    assert list(compare(chosen, tmp_path, stores_of(tmp_path), 1)) == names
    assert {p: p.stat().st_mtime_ns for p in (tmp_path / BASELINES).rglob("*")} == before
    again = read_history(tmp_path).baselines
    assert sorted(map(str, again)) == sorted(map(str, history.baselines))


def test_without_baselines_the_table_has_what_there_is(tmp_path):
    table = comparison(read_history(run(scenario(1, 6), tmp_path)))
    assert list(table.columns[0].cells) == ["by the federation", "untrained (random weights)"]
    assert table.row_count == 2
