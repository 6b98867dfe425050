"""Pretraining on several devices of one machine leaves the run of one, and is resumed as one."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from child_process import environment
from test_local import SETTINGS, make_store

from brainjepa_core.files import lone_writer
from brainjepa_core.origin import claim_folder
from brainjepa_core.pretraining.local import LOCK, pretrain_locally, run_origin
from brainjepa_core.pretraining.parallel.launching import LaunchFailed, launched
from brainjepa_core.pretraining.parallel.settings import Devices
from brainjepa_core.pretraining.settings import PretrainingSettings
from brainjepa_core.signals.storing.store import ScanStore

TWO, PATIENCE = Devices(devices=["cpu", "cpu"]), 200.0
SHARDED = Devices(devices=["cpu", "cpu"], shard_optimizer=True)
STEPS = 60


def study(steps: int = STEPS, accumulation: int = 2) -> PretrainingSettings:
    times = {"total_steps": steps, "warmup_steps": 1}
    training = {"batch_size": 4, "accumulation": accumulation, "schedule": times}
    return PretrainingSettings.model_validate({**SETTINGS, "training": training})


def train(store: ScanStore, run: Path, together: Devices | None = None, **choices) -> list[dict]:
    """Returns the lines that are told on the way."""
    told: list[dict] = []
    pretrain_locally(
        [store], run, study(**choices), progress=False, together=together, on_log=told.append
    )
    return told


def left(run: Path) -> dict[str, bytes]:
    """What a run leaves, without what processes print."""
    found = {str(path.relative_to(run)): path for path in run.rglob("*") if path.is_file()}
    return {name: path.read_bytes() for name, path in found.items() if name != "processes.log"}


@pytest.fixture
def store(tmp_path, monkeypatch) -> ScanStore:
    monkeypatch.setenv("PYTHONPATH", environment()["PYTHONPATH"])
    return make_store(tmp_path / "store", people="stuvwx")


@pytest.mark.slow
def test_two_processes_leave_the_files_of_one(store, tmp_path):
    told = train(store, tmp_path / "one" / "run")
    assert [line["step"] for line in told] == [24, 49, 59]
    assert train(store, tmp_path / "two" / "run", TWO) == told
    assert left(tmp_path / "two" / "run") == left(tmp_path / "one" / "run")
    assert train(store, tmp_path / "two" / "run", TWO) == []  # it is done


PROGRAM = """
import sys
from pathlib import Path
sys.path[:0] = {folders!r}
import importlib.util
spec = importlib.util.spec_from_file_location("these", {here!r})
these = importlib.util.module_from_spec(spec)
spec.loader.exec_module(these)
these.train(these.ScanStore.open(sys.argv[1]), Path(sys.argv[2]), these.TWO, steps=600)
"""


@pytest.mark.slow
def test_an_interrupted_run_is_saved_after_the_step_at_hand_and_resumed_sharded(store, tmp_path):
    folders = [str(Path(__file__).parents[1])]
    code = PROGRAM.format(folders=folders, here=__file__)
    run = tmp_path / "run"
    child = subprocess.Popen([sys.executable, "-c", code, store.path, run], env=environment())
    try:
        until = time.monotonic() + PATIENCE
        while not (run / "metrics.jsonl").exists() or not (run / "metrics.jsonl").stat().st_size:
            assert child.poll() is None and time.monotonic() < until
            time.sleep(0.05)
        with pytest.raises(BlockingIOError, match=rf"work there \(process {child.pid} of "):
            train(store, run, TWO, steps=600)
        assert child.poll() is None and not (run / "processes" / "stop").exists()
        child.send_signal(signal.SIGTERM)
        assert child.wait(PATIENCE) == -signal.SIGTERM
    finally:
        child.kill()
        child.wait()
    (*_, last) = (json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines())
    steps = sorted(path.name for path in (run / "states").iterdir())
    assert steps[-1] == f"step-{last['step'] + 1:08d}" and last["step"] + 1 < 600
    train(store, run, SHARDED, steps=600)
    train(store, tmp_path / "straight" / "run", steps=600)
    ours, straight = left(run), left(tmp_path / "straight" / "run")
    # Signs of collapse stand where the run was saved, once more than where it was not interrupted.
    logs = [found.pop("metrics.jsonl").splitlines() for found in (ours, straight)]
    told = [[(line["step"], line["loss"]) for line in map(json.loads, log)] for log in logs]
    assert ours == straight and told[0] == told[1]


def test_devices_that_do_not_fit_are_refused_before_anything_is_written(store, tmp_path):
    run = tmp_path / "run"
    with pytest.raises(ValueError, match=r"accumulation \(1\), .* found 2; name one device"):
        train(store, run, TWO, accumulation=1)
    with pytest.raises(ValueError, match="expected a device of this machine, found 'cuda:97'"):
        train(store, run, Devices(devices=["cuda:97", "cuda:98"]))
    assert not run.exists()


def test_gpus_are_counted_where_other_processes_compute(store, tmp_path, monkeypatch):
    """No context is opened on them: on this machine, which may have none, that would fail."""
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(ValueError, match=r"accumulation \(1\), .* found 2; name one device"):
        train(store, tmp_path, Devices(devices=["cuda:0", "cuda:1"]), accumulation=1)
    with pytest.raises(ValueError, match="expected a device of this machine, found 'cuda:2'"):
        train(store, tmp_path, Devices(devices=["cuda:0", "cuda:2"]), accumulation=1)


def test_sums_that_are_not_those_of_one_process_are_of_so_many_devices(store, tmp_path):
    windows = study().windows_of([store])
    sizes = study().model_settings(len(windows.atlas))

    def claimed(folder: str, *devices: Devices | None) -> None:
        for one in devices:
            claim_folder(tmp_path / folder, run_origin(windows, study(), sizes, together=one), [])

    three = Devices(devices=["cpu"] * 3)
    summed = [one.model_copy(update={"reduce": "sum"}) for one in (TWO, three)]
    claimed("ordered", None, TWO, three, SHARDED)
    for begun, other in (summed, [summed[0], TWO], [None, summed[0]]):
        with pytest.raises(ValueError, match=r"^expected the same devices as the results in this"):
            claimed(f"{begun} {other}"[:99], begun, other)


LEFT_OVER = """
import fcntl, pathlib, sys, time
folder = pathlib.Path(sys.argv[1])
with (folder / "running").open("a") as running:
    fcntl.flock(running, fcntl.LOCK_SH)
    (folder / "begun").touch()
    while not (folder / "stop").exists():
        time.sleep(0.05)
    time.sleep(0.5)  # of the step at hand
    (folder.parent / "ended").touch()
