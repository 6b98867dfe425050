"""The local loop: stopped anywhere and resumed, it is the run that never stopped."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import small_runs
import torch
from child_process import environment
from click import unstyle
from hypothesis import given, settings
from hypothesis import strategies as st
from small_runs import PROVENANCE, TOTAL, People, bits, losses, make_training, same

from brainjepa_core.models.checkpoint import read_model
from brainjepa_core.pretraining.loop import NonFiniteLoss, pretrain
from brainjepa_core.pretraining.metrics import collapse_metrics
from brainjepa_core.pretraining.sampling import batches_of_step, draws_of_step
from brainjepa_core.pretraining.schedules import values_at
from brainjepa_core.pretraining.state import state_folders
from brainjepa_core.pretraining.step import Training

RECIPES = {
    "person": {"family": "person_jepa"},
    "brainmass": {"family": "brainmass"},
    "csm": {"family": "csm"},
    "brainlm": {"family": "brainlm"},
    "whole": {},
    "in parts": {"accumulation": 2, "clip_norm": 0.5},
}


def run_in(run: Path, training: Training, people: People | None = None, **choices) -> Training:
    choices = {"save_every": 3, "log_every": 2, "progress": False, **choices}
    pretrain(training, people or People(ragged=True), PROVENANCE, run, **choices)
    return training


def lines_of(run: Path) -> list[dict]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def saved_steps(run: Path) -> list[int]:
    return [int(path.name.removeprefix("step-")) for path in state_folders(run)]


@pytest.fixture(scope="module")
def straight(tmp_path_factory) -> dict:
    """Runs that never stopped: their last bits and their losses, for each recipe."""
    found = {}
    for name, choices in RECIPES.items():
        run = tmp_path_factory.mktemp("straight")
        training = run_in(run, make_training(**choices))
        found[name] = bits(training), losses(run)
    return found


def equals(run: Path, training: Training, expected: tuple) -> bool:
    return same(bits(training), expected[0]) and losses(run) == expected[1]


def test_a_run_is_its_steps_by_hand(tmp_path):
    logged: list[dict] = []
    people = People(ragged=True)
    training = run_in(tmp_path, make_training(batch_size=5), people, on_log=logged.append)
    other = make_training(batch_size=5)
    lines = lines_of(tmp_path)
    assert len(lines) == TOTAL
    for step, line in enumerate(lines):
        (batch,) = batches_of_step(people, other.model, other.settings, step)
        loss = other.advance([batch])
        values = values_at(other.settings.schedule, step)
        assert line["step"] == step and line["loss"] == float(loss)
        assert (line["lr"], line["weight_decay"], line["momentum"]) == values
        # Waits for the device every second step, and every third, to save.
        metrics = collapse_metrics(
            other.model.encode(batch.x, batch.token_valid), batch.token_valid
        )
        if (step + 1) in (2, 3, 4, 6, 8):
            assert {k: line[k] for k in metrics} == metrics
        else:
            assert line.keys() == {"step", "loss", *values._fields}
    assert same(bits(training), bits(other))
    assert logged == [line for line in lines if "rank_people" in line]


def test_it_learns_and_ends_with_a_model(tmp_path):
    start = make_training()
    training = run_in(tmp_path, make_training())
    assert not same(bits(start), bits(training))
    model, provenance = read_model(tmp_path / "final")
    weights = training.model.state_dict()
    assert all(torch.equal(v, weights[k]) for k, v in model.state_dict().items())
    assert provenance == PROVENANCE
    assert saved_steps(tmp_path) == [6, TOTAL]
    names = {"metrics.jsonl", "states", "final"}
    assert {path.name for path in tmp_path.iterdir()} == names


@settings(max_examples=15)
@given(
    stops=st.lists(st.integers(0, TOTAL), min_size=1, max_size=3).map(sorted),
    recipe=st.sampled_from(sorted(RECIPES)),
    save_every=st.integers(1, 5),
    log_every=st.integers(1, 5),
)
def test_stopped_anywhere_and_resumed(
    straight, tmp_path_factory, stops, recipe, save_every, log_every
):
    run = tmp_path_factory.mktemp("run")
    choices = {"save_every": save_every, "log_every": log_every}
    for until in stops:
        training = run_in(run, make_training(**RECIPES[recipe]), until=until, **choices)
        assert training.step == until and len(losses(run)) == until
        assert (run / "final").exists() == (until == TOTAL)
    training = run_in(run, make_training(**RECIPES[recipe]), **choices)
    assert equals(run, training, straight[recipe])
    shutil.rmtree(run)


def test_the_same_object_may_go_on(tmp_path, straight):
    training = make_training()
    for until in (3, 5, None):
        run_in(tmp_path, training, until=until)
    assert equals(tmp_path, training, straight["whole"])


def test_the_newest_state_is_resumed(tmp_path, monkeypatch):
    run_in(tmp_path, make_training(), until=7)
    assert saved_steps(tmp_path) == [6, 7]
    training, taken = make_training(), []
    advance = training.advance
    monkeypatch.setattr(training, "advance", lambda b: (taken.append(training.step), advance(b))[1])
    run_in(tmp_path, training)
    assert taken == [7]


def test_an_empty_study_and_one_that_asks_for_too_much(tmp_path, straight):
    start = bits(make_training())
    training = run_in(tmp_path, make_training(), until=0)
    assert training.step == 0 and same(bits(training), start)
    assert state_folders(tmp_path) == [] and lines_of(tmp_path) == []
    assert not (tmp_path / "final").exists()
    training = run_in(tmp_path, training, until=10 * TOTAL)
    assert training.step == TOTAL and equals(tmp_path, training, straight["whole"])


def test_a_finished_run_is_left_alone(tmp_path, straight):
    run_in(tmp_path, make_training())
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "final").iterdir()}
    training = run_in(tmp_path, make_training())
    assert training.step == TOTAL and equals(tmp_path, training, straight["whole"])
    assert before == {p: p.stat().st_mtime_ns for p in (tmp_path / "final").iterdir()}


@pytest.mark.parametrize("torn", ['{"step": 5, "lo', "\0\0\0", "\n"])
def test_torn_lines_and_lines_of_a_lost_future_are_cut(tmp_path, straight, torn):
    run_in(tmp_path, make_training(), until=6)
    for path in state_folders(tmp_path)[1:]:
        shutil.rmtree(path)  # as if the last state had not been reached
    log = tmp_path / "metrics.jsonl"
    assert saved_steps(tmp_path) == [3] and len(lines_of(tmp_path)) == 6
    log.write_text("".join(log.read_text().splitlines(keepends=True)[:5]) + torn)
    training = run_in(tmp_path, make_training())
    assert equals(tmp_path, training, straight["whole"])


def test_another_recipe_does_not_go_on_here(tmp_path):
    run_in(tmp_path, make_training(), until=3)
    before = (tmp_path / "metrics.jsonl").read_bytes()
    with pytest.raises(ValueError, match=r"the recipe seed = 1, found 0 in the state; .* start a"):
        run_in(tmp_path, make_training(seed=1))
    assert (tmp_path / "metrics.jsonl").read_bytes() == before


def test_batches_of_one_have_no_collapse_metrics(tmp_path):
    run_in(tmp_path, make_training(batch_size=2, accumulation=2), until=3)
    assert len(losses(tmp_path)) == 3
    assert not any("rank_people" in line for line in lines_of(tmp_path))


def test_a_loss_that_is_no_number_stops_the_run(tmp_path):
    people, recipe = People(broken=2), make_training().settings
    drawn = [[d.subject for d in draws_of_step(0, step, 4, 5)] for step in range(TOTAL)]
    bad = next(step for step in range(TOTAL) if 2 in drawn[step])
    training = make_training()
    with pytest.raises(NonFiniteLoss) as caught:
        run_in(tmp_path, training, people, save_every=100, log_every=100)
    text = f"NaN or infinity at step {bad}; the last saved state is good. Look at the scans listed"
    assert text in str(caught.value) and "nonfinite.json" in str(caught.value)
    assert "sub-" not in str(caught.value)  # people are named in the file, which stays here
    named = json.loads((tmp_path / "nonfinite.json").read_text())
    assert named == {"step": bad, "people": [f"site/sub-{s:02d}" for s in drawn[bad]]}
    assert state_folders(tmp_path) == [] and not (tmp_path / "final").exists()
    assert recipe == training.settings
    assert not [t for t in threading.enumerate() if t.name.startswith("batches")]


@pytest.mark.parametrize("save_every", [1, 2, 3])
def test_the_last_saved_state_is_good(tmp_path, straight, save_every):
    """The scan is damaged at step 5; repaired, the run goes on from the last good state."""
    training = make_training()
    advance = training.advance

    def damaged(batches):
        if training.step == 5:
            batches[0].x[0, 0, 0] = torch.inf
        return advance(batches)

    training.advance = damaged
    with pytest.raises(NonFiniteLoss, match="infinity at step 5; the last saved state is good"):
        run_in(tmp_path, training, save_every=save_every)
    good = 5 // save_every * save_every
    assert saved_steps(tmp_path)[-1] == good
    del training.advance
    run_in(tmp_path, training)  # the same object: it forgets what happened
    assert training.step == TOTAL and equals(tmp_path, training, straight["whole"])


def test_an_update_that_overflows_is_not_saved(tmp_path):
    """The loss of the last step before a state is finite, the weights after it are not."""
    training = make_training()
    advance = training.advance

    def overflow(batches):
        loss = advance(batches)
        if training.step == 3:
            training.model.predictor.head.bias.data[0] = torch.inf
        return loss

    training.advance = overflow
    with pytest.raises(NonFiniteLoss, match="at step 2; the last saved state is good"):
        run_in(tmp_path, training, save_every=3)
    assert state_folders(tmp_path) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_finishes_the_step_and_saves(tmp_path, straight, monkeypatch, number):
    """In the middle of step 4: it is finished and saved, then the signal takes its course."""
    received = []

    def note(received_number, frame):
        received.append(received_number)
        raise KeyboardInterrupt

    before = signal.signal(number, note)
    try:
        training = make_training(accumulation=2, clip_norm=0.5)
        update = training.model.after_step

        def interrupted(momentum):
            if training.step == 4:
                os.kill(os.getpid(), number)
            update(momentum)

        monkeypatch.setattr(training.model, "after_step", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run_in(tmp_path, training, save_every=100, log_every=100)
        assert signal.getsignal(number) is note and received == [number]
    finally:
        signal.signal(number, before)
    assert training.step == 5 and saved_steps(tmp_path) == [5] and len(losses(tmp_path)) == 5
    training = run_in(tmp_path, make_training(accumulation=2, clip_norm=0.5))
    assert equals(tmp_path, training, straight["in parts"])


def test_a_second_signal_does_not_wait(tmp_path, monkeypatch):
    training = make_training()

    def interrupted(momentum):
        for _ in range(2):
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(training.model, "after_step", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run_in(tmp_path, training)
    assert training.step == 0 and state_folders(tmp_path) == []
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_an_interrupted_run_whose_loss_is_bad_is_not_saved(tmp_path, monkeypatch):
    training = make_training()
    update = training.model.after_step

    def interrupted(momentum):
        update(momentum)
        if training.step == 2:
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(training.model, "after_step", interrupted)
    with pytest.raises(NonFiniteLoss, match="at step 0"):
        run_in(tmp_path, training, People(subjects=1, broken=0), save_every=100, log_every=100)
    assert state_folders(tmp_path) == []
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_ignored_signals_stay_ignored_and_other_threads_train(tmp_path, straight):
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        training = make_training()
        run_in(tmp_path / "a", training, on_log=lambda _: signal.raise_signal(signal.SIGINT))
        assert training.step == TOTAL
    finally:
        signal.signal(signal.SIGINT, before)
    training = make_training()
    thread = threading.Thread(target=run_in, args=(tmp_path / "b", training))
    thread.start()
    thread.join()
    assert equals(tmp_path / "b", training, straight["whole"])


@pytest.mark.parametrize(("place", "states", "lines"), [("log", [2, 4], 5), ("save", [2], 4)])
def test_killed_and_resumed(tmp_path, place, states, lines):
    """SIGKILL between two states, and half-way through writing one."""
    run, program = tmp_path / "run", Path(small_runs.__file__)
    variables = environment()
    with subprocess.Popen(
        [sys.executable, str(program), str(run), place],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=variables,
    ) as process:  # fmt: skip
        assert process.stdout.readline() == "here\n"  # and now it hangs there
        process.kill()
    assert process.returncode == -signal.SIGKILL
    assert saved_steps(run) == states and len(lines_of(run)) == lines
    assert not (run / "final").exists()

    expected = run_in(tmp_path / "straight", make_training(accumulation=2))
    training = run_in(run, make_training(accumulation=2))
    assert equals(run, training, (bits(expected), losses(tmp_path / "straight")))


def test_the_bar_shows_steps_and_loss(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")  # a terminal, as far as rich knows
    run_in(tmp_path, make_training(), progress=True)
    shown = unstyle(capsys.readouterr().out)
    assert "pretraining" in shown and f"{TOTAL}/{TOTAL}" in shown
    assert f"loss {losses(tmp_path)[TOTAL - 1]:.4f}" in shown
