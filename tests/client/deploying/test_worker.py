"""The worker answers what comes with the envelope, from the installed package, and nothing else."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import httpx
import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from made_consortium import consortium
from running_sites import (
    ENVELOPE,
    HOSTILE,
    NODE,
    RUN,
    SECRET,
    approve,
    contract_of,
    message,
    node,
    wait_for,
    write_site,
)
from small_sites import make_site

from brainjepa_client.computing import state as state_module
from brainjepa_client.computing import stopping as stopping_module
from brainjepa_client.computing.stopping import STOPPED
from brainjepa_client.consent.audit_log import audit_log, line_in_words
from brainjepa_client.deploying import worker as worker_module
from brainjepa_client.deploying.flower_parts import Coordinator, Tasks
from brainjepa_client.deploying.worker import Worker
from brainjepa_core.pretraining.step import Training
from brainjepa_core.version import VERSION
from brainjepa_core.wire.contract import Contract
from brainjepa_core.wire.envelope import ENVELOPE_HASH
from brainjepa_core.wire.messages import DESCRIBE, EVALUATE, GRADIENTS, TRAIN, Request
from brainjepa_core.wire.packing import PACKED, unpack_arrays

FOREIGN = (
    f"expected the bundle of brainjepa-federated {VERSION}, found another, which was not opened; "
    "bring coordinator and site to one version"
)


CONTRACT, ONE_ROUND = contract_of(), contract_of(steps=6)


def ask(kind: str, arrays: dict | None = None, contract: Contract = CONTRACT) -> Request:
    return Request(kind, contract.asked(0), arrays or {})


class Running:
    """A coordinator that runs the study."""

    def runs(self, run: int, node: int) -> bool:
        assert (run, node) == (RUN, NODE)
        return True


@pytest.fixture
def site_file(stores, tmp_path) -> Path:
    """Of a site whose manager has approved both contracts."""
    path = write_site(tmp_path / "site", stores[0])
    for contract in (CONTRACT, ONE_ROUND):
        approve(path, contract)
    return path


@contextmanager
def working(site_file: Path, address: str, coordinator=None):
    """A worker in a thread, which ends with the block."""
    with Tasks(address, SECRET) as tasks:
        state = site_file.parent / "state"
        made = Worker(site_file, state, tasks, coordinator or Running(), ENVELOPE_HASH)
        thread = threading.Thread(target=made.run)
        thread.start()
        try:
            yield made
        finally:
            made.stop()
            thread.join(60)
            assert not thread.is_alive()


def events(site_file: Path) -> list[dict]:
    return list(audit_log(site_file.parent / "state").lines())


def unpacked(reply) -> tuple[dict, dict]:
    arrays = unpack_arrays(reply.content["arrays"][PACKED].numpy())
    return dict(reply.content["reply"]), arrays


def test_it_answers_with_the_bits_of_the_installed_package(stores, start, site_file, tmp_path):
    site = make_site(stores[0], tmp_path / "other")
    requests = [ask(DESCRIBE), ask(GRADIENTS), ask(TRAIN, start), ask(EVALUATE, start)]
    with node() as supernode, working(site_file, supernode.address):
        for request in requests:
            supernode.receive(message(request))
            metrics, arrays = unpacked(supernode.reply())
            expected = site.answer(request)
            assert metrics["refusal"] == "" and arrays.keys() == expected.arrays.keys()
            assert all(np.array_equal(arrays[k], v) for k, v in expected.arrays.items())
    assert [line["event"] for line in events(site_file)] == ["answered"] * 4


def test_what_was_not_approved_is_refused_though_the_bundle_is_right(site_file, start):
    other = contract_of(steps=1)
    with node() as supernode, working(site_file, supernode.address):
        supernode.receive(message(ask(TRAIN, start, other)))
        metrics, arrays = unpacked(supernode.reply())
    assert arrays == {} and "this request is of none that it knows" in metrics["refusal"]


@pytest.mark.parametrize("bundle", [HOSTILE, ENVELOPE + b"\0", b"", b"no archive"])
def test_a_bundle_from_elsewhere_is_refused_and_never_opened(
    site_file, bundle, monkeypatch, tmp_path
):
    monkeypatch.setenv("FLWR_HOME", str(tmp_path / "flower"))
    with node() as supernode, working(site_file, supernode.address):
        supernode.receive(message(ask(GRADIENTS)), bundle)
        reply = supernode.reply()
    assert (reply.error.code, reply.error.reason) == (7, FOREIGN)
    assert not (tmp_path / "flower").exists() and not (site_file.parent / "flower").exists()
    (line,) = events(site_file)
    words = line_in_words(line)
    assert f" did not open a message's bundle from elsewhere (sha256 {line['bundle']})" in words
    assert line["bundle"] != ENVELOPE_HASH and len(line["bundle"]) == 64


@pytest.mark.parametrize("kind", ["query.canary", "query", "train.other", "evaluate.canary"])
def test_a_message_of_unknown_kind_gets_no_text_of_an_exception(site_file, kind):
    with node() as supernode, working(site_file, supernode.address):
        supernode.receive(message(ask(DESCRIBE), kind))
        reply = supernode.reply()
    assert reply.error.code == 2
    assert reply.error.reason == "this site does not know that kind of message; see its log"


def test_the_site_is_the_one_of_this_machine_whatever_a_run_says(site_file, tmp_path):
    with node() as supernode, working(site_file, supernode.address):
        asked = message(ask(DESCRIBE))
        supernode.receive(asked)
        series = supernode.state.get_run_series_context(0)
        series.run_config = {"virtual-sites": str(tmp_path), "site-yaml": "/canary"}
        assert unpacked(supernode.reply())[0]["site"] == "Lyon"


@pytest.mark.parametrize("secret", [b"another", b"\0" * 32])
def test_who_does_not_know_the_secret_gets_no_task(site_file, secret):
    with node() as supernode:
        supernode.receive(message(ask(DESCRIBE)))
        with (
            Tasks(supernode.address, secret) as tasks,
            pytest.raises(ValueError, match=r"knows this worker's secret, found one that refuses"),
        ):
            tasks.take()
        bare = httpx.post(f"http://{supernode.address}/v1/runtime/acquire-task")
        assert bare.is_client_error
        with Tasks(supernode.address, SECRET) as tasks, tasks.take() as task:
            assert task.still_waited_for()


@pytest.mark.parametrize("looks", [True, False])
def test_a_stop_ends_training_after_the_step_and_tells_so(site_file, start, monkeypatch, looks):
    """A site that does not look between steps is the control: it trains to the round's end."""
    if not looks:
        for module in (stopping_module, state_module):
            monkeypatch.setattr(module, "require_going_on", lambda: None)
    done: list[int] = []
    advance, two = Training.advance, threading.Event()

    def step(self, batches):
        result = advance(self, batches)
        done.append(self.step)
        if len(done) == 2:
            two.set()
            assert stopped.wait(60)
        return result

    stopped = threading.Event()
    monkeypatch.setattr(Training, "advance", step)
    with node() as supernode, working(site_file, supernode.address) as made:
        supernode.receive(message(ask(TRAIN, start, ONE_ROUND)))
        assert two.wait(60)
        made.stop()
        stopped.set()
        metrics, arrays = unpacked(supernode.reply())
    if not looks:
        assert done == [1, 2, 3, 4, 5, 6] and arrays
        return
    assert done == [1, 2] and arrays == {}
    assert metrics == {"refusal": STOPPED}
    assert [line["event"] for line in events(site_file)] == ["refused"]


