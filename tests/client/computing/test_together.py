"""A site's several devices train a round together: one process' bits, and no process left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from child_process import environment
from small_sites import ask_round, make_site, make_study, rounds_on_disk

from brainjepa_client.answering.site import LOG, Site
from brainjepa_client.computing.exchange import open_exchanges
from brainjepa_client.computing.private_round import SECRET
from brainjepa_client.computing.stopping import STOPPED, stopping_when
from brainjepa_client.computing.together import FOLDER
from brainjepa_client.settings import SiteSettings

PATIENCE = 200.0  # seconds, on a busy machine
STUDY = make_study(accumulation=2)
ENDLESS = make_study(accumulation=2, schedule={"total_steps": 10**6})
AGAIN = "the state of the round before is kept: ask again, or ask its manager to look at its log"


@pytest.fixture(autouse=True)
def found_by_children(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", environment()["PYTHONPATH"])


PRIVATE = {"privacy_budget": {"epsilon": 8.0}}


def site_with(store: Path, state: Path, policy: dict | None = None, **more) -> Site:
    policy = {"max_steps_per_round": 10**6, **(policy or {})}
    settings = make_site(store, state, **policy).settings.model_dump(exclude={"device", "devices"})
    choices = {"devices": ["cpu", "cpu"], "threads": 1, **more}
    return Site(SiteSettings.model_validate({**settings, **choices}))


def numbers(reply) -> dict:
    return {name: value for name, value in reply.metrics.items() if name != "seconds"}


def until(condition) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def none_left(state: Path) -> bool:
    """No process was started with a folder of this state."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if str(state).encode() in path.read_bytes() and path.parent.name != str(os.getpid()):
                return False
        except OSError:
            continue
    return True


@pytest.mark.slow
def test_a_study_has_the_bits_of_one_process_whichever_has_trained_before(stores, start, tmp_path):
    torch.set_num_threads(1)
    one = site_with(stores[0], tmp_path / "one", devices=[], device="cpu")
    two = site_with(stores[0], tmp_path / "two")
    mixed = site_with(stores[0], tmp_path / "mixed", shard_optimizer=True)
    arrays = {"one": start, "two": start, "mixed": start}
    for number in range(2):
        found = {}
        for name, site in (("one", one), ("two", two), ("mixed", mixed)):
            reply = site.answer(ask_round(number, arrays[name], STUDY))
            assert not reply.refusal, (site.settings.state / LOG).read_text()
            found[name] = reply
            arrays[name] = {**arrays[name], **reply.arrays}
        for name in ("two", "mixed"):
            assert found[name].arrays.keys() == found["one"].arrays.keys()
            for key, value in found["one"].arrays.items():
                assert np.array_equal(found[name].arrays[key], value), key
            assert numbers(found[name]) == numbers(found["one"])
        for name in rounds_on_disk(one.settings.state):
            for file in (one.settings.state / "small" / name).iterdir():
                for other in (two, mixed):
                    path = other.settings.state / "small" / name / file.name
                    assert path.read_bytes() == file.read_bytes(), path
        # The next round goes on from what another number of processes has left.
        mixed = site_with(stores[0], tmp_path / "mixed", devices=[], device="cpu")
    for folder in (tmp_path / "two" / FOLDER).iterdir():
        assert [path.name for path in folder.iterdir()] == ["job.log"]
        assert (folder / "job.log").read_text().count("train of study 'small'") == 2
        assert (folder / "job.log").read_text().count("answered") == 1
    assert none_left(tmp_path)


@pytest.mark.slow
def test_a_private_round_has_its_noise_once(stores, start, tmp_path):
    """The draws, the noise and what the ledger counts are those of one process."""
    replies = {}
    for name, more in (("one", {"devices": [], "device": "cpu"}), ("two", {})):
        state = tmp_path / name
        state.mkdir()
        (state / SECRET).write_text(f"{'ab' * 32}\n")
        site = site_with(stores[0], state, policy=PRIVATE, **more)
        request = ask_round(0, start, STUDY, privacy={"epsilon": 8.0, "clip": 0.5})
        replies[name] = site.answer(request)
        assert not replies[name].refusal, (state / LOG).read_text()
    one, two = replies["one"], replies["two"]
    assert one.metrics == two.metrics and one.arrays.keys() == two.arrays.keys()
    assert all(np.array_equal(two.arrays[name], value) for name, value in one.arrays.items())


@pytest.mark.slow
@pytest.mark.parametrize("how", ["stop", "one killed", "all killed by SIGTERM"])
def test_a_round_that_is_ended_is_refused_and_goes_on_when_asked_again(
    stores, start, tmp_path, how
):
    site, stop, found = site_with(stores[0], tmp_path / "state"), threading.Event(), []
    place = site.settings.state / FOLDER

    def ask() -> None:
        with stopping_when(stop.is_set):
            found.append(site.answer(ask_round(0, start, ENDLESS, steps=10**6)))

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        until(lambda: [*place.glob("*/begun")] or not asking.is_alive())
        assert asking.is_alive(), (site.settings.state / LOG).read_text()
        (folder,) = place.iterdir()
        if how == "stop":
            stop.set()
        else:
            number = signal.SIGKILL if how == "one killed" else signal.SIGTERM
            members = members_of(folder)
            assert len(members) == 2
            for pid in members[:1] if how == "one killed" else members:
                os.kill(pid, number)
    finally:
        if how == "stop" or sys.exc_info()[0] is not None:
            stop.set()
        asking.join(PATIENCE)
    (reply,) = found
    ended = f"this site's processes have ended without an answer, or did not begin; {AGAIN}"
    assert reply.refusal == (STOPPED if how == "stop" else ended)
    assert none_left(tmp_path) and rounds_on_disk(site.settings.state) == []
    assert open_exchanges(place) == []
    short = ask_round(0, start, ENDLESS)
    assert not site_with(stores[0], tmp_path / "state").answer(short).refusal


