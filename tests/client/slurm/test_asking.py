"""What needs a model is answered by jobs of the cluster: the same bits, and no job left behind."""

from __future__ import annotations

import os
import stat
import threading
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from running_sites import wait_for
from small_sites import ask, ask_round, make_site, make_study, rounds_on_disk

from brainjepa_client.answering.site import LOG, Site
from brainjepa_client.computing.exchange import Exchange, new_exchange, open_exchanges
from brainjepa_client.computing.stopping import STOPPED, stopping_when
from brainjepa_client.consent.audit_log import audit_log
from brainjepa_client.guarding.dry_run import dry_run
from brainjepa_client.settings import SiteSettings
from brainjepa_client.slurm import asking
from brainjepa_client.slurm.asking import FOLDER
from brainjepa_core.wire.messages import DESCRIBE, EVALUATE, GRADIENTS
from brainjepa_core.wire.packing import pack_arrays, unpack_arrays

pytestmark = pytest.mark.slow  # a job imports torch anew
AGAIN = "the state of the round before is kept: ask again, or ask its manager to look at its log"
ENDLESS = make_study(schedule={"total_steps": 10**6})
TOO_MANY = {"max_steps_per_round": 10**6}


@pytest.fixture
def quickly(monkeypatch) -> None:
    monkeypatch.setattr(asking, "LOOK", 0.1)
    monkeypatch.setattr(asking, "TICK", 0.05)
    monkeypatch.setattr(asking, "LAG", 1.0)


def site_with_cluster(store: Path, state: Path, *, begins_within: int = 3600, **policy) -> Site:
    settings = make_site(store, state, **policy).settings
    slurm = {"options": {"partition": "cpu"}, "device": "cpu", "begins_within": begins_within}
    more = {"device": "slurm", "slurm": slurm, "threads": 1}
    return Site(SiteSettings.model_validate({**settings.model_dump(), **more}))


def numbers(reply) -> dict:
    return {name: value for name, value in reply.metrics.items() if name != "seconds"}


def exchanges(state: Path) -> list[Path]:
    return sorted((state / FOLDER).iterdir())


def test_a_study_has_the_same_bits_as_without_a_cluster(stores, start, tmp_path, cluster):
    here = make_site(stores[0], tmp_path / "here")
    there = site_with_cluster(stores[0], tmp_path / "there")
    arrays = unpack_arrays(pack_arrays(start))  # rows first, as whatever comes by the wire
    for request in (ask(DESCRIBE), ask(GRADIENTS), 0, 1, EVALUATE):
        if isinstance(request, int):
            request = ask_round(request, arrays)
        elif request == EVALUATE:
            request = ask(EVALUATE, arrays)
        expected, reply = here.answer(request), there.answer(request)
        assert reply.refusal == expected.refusal == ""
        assert reply.arrays.keys() == expected.arrays.keys()
        assert all(np.array_equal(reply.arrays[k], v) for k, v in expected.arrays.items())
        told, told_here = numbers(reply), numbers(expected)
        assert (told.pop("device", "slurm"), told_here.pop("device", "cpu")) == ("slurm", "cpu")
        assert told == told_here
        arrays |= reply.arrays if request.kind == "train" else {}
    for name in rounds_on_disk(there.settings.state):
        for file in (there.settings.state / "small" / name).iterdir():
            assert (
                file.read_bytes() == (here.settings.state / "small" / name / file.name).read_bytes()
            )
    wait_for(lambda: [job["state"] for job in cluster.jobs()] == ["COMPLETED"] * 3)
    assert [line["event"] for line in audit_log(there.settings.state).lines()] == ["answered"] * 5
    for folder in exchanges(there.settings.state):
        assert [path.name for path in folder.iterdir()] == ["job.log"]
        assert (folder / "job.log").read_text().endswith("answered\n")


def begin(site: Site, request, asked=lambda: False) -> tuple[threading.Thread, list]:
    replies: list = []

    def answer() -> None:
        with stopping_when(asked):
            replies.append(site.answer(request))

    thread = threading.Thread(target=answer)
    thread.start()
    return thread, replies


def is_at_work(state: Path) -> bool:
    logs = [*(state / FOLDER).glob("*/job.log")]
    return any("train of study" in log.read_text() for log in logs)


