"""Virtual sites on a Ray cluster that is there already: found, used, and left as it was."""

from __future__ import annotations

import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from child_process import environment
from killed_runs import PATIENCE, output_of, run, start, weights, write_scenario
from typer.testing import CliRunner

from brainjepa import command
from brainjepa_core.wire.flower_environment import FLOWER_ENVIRONMENT
from brainjepa_simulations.engines import flower_engine
from brainjepa_simulations.engines.flower_engine import (
    HOME,
    processes_of,
    require_cluster,
    run_with_flower,
    stop_flower,
)


@pytest.mark.parametrize(
    "address", ["auto", "here", ":6379", "host:", "host:0", "host:70000", "ray://h:10001", "h:６"]
)
def test_an_address_that_is_none(address):
    with pytest.raises(ValueError, match="expected --address as HOST:PORT") as caught:
        require_cluster(address)
    assert f"found '{address}'; correct it, or leave it out" in str(caught.value)


def test_nobody_listens_at_the_address():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))  # bound, and not listening
        address = f"127.0.0.1:{free.getsockname()[1]}"
        told = f"expected a Ray cluster at {address} (--address), found connection refused"
        with pytest.raises(ValueError, match=re.escape(told)) as caught:
            require_cluster(address)
    assert f"`ray start --address={address}` on each other machine" in str(caught.value)


@pytest.mark.parametrize("address", ["127.0.0.1:6379", None])
def test_flower_hears_of_the_cluster_that_was_named_and_of_no_other(tmp_path, monkeypatch, address):
    told = []
    monkeypatch.setenv("RAY_ADDRESS", "another:6379")
    monkeypatch.setattr(flower_engine, "_show_and_keep", lambda _, env, log: told.append(env))
    monkeypatch.setattr(flower_engine, "_status", lambda *_: flower_engine.FINISHED)
    run_with_flower(tmp_path, 3, 1, "cpu", {}, address)
    assert told[0].get("RAY_ADDRESS") == address


def test_a_site_takes_a_gpu_of_rays_choice_and_none_by_its_number(tmp_path, monkeypatch):
    told = []
    monkeypatch.setattr(flower_engine, "_show_and_keep", lambda run, *_: told.append(run[-1]))
    monkeypatch.setattr(flower_engine, "_status", lambda *_: flower_engine.FINISHED)
    for device in ("cpu", "cuda"):
        run_with_flower(tmp_path, 3, 2, device, {})
    plain = "num-supernodes=3 client-resources-num-cpus=2"
    assert told == [plain, f"{plain} client-resources-num-gpus=1"]
    with pytest.raises(ValueError, match=r"--engine flower, .* found 'cuda:1'; write cuda, and"):
        run_with_flower(tmp_path, 3, 2, "cuda:1", {})


def test_a_device_that_is_not_here_is_refused_before_anything_is_made(tmp_path):
    scenario, out = write_scenario(tmp_path), tmp_path / "run"
    asked = ["simulate", str(scenario), "--out", str(out), "--device", "cuda:97"]
    result = CliRunner().invoke(command(), asked)
    assert result.exit_code == 1 and not out.exists()
    assert "expected a device of this machine, found 'cuda:97'" in " ".join(result.output.split())


def test_an_address_is_refused_beside_the_engine_in_process(tmp_path):
    scenario, out = write_scenario(tmp_path), tmp_path / "run"
    asked = ["simulate", str(scenario), "--out", str(out), "--address", "127.0.0.1:6379"]
    result = CliRunner().invoke(command(), asked)
    assert result.exit_code == 1 and not out.exists()
    said = " ".join(result.output.split())
    assert "expected --engine flower beside --address, found --engine inprocess; give both" in said


@pytest.fixture
def cluster() -> Iterator[tuple[str, Path]]:
    """Address and folder of a cluster of this machine; it ends with its first process."""
    pytest.importorskip("ray")
    folder = Path(tempfile.mkdtemp(prefix="ray-", dir="/tmp"))  # short: it names sockets there
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [
        str(Path(sys.executable).parent / "ray"), "start", "--head", "--block", f"--port={port}",
        "--num-cpus=2", "--include-dashboard=false", "--node-ip-address=127.0.0.1",
        f"--temp-dir={folder}", "--disable-usage-stats", "--min-worker-port=0",
        "--max-worker-port=0",
    ]  # fmt: skip
    with (folder / "output").open("wb") as output:
        head = subprocess.Popen(
            command,
            env=environment(**FLOWER_ENVIRONMENT),
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        until = time.monotonic() + PATIENCE
        while "--block" not in (folder / "output").read_text():  # its last words, once all is there
            assert head.poll() is None and time.monotonic() < until
            time.sleep(0.1)
        yield f"127.0.0.1:{port}", folder
    finally:
        head.send_signal(signal.SIGTERM)  # it ends the others
        head.wait(60)
        shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_sites_answer_on_a_cluster_with_the_bits_of_one_process(cluster, tmp_path):
    address, folder = cluster
    scenario, out = write_scenario(tmp_path, rounds=2), tmp_path / "run"
    process = start(scenario, out, "--engine", "flower", "--address", address)
    try:
        assert process.wait(900) == 0, output_of(out).read_text()[-3000:]
    finally:
        process.kill()
        stop_flower(out)
    assert list(folder.glob("session_*/logs/python-core-driver-*")), "the cluster had no work"
    assert not processes_of(out / HOME)
    socket.create_connection(("127.0.0.1", int(address.rpartition(":")[2])), 10).close()
    run(scenario, tmp_path / "alone")
    assert weights(out) == weights(tmp_path / "alone")
