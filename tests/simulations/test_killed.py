"""A study whose machine dies goes on where it was: same weights, same run in MLflow."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from killed_runs import (
    finish,
    logged_rounds,
    run,
    run_id,
    run_until,
    start,
    weights,
    write_scenario,
)

ROUNDS = 4
Condition = Callable[[], object]


def exists(out: Path, name: str) -> Condition:
    return lambda: (out / name).exists()


def some(out: Path, pattern: str) -> Condition:
    return lambda: any(out.glob(pattern))


@pytest.fixture(scope="module")
def scenario(tmp_path_factory) -> Path:
    return write_scenario(tmp_path_factory.mktemp("scenario"), rounds=ROUNDS)


@pytest.fixture(scope="module")
def whole(scenario, tmp_path_factory) -> Callable[[], Path]:
    """Waits for a run that nothing befell, which goes on beside the ones that are killed."""
    out = tmp_path_factory.mktemp("whole") / "run"
    process = start(scenario, out)

    def folder() -> Path:
        finish(process, out)
        assert logged_rounds(out) == list(range(1, ROUNDS + 1))
        return out

    return folder


@pytest.mark.slow
def test_a_study_killed_twice_ends_with_the_same_weights_in_the_same_run(scenario, whole, tmp_path):
    out = tmp_path / "run"
    # In the middle of round 2: one site has answered, and two have not.
    run_until(exists(out, "site-state/site-01/tiny/round-000002/round.json"), scenario, out)
    before = run_id(out)
    assert not (out / "final").exists()
    # As soon as round 3 is on disk, before it is in MLflow.
    run_until(exists(out, "rounds/round-000003/state.json"), scenario, out, "--resume")
    assert not (out / "final").exists()
    run(scenario, out, "--resume")
    assert weights(out) == weights(whole())
    assert run_id(out) == before
    assert logged_rounds(out) == list(range(1, ROUNDS + 1))


MOMENTS = {
    "a store": ("stores/site-02/scans.jsonl", False),
    "the run in MLflow": ("mlflow_run.txt", False),
    "the sum before its basis": ("connectivity_sum.npz", False),
    "the basis": ("basis.npz", False),
    "the first site's first state, half written": ("site-state/site-01/tiny/.*.tmp", True),
    "the last site's first state": ("site-state/site-03/tiny/round-000001/round.json", False),
    "a round, half written": ("rounds/.*.tmp", True),
    "the first round": ("rounds/round-000001/state.json", False),
    "the last site's third state": ("site-state/site-03/tiny/round-000003/round.json", False),
    "the last round": ("rounds/round-000004/state.json", False),
    "the final model's folder": ("final/*", True),
}


@pytest.mark.slow
@pytest.mark.parametrize("moment", MOMENTS)
def test_a_study_killed_when_something_appears_can_be_continued(scenario, whole, tmp_path, moment):
    out = tmp_path / "run"
    name, is_pattern = MOMENTS[moment]
    run_until((some if is_pattern else exists)(out, name), scenario, out)
    before = run_id(out) if (out / "mlflow_run.txt").exists() else None
    run(scenario, out, "--resume")
    assert weights(out) == weights(whole())
    assert before in (None, run_id(out))
    assert logged_rounds(out) == list(range(1, ROUNDS + 1))