def test_a_run_that_was_stopped_ends_training_and_the_worker_goes_on(site_file, start, monkeypatch):
    done: list[int] = []
    advance, two, coordinator = Training.advance, threading.Event(), Running()
    told = threading.Event()
    coordinator.runs = lambda run, node: not (two.is_set() and (told.set() or True))
    monkeypatch.setattr(worker_module, "WATCH", 0.01)

    def step(self, batches):
        result = advance(self, batches)
        done.append(self.step)
        if len(done) == 2:
            two.set()
            assert told.wait(60)
            wait_for(lambda: worker_said("nobody waits"))
        return result

    said: list[str] = []
    monkeypatch.setattr(worker_module, "_say", said.append)

    def worker_said(text: str) -> bool:
        return any(text in line for line in said)

    monkeypatch.setattr(Training, "advance", step)
    with node() as supernode, working(site_file, supernode.address, coordinator):
        supernode.receive(message(ask(TRAIN, start, ONE_ROUND)))
        assert unpacked(supernode.reply())[0]["refusal"] == STOPPED
        assert done == [1, 2]
        two.clear()
        supernode.receive(message(ask(DESCRIBE)))
        assert unpacked(supernode.reply())[0]["refusal"] == ""


def test_a_supernode_that_was_started_anew_waits_for_no_answer(site_file):
    with node() as supernode:
        supernode.receive(message(ask(DESCRIBE)))
        tasks = Tasks(supernode.address, SECRET)
        task = tasks.take()
        assert task.still_waited_for()
    with tasks, task:
        assert task.still_waited_for()  # nobody says otherwise
        with node(int(supernode.address.split(":")[1])):
            assert not task.still_waited_for()


@pytest.mark.parametrize("place", ["_reply", "_watching"])
def test_a_message_that_is_lost_ends_no_worker(site_file, monkeypatch, place):
    """A defect or a full disk while it is served: the next message is answered."""
    sound, failed = getattr(Worker, place), threading.Event()

    def fail_once(self, *arguments):
        if not failed.is_set():
            failed.set()
            raise OSError(28, "No space left on device")
        return sound(self, *arguments)

    monkeypatch.setattr(Worker, place, fail_once)
    with node() as supernode, working(site_file, supernode.address):
        supernode.receive(message(ask(DESCRIBE)))
        assert failed.wait(60)
        supernode.receive(message(ask(DESCRIBE)))
        wait_for(lambda: len(supernode.state.get_messages_legacy(is_reply=True)) == 1)


def test_a_foreign_bundle_is_refused_on_a_full_disk_too(site_file, monkeypatch):
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(worker_module, "audit_log", lambda state: SimpleNamespace(append=full))
    with node() as supernode, working(site_file, supernode.address):
        supernode.receive(message(ask(GRADIENTS)), HOSTILE)
        assert supernode.reply().error.code == 7


def test_a_supernode_that_is_not_up_is_waited_for():
    with Tasks("127.0.0.1:1", SECRET) as tasks:
        assert tasks.take() is None


def test_a_coordinator_that_cannot_be_asked_stops_nothing(tmp_path):
    authority = consortium(tmp_path).authority.public_bytes(Encoding.PEM)
    key = ec.generate_private_key(ec.SECP384R1())
    with Coordinator("127.0.0.1:1", authority, key) as coordinator:
        assert coordinator.runs(RUN, NODE)
