"""A round that failed is tried again, and a study stops where it was asked to; no bit differs."""

from __future__ import annotations

import pytest
from rich.console import Console
from small_consortium import prepare, run, same, scenario, weights

from brainjepa_core.chained_log import ChainedLog
from brainjepa_server import study as study_module
from brainjepa_server.progress import StudyProgress
from brainjepa_server.rounds.retrying import QuorumMissed
from brainjepa_server.study import Study
from brainjepa_simulations.engines.client_app import app
from brainjepa_simulations.engines.engine import run_study
from brainjepa_simulations.engines.inprocess import InProcessGrid
from brainjepa_simulations.engines.virtual_sites import make_sites


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    return run(scenario(), tmp_path_factory.mktemp("runs") / "straight")


def miss(monkeypatch, times: int) -> list[int]:
    """Let the second round miss its quorum so often; returns the rounds that were tried."""
    real, tried = study_module.train_round, []

    def missing(sites, settings, number, *more):
        tried.append(number)
        weights, record = real(sites, settings, number, *more)
        if tried.count(1) <= times and number == 1:
            raise QuorumMissed("expected at least 1 usable reply, found 0")
        return weights, record

    monkeypatch.setattr(study_module, "train_round", missing)
    return tried


def test_a_round_that_failed_twice_ends_with_the_same_bits(tmp_path, straight, monkeypatch, capsys):
    tried = miss(monkeypatch, 2)
    run(scenario(), tmp_path)
    assert tried == [0, 1, 1, 1, 2] and same(weights(tmp_path), weights(straight))
    shown = capsys.readouterr().out
    assert "trying again (1 more after it): expected at least 1 usable reply, found 0" in shown
    assert "trying again (0 more after it)" in shown


@pytest.mark.parametrize(("retries", "attempts"), [(0, 1), (2, 3)])
def test_a_round_that_fails_for_good_ends_the_study(tmp_path, monkeypatch, retries, attempts):
    tried = miss(monkeypatch, 9)
    with pytest.raises(QuorumMissed, match="found 0"):
        run(scenario(rounds={"retries": retries}), tmp_path)
    assert tried == [0] + [1] * attempts


def test_a_study_stops_between_two_rounds_and_goes_on(tmp_path, straight):
    chosen = scenario()
    prepare(chosen, tmp_path)
    sites = len(make_sites(chosen, tmp_path))
    stops = iter([False, True])
    config = {"virtual-sites": str(tmp_path / "sites")}
    (tmp_path / "faults.yaml").write_text("{}")
    grid = InProcessGrid(app, sites, config)
    study = Study(
        grid, chosen.study, tmp_path, StudyProgress(Console(quiet=True), 3), sites,
        stop=lambda: next(stops),
    )  # fmt: skip
    assert study.run() is False
    assert [p.name for p in sorted((tmp_path / "rounds").iterdir())] == ["round-000001"]
    assert not (tmp_path / "final").exists()
    run_study("inprocess", chosen, tmp_path, sites)
    assert same(weights(tmp_path), weights(straight))


def test_what_came_is_written_down(straight):
    lines = list(ChainedLog(straight / "received.jsonl").lines())
    assert {line["site"] for line in lines} >= {"site-01", "site-02"}
    kinds = [line["kind"] for line in lines]
    assert kinds.count("train") == 6 and kinds.count("gradients") == 2