def endless(stores, start, state: Path) -> tuple[Site, object]:
    site = site_with_cluster(stores[0], state, **TOO_MANY)
    return site, ask_round(0, start, ENDLESS, steps=10**6)


def test_a_stop_cancels_the_job_which_ends_after_its_step(
    stores, start, tmp_path, cluster, quickly
):
    site, request = endless(stores, start, tmp_path)
    stop = threading.Event()
    thread, replies = begin(site, request, stop.is_set)
    wait_for(lambda: is_at_work(tmp_path))
    (folder,) = exchanges(tmp_path)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE((tmp_path / FOLDER).stat().st_mode) == 0o700
    assert {stat.S_IMODE(p.stat().st_mode) for p in folder.iterdir() if p.name != "job.log"} == {
        0o600
    }
    stop.set()
    thread.join(60)
    assert [reply.refusal for reply in replies] == [STOPPED]
    (job,) = cluster.jobs()
    assert (job["state"], job["exit"]) == ("CANCELLED", 75)  # by itself, not by SIGKILL
    assert (folder / "job.log").read_text().endswith("stopped after the step at hand\n")
    assert open_exchanges(tmp_path / FOLDER) == [] and rounds_on_disk(tmp_path) == []


ENDS = {
    "TIMEOUT": "at its time limit",
    "PREEMPTED": "since others were preferred",
    "CANCELLED": "since it was cancelled",
    "NODE_FAIL": "since its node failed",
    "OUT_OF_MEMORY": "for want of memory",
}


def test_a_job_that_the_cluster_ends_is_a_refusal_and_asked_again_goes_on(
    stores, start, tmp_path, cluster, quickly
):
    site, request = endless(stores, start, tmp_path / "state")
    for number, (state, words) in enumerate(ENDS.items(), 1):
        thread, replies = begin(site, request)
        if state == "TIMEOUT":  # the others may come whenever they like
            wait_for(lambda: is_at_work(tmp_path / "state"))
        cluster.tell("end", state)
        thread.join(60)
        (cluster.folder / "end").unlink()
        assert [reply.refusal for reply in replies] == [
            f"this site's job at its cluster ended {words}; {AGAIN}"
        ]
        assert f"job {number} is {state}; see '" in (tmp_path / "state" / LOG).read_text()
    request = ask_round(0, start, steps=2)  # another study: its steps end
    request = request.__class__("train", request.assignment.model_copy(
        update={"study_id": "other"}), request.arrays)  # fmt: skip
    assert site.answer(request).refusal == ""


def test_a_job_that_never_begins_is_cancelled(stores, start, tmp_path, cluster, quickly):
    site = site_with_cluster(stores[0], tmp_path / "state", begins_within=1)
    cluster.tell("pending")
    reply = site.answer(ask_round(0, start))
    assert reply.refusal == (
        f"this site's job has waited at its cluster for 1 s, and has not begun; {AGAIN}"
    )
    assert [job["state"] for job in cluster.jobs()] == ["CANCELLED"]
    log = (tmp_path / "state" / LOG).read_text()
    assert "squeue says of job 1: PENDING (Resources)" in log


def test_a_cluster_that_takes_no_job_is_a_refusal_without_its_words(
    stores, start, tmp_path, cluster
):
    site = site_with_cluster(stores[0], tmp_path / "state")
    cluster.tell("down")
    reply = site.answer(ask_round(0, start))
    assert reply.refusal == f"this site's cluster takes no job now; {AGAIN}"
    assert "Unable to contact slurm controller" in (tmp_path / "state" / LOG).read_text()
    (cluster.folder / "down").unlink()
    assert site.answer(ask_round(0, start)).refusal == ""


def test_an_error_in_a_job_is_told_by_its_class_alone(
    stores, start, tmp_path, cluster, monkeypatch, quickly
):
    site = site_with_cluster(stores[0], tmp_path / "state")
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "sitecustomize.py").write_text(
        "import torch\n"
        "def canary(*a, **k): raise RuntimeError('sub-01 in /secret')\n"
        "torch.stack = canary\n"
    )
    monkeypatch.setenv("PYTHONPATH", f"{broken}{os.pathsep}{os.environ['PYTHONPATH']}")
    reply = site.answer(ask_round(0, start))
    assert reply.refusal == "the site failed in train (RuntimeError); see its own log"
    (folder,) = exchanges(tmp_path / "state")
    assert "sub-01 in /secret" in (folder / "job.log").read_text()
    wait_for(lambda: [job["state"] for job in cluster.jobs()] == ["FAILED"])