"""
NOWHERE = Devices(devices=["cpu", "cpu"], launcher="nowhere-run {program}")


def test_processes_of_a_killed_run_are_over_before_others_are_started(store, tmp_path):
    folder = tmp_path / "run" / "processes"
    folder.mkdir(parents=True)
    child = subprocess.Popen([sys.executable, "-c", LEFT_OVER, folder])
    try:
        until = time.monotonic() + PATIENCE
        while not (folder / "begun").exists():
            assert child.poll() is None and time.monotonic() < until
            time.sleep(0.05)
        with pytest.raises(LaunchFailed, match=r"found 'nowhere-run', which cannot be started"):
            train(store, tmp_path / "run", NOWHERE)
        assert (tmp_path / "run" / "ended").exists()
    finally:
        child.kill()
        child.wait()


@pytest.mark.parametrize("together", [TWO, None], ids=["several", "one"])
def test_a_run_that_another_command_trains_is_refused_and_left_alone(store, tmp_path, together):
    run, told = tmp_path / "run", []
    (run / "processes").mkdir(parents=True)  # of the other one
    before = sorted(run.rglob("*"))
    holder = re.escape(f"(process {os.getpid()} of {socket.gethostname()})")
    text = (
        rf"^\[Errno \d+\] expected to be alone in writing into the run '{re.escape(str(run))}', "
        rf"found another command at work there {holder}; wait until it has ended, and run this "
        r"one again$"
    )
    with lone_writer(run / LOCK, "", wait=False), pytest.raises(BlockingIOError, match=text):
        pretrain_locally([store], run, study(), together=together, say=told.append, progress=False)
    assert told == [] and sorted(run.rglob("*")) == sorted([*before, run / LOCK])
    assert (run / LOCK).read_bytes() == b""


def test_what_one_process_meets_ends_the_others_at_once(tmp_path):
    """They may wait for it for ever."""
    waits = ["-c", "import time; time.sleep(600)"]
    devices = Devices(devices=["cpu", "cpu"], launcher="env {program}")
    with (
        pytest.raises(LaunchFailed, match=r"^expected so much memory, found less$"),
        launched(devices, waits, tmp_path, tmp_path / "log") as launch,
    ):
        (tmp_path / "begun").touch()
        launch.require_at_work()
        (tmp_path / "failed").write_text("expected so much memory, found less")
        launch.require_at_work()
    assert launch.is_over


@pytest.mark.slow
def test_what_a_process_meets_is_told_in_one_line(store, tmp_path, monkeypatch):
    alone = "env RANK=0 WORLD_SIZE=1 {program}"
    with pytest.raises(LaunchFailed, match=r"^expected a launcher that starts 2 processes, .* 1;"):
        train(store, tmp_path / "run", Devices(devices=["cpu", "cpu"], launcher=alone))
    with pytest.raises(LaunchFailed, match=r"found 'nowhere-run', which cannot be started"):
        train(store, tmp_path / "run", NOWHERE)
    train(store, tmp_path / "run")  # goes on alone
    assert (tmp_path / "run" / "final").is_dir()