def members_of(folder: Path) -> list[int]:
    """Processes that train, without what has started them."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().split(b"\0")
        except OSError:
            continue
        if str(folder).encode() in words and b"torch.distributed.run" not in words:
            found.append(int(path.parent.name))
    return sorted(found)


ASKER = """
import sys
from pathlib import Path
import numpy as np
sys.path[:0] = {folders!r}
from small_sites import ask_round
from test_together import ENDLESS, site_with
start = dict(np.load(sys.argv[3]))
site_with(Path(sys.argv[1]), Path(sys.argv[2])).answer(ask_round(0, start, ENDLESS, steps=10**6))
"""


@pytest.mark.slow
def test_processes_whose_worker_is_killed_end_after_the_step_at_hand(stores, start, tmp_path):
    state = tmp_path / "state"
    np.savez(tmp_path / "start.npz", **start)
    here = Path(__file__).parent
    code = ASKER.format(folders=[str(here), str(here.parent)])
    words = [sys.executable, "-c", code, stores[0], state, tmp_path / "start.npz"]
    worker = subprocess.Popen(words, env=environment())
    try:
        until(lambda: [*(state / FOLDER).glob("*/begun")] or worker.poll() is not None)
        assert worker.poll() is None, (state / LOG).read_text()
    finally:
        worker.kill()
        worker.wait()
    (left,) = open_exchanges(state / FOLDER)
    reply = site_with(stores[0], state).answer(ask_round(0, start, ENDLESS))  # waits for them
    assert not reply.refusal, (state / LOG).read_text()
    assert open_exchanges(state / FOLDER) == [] and left.log.exists()
    until(lambda: none_left(tmp_path))


LAUNCHERS = {
    "no such program": ("nowhere-run {program}", "'nowhere-run', which cannot be started"),
    "fails": ("false {program}", "they ended with code 1 and without a result"),
    "ends at once": ("true {program}", "they ended with code 0 and without a result"),
    "never begins": (
        f"{sys.executable} -c 'import signal; signal.pause()' {{program}}",
        "begin within 1 s (begins_within)",
    ),
    "does not number them": (
        "env --unset=RANK {program}", "expected a launcher that numbers its processes"
    ),
    "starts too few": (
        "env RANK=0 WORLD_SIZE=1 {program}",
        "expected a launcher that starts 2 processes, one for each of devices, found 1",
    ),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("case", LAUNCHERS)
def test_a_launcher_that_fails_or_never_begins_is_a_refusal(
    stores, start, tmp_path, case, monkeypatch
):
    monkeypatch.setattr("brainjepa_core.pretraining.parallel.launching.LAG", 0.5)
    for name in ("RANK", "WORLD_SIZE", "SLURM_PROCID", "OMPI_COMM_WORLD_RANK"):
        monkeypatch.delenv(name, raising=False)
    launcher, why = LAUNCHERS[case]
    site = site_with(stores[0], tmp_path / "state", launcher=launcher, begins_within=1)
    if case in ("does not number them", "starts too few"):
        site = site_with(stores[0], tmp_path / "state", launcher=launcher)
    reply = site.answer(ask_round(0, start, STUDY))
    log = (site.settings.state / LOG).read_text()
    said = "".join(p.read_text() for p in site.settings.state.glob(f"{FOLDER}/*/job.log"))
    assert AGAIN in reply.refusal or reply.refusal == (
        "the site failed in train (ValueError); see its own log"
    )
    assert "nowhere" not in reply.refusal and why in log + said
    assert none_left(tmp_path)


@pytest.mark.parametrize(
    "choices, accumulation, expected",
    [
        ({}, 1, "expected a number of devices that divides the study's accumulation (1), the "
                "micro-batches of a step, found 2; name one device (in this site's YAML), or go on "
                "without this site"),
        ({"devices": ["cpu"] * 3}, 4, "accumulation (4), the micro-batches of a step, found 3; "
                                      "name 1, 2 or 4 devices"),
        ({"reduce": "sum"}, 2, "expected steps computed to 0 of exact fp32 or better, as the study "
                               "asks (training.tolerance), found reduce: sum, which is to 1e-06; "
                               "set reduce: ordered"),
    ],
)  # fmt: skip
def test_what_does_not_fit_the_study_is_refused_before_anything_starts(
    stores, start, tmp_path, choices, accumulation, expected
):
    study = make_study(accumulation=accumulation, tolerance=0.0)
    site = site_with(stores[0], tmp_path / "state", **choices)
    reply = site.answer(ask_round(0, start, study))
    assert expected in reply.refusal
    assert not (site.settings.state / FOLDER).exists()