def test_a_program_that_dies_is_noticed(stores, start, tmp_path, cluster, monkeypatch, quickly):
    site = site_with_cluster(stores[0], tmp_path / "state")
    monkeypatch.setattr(asking.sys, "executable", "/bin/false")
    reply = site.answer(ask_round(0, start))
    assert reply.refusal == f"this site's job at its cluster ended without an answer; {AGAIN}"
    assert "job 1 is FAILED; see '" in (tmp_path / "state" / LOG).read_text()


def test_a_store_that_changes_while_a_job_waits_is_not_answered_from(
    stores, start, tmp_path, cluster, monkeypatch
):
    site = site_with_cluster(stores[0], tmp_path / "state")
    monkeypatch.setattr(
        "brainjepa_client.answering.site.answered_in_job",
        lambda settings, request, store: asking.answered_in_job(settings, request, "f" * 64),
    )
    reply = site.answer(ask_round(0, start))
    assert reply.refusal.startswith("the store of this site has changed while its job waited; ask")


def test_what_the_policy_refuses_reaches_no_cluster(stores, start, tmp_path, cluster):
    site = site_with_cluster(stores[0], tmp_path / "state", allow=("describe",))
    assert "allow" in site.answer(ask_round(0, start)).refusal
    assert cluster.jobs() == [] and not (tmp_path / "state" / FOLDER).exists()


def test_the_job_of_a_killed_worker_is_ended_before_the_next(
    stores, start, tmp_path, cluster, quickly, monkeypatch
):
    """The worker is killed in its wait; the job that it cannot end goes on."""
    site, request = endless(stores, start, tmp_path / "state")

    class Killed(BaseException):
        pass

    def killed(*_: object) -> None:
        wait_for(lambda: is_at_work(tmp_path / "state"))
        raise Killed

    with monkeypatch.context() as patched, suppress(Killed):
        patched.setattr(asking, "_awaited", killed)
        patched.setattr(asking, "_end", lambda exchange: True)  # dead processes do nothing
        site.answer(request)
    assert [job["state"] for job in cluster.jobs()] == ["RUNNING"]
    (left,) = open_exchanges(tmp_path / "state" / FOLDER)
    assert left.job == "1"
    cluster.tell("down")
    monkeypatch.setattr(asking, "ENDING", 0.5)
    reply = site.answer(request)
    assert reply.refusal == f"this site's cluster takes no job now; {AGAIN}"
    assert "expected the earlier job 1 to end, found it" in (tmp_path / "state" / LOG).read_text()
    (cluster.folder / "down").unlink()
    monkeypatch.setattr(asking, "ENDING", 60.0)
    asking.end_open_jobs(tmp_path / "state")  # as a worker does that begins
    assert [(job["state"], job["exit"]) for job in cluster.jobs()] == [("CANCELLED", 75)]
    assert open_exchanges(tmp_path / "state" / FOLDER) == []


def test_a_question_that_was_not_submitted_is_put_away(stores, start, tmp_path, cluster):
    site = site_with_cluster(stores[0], tmp_path)
    left = new_exchange(tmp_path / FOLDER, ask_round(0, start))
    left.ask(site.settings, ask_round(0, start), "", "#!/bin/bash\n")
    assert open_exchanges(tmp_path / FOLDER) == [Exchange(left.folder)] and left.job is None
    asking.end_open_jobs(tmp_path)
    assert not left.folder.exists() and cluster.jobs() == []


def test_a_dry_run_stays_on_this_machine(stores, tmp_path, cluster):
    (tmp_path / "site.yaml").write_text(
        f"name: Lyon\nstore: {stores[0]}\nstate: state\ndevice: slurm\n"
        "slurm: {options: {partition: gpu}}\npolicy: {min_subjects: 4}\n"
    )
    assert dry_run(tmp_path / "site.yaml", make_study()).errors == {}
    assert cluster.jobs() == []
