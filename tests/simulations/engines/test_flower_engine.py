"""Flower's own simulation: the same study as in one process, also when parts of it are killed."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from killed_runs import (
    logged_rounds,
    output_of,
    run,
    run_id,
    run_until,
    start,
    wait_for,
    weights,
    write_scenario,
)

from brainjepa_simulations.engines.flower_engine import HOME, LOG, processes_of, stop_flower

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

STEPS, ROUNDS = 4, 4
FLOWER = ("--engine", "flower")


@pytest.fixture(scope="module")
def scenario(tmp_path_factory) -> Path:
    return write_scenario(tmp_path_factory.mktemp("scenario"), STEPS, ROUNDS)


@pytest.fixture(scope="module")
def whole(scenario, tmp_path_factory) -> Path:
    """The study in one process."""
    out = tmp_path_factory.mktemp("whole") / "run"
    run(scenario, out)
    return out


@pytest.fixture
def out(tmp_path) -> Iterator[Path]:
    yield tmp_path / "run"
    stop_flower(tmp_path / "run")  # where a test failed


def nothing_runs(out: Path) -> bool:
    """Whether no process has the study's Flower home, by our mark or by Flower's own variable."""
    wanted = f"FLWR_HOME={(out / HOME).resolve()}".encode()
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if wanted in (process / "environ").read_bytes().split(b"\0"):
                return False
        except OSError:
            continue
    return not processes_of(out / HOME)


def processes(out: Path, name: str) -> list[int]:
    """Processes of the study's run with this in their command line."""
    found = []
    for process in processes_of(out / HOME):
        try:
            if name.encode() in Path(f"/proc/{process}/cmdline").read_bytes():
                found.append(process)
        except OSError:
            continue
    return found


def kill(processes: list[int]) -> None:
    assert processes
    for process in processes:
        os.kill(process, signal.SIGKILL)


def has_round(out: Path, number: int) -> bool:
    return (out / "rounds" / f"round-{number:06d}" / "state.json").exists()


def test_both_engines_give_the_same_weights_and_leave_nothing_behind(scenario, whole, out):
    run(scenario, out, *FLOWER)
    assert weights(out) == weights(whole)
    assert logged_rounds(out) == list(range(1, ROUNDS + 1))
    assert nothing_runs(out)
    text = (out / LOG).read_text()
    assert "round   4 of 4" in text
    assert "deprecated" not in "".join(line for line in text.splitlines() if "flwr" in line)
    # Another one right after it, in a folder of its own and with the engine changed midway.
    again = out.with_name("again")
    run_until(lambda: has_round(again, 1), scenario, again)
    run(scenario, again, "--resume", *FLOWER)
    assert weights(again) == weights(whole) and nothing_runs(again)


def test_a_run_whose_server_app_is_killed_fails_by_name_and_can_be_continued(scenario, whole, out):
    process = start(scenario, out, *FLOWER)
    wait_for(lambda: has_round(out, 1), process, out)
    kill(processes(out, "flwr-simulation"))
    assert process.wait(300) == 1
    before, said = run_id(out), " ".join(output_of(out).read_text().split())
    assert "expected Flower's run to be finished:completed, found" in said and LOG in said
    assert nothing_runs(out)
    run(scenario, out, "--resume", *FLOWER)
    assert weights(out) == weights(whole) and run_id(out) == before
    assert logged_rounds(out) == list(range(1, ROUNDS + 1)) and nothing_runs(out)


def test_a_run_killed_with_all_its_processes_can_be_continued(scenario, whole, out):
    process = start(scenario, out, *FLOWER)
    wait_for(lambda: has_round(out, 2), process, out)
    kill([process.pid, *processes_of(out / HOME)])
    process.wait(60)
    before = run_id(out)
    run(scenario, out, "--resume", *FLOWER)
    assert weights(out) == weights(whole) and run_id(out) == before and nothing_runs(out)


def test_a_run_that_outlived_its_command_is_ended_by_the_next_one(scenario, whole, out):
    process = start(scenario, out, *FLOWER)
    wait_for(lambda: has_round(out, 1), process, out)
    process.kill()  # its SuperLink, and the study in it, live on
    process.wait(60)
    assert processes(out, "flower-superlink")
    run(scenario, out, "--resume")  # in one process
    assert weights(out) == weights(whole) and nothing_runs(out)


def test_a_round_whose_sites_were_killed_is_repeated_by_a_resume(tmp_path, out):
    # The round needs all sites. Flower answers for the site whose process died with an error, and
    # sends the dead process one more site before it gives it up, so two may be missing.
    scenario = write_scenario(tmp_path, steps=100, rounds=2, quorum=3)
    process = start(scenario, out, *FLOWER)
    wait_for(lambda: has_round(out, 1), process, out)
    kill(processes(out, "ray::ClientAppActor")[:1])
    assert process.wait(300) == 1
    said = (out / LOG).read_text()
    assert "expected at least 3 usable replies (rounds.quorum) in round 2" in said
    assert "the site's app " in said  # failed, or died at its work, by how Flower noticed it
    assert nothing_runs(out)
    before = run_id(out)
    run(scenario, out, "--resume", *FLOWER)
    run(scenario, out.with_name("alone"))
    assert weights(out) == weights(out.with_name("alone")) and run_id(out) == before
    assert nothing_runs(out)


def test_sites_that_drop_out_are_left_out_as_in_one_process(tmp_path, out):
    scenario = write_scenario(tmp_path, extra="faults: {dropouts: {1: [1, 3], 3: [2]}}\n")
    run(scenario, out, *FLOWER)
    run(scenario, out.with_name("alone"))
    assert weights(out) == weights(out.with_name("alone"))
    rounds = [json.loads(line) for line in (out / "rounds.jsonl").open()]
    assert [sorted(r["rejected"]) for r in rounds] == [["site-01"], ["site-03"], ["site-01"], []]


def test_a_study_that_cannot_go_on_says_where_its_log_is_and_leaves_nothing_behind(tmp_path, out):
    scenario = write_scenario(tmp_path, extra="faults: {dropouts: {1: [1], 2: [1], 3: [1]}}\n")
    process = start(scenario, out, *FLOWER)
    assert process.wait(300) == 1
    said = " ".join(output_of(out).read_text().split())
    assert "found finished:failed" in said and LOG in said
    assert "expected at least 2 usable replies (rounds.quorum) in round 1" in (
        (out / LOG).read_text()
    )
    assert nothing_runs(out)
