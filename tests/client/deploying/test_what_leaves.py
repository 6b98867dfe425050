"""What goes wrong at a site, at each stage and in each place: no text of it leaves the worker."""

from __future__ import annotations

import itertools
import re
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from running_sites import SECRET, approve, contract_of, message, node, wait_for, write_site

from brainjepa_client.answering import app as app_module
from brainjepa_client.answering.at_hand import AtHand
from brainjepa_client.answering.site import Site
from brainjepa_client.deploying import worker as worker_module
from brainjepa_client.deploying.flower_parts import Tasks
from brainjepa_client.deploying.worker import Worker
from brainjepa_core.signals.storing.store import ScanStore
from brainjepa_core.signals.storing.store_header import HEADER
from brainjepa_core.wire.envelope import ENVELOPE_HASH
from brainjepa_core.wire.messages import DESCRIBE, EVALUATE, GRADIENTS, TRAIN, Reply, Request

PATH = "/data/bids/sub-0042/ses-1/func/sub-0042_bold.nii.gz"
TEXT = f"cannot read {PATH} of 2024-03-05"
ERRORS = (
    OSError(28, "No space left on device", PATH),
    ImportError(TEXT, path=PATH),
    RuntimeError(TEXT),
    MemoryError(TEXT),
    UnicodeDecodeError("utf-8", TEXT.encode(), 0, 1, TEXT),
)
# On the way of a question through the site, from the message to the line in its log.
PLACES = {
    "worker": (worker_module, "app"),
    "settings": (AtHand, "settings"),
    "arrays": (app_module, "unpack_arrays"),
    "app": (Site, "answer"),
    "answer": (Site, "_answer"),
    "store": (ScanStore, "open"),
    "audit": (Site, "_audit"),
}
FORBIDDEN = re.compile(rb"sub-|/data|/tmp|20\d\d-\d\d-\d\d|Traceback|\.yaml|nii|store\.json")
CONTRACT = contract_of()


class Running:
    def runs(self, run: int, node: int) -> bool:
        return True


@pytest.fixture
def site_file(stores, tmp_path) -> Path:
    store = tmp_path / "store"
    shutil.copytree(stores[0], store)
    path = write_site(tmp_path / "site", store)
    approve(path, CONTRACT)
    return path


@pytest.fixture
def bodies(monkeypatch) -> list[bytes]:
    """Of all that the worker sends to its SuperNode, which passes it on."""
    found, send = [], httpx.Client.send

    def keep(self, request, **more):
        found.append(request.read())
        return send(self, request, **more)

    monkeypatch.setattr(httpx.Client, "send", keep)
    return found


@contextmanager
def answered(site_file: Path, kind: str, arrays: dict) -> Iterator[None]:
    """Ask a worker of this site once, and wait for its reply."""
    request = Request(kind, CONTRACT.asked(0), arrays if kind in (TRAIN, EVALUATE) else {})
    with node() as supernode, Tasks(supernode.address, SECRET) as tasks:
        state = site_file.parent / "state"
        worker = Worker(site_file, state, tasks, Running(), ENVELOPE_HASH)
        thread = threading.Thread(target=worker.run)
        thread.start()
        supernode.receive(message(request))
        try:
            wait_for(supernode.is_done)
            yield
        finally:
            worker.stop()
            thread.join(60)


def failing(monkeypatch, place: str, error: Exception) -> threading.Event:
    """Raise an error at a place on the way of a question through the site."""
    met = threading.Event()

    def fail(*_: object, **__: object) -> None:
        met.set()
        raise error

    owner, name = PLACES[place]
    monkeypatch.setattr(owner, name, fail)
    return met


def leaving(bodies: list[bytes]) -> list[list[bytes]]:
    """What of the texts is in bodies."""
    return [FORBIDDEN.findall(body) for body in bodies if FORBIDDEN.search(body)]


def refused(site_file, start, bodies, monkeypatch, kind: str, place: str, error: Exception) -> None:
    """The question is refused, and nothing of the error's text is in it."""
    bodies.clear()
    with monkeypatch.context() as patched:
        met = failing(patched, place, error)
        with answered(site_file, kind, start):
            assert met.is_set()
    assert any(b"see its log" in body or b"see its own log" in body for body in bodies)
    assert leaving(bodies) == []


@pytest.mark.parametrize("kind", [DESCRIBE, GRADIENTS, TRAIN, EVALUATE])
def test_no_text_of_an_error_leaves_from_any_place(site_file, start, bodies, monkeypatch, kind):
    for place, error in zip(PLACES, itertools.cycle(ERRORS), strict=False):
        refused(site_file, start, bodies, monkeypatch, kind, place, error)


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_no_text_of_any_error_leaves(site_file, start, bodies, monkeypatch, error):
    refused(site_file, start, bodies, monkeypatch, TRAIN, "answer", error)


@pytest.mark.parametrize("damage", ["gone", "header", "cut off"])
def test_no_text_of_a_damaged_store_leaves(site_file, start, bodies, damage):
    store = site_file.parent.parent / "store"
    if damage == "gone":
        shutil.rmtree(store)
    elif damage == "header":
        (store / HEADER).write_text('{"subject": "sub-0042"')
    else:
        for path in filter(Path.is_file, store.rglob("*")):
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    for kind in (DESCRIBE, GRADIENTS, TRAIN, EVALUATE):
        bodies.clear()
        with answered(site_file, kind, start):
            assert any(b"the site failed in" in body for body in bodies)
        assert leaving(bodies) == []


def test_the_net_catches(site_file, start, bodies, monkeypatch):
    """Without the guard the same texts are found; the site's name is, in any case."""
    with answered(site_file, DESCRIBE, start):
        pass
    assert any(b"Lyon" in body for body in bodies)
    assert leaving(bodies) == []

    def unguarded(self: Site, request: Request) -> Reply:
        try:
            return self._answer(request)
        except Exception as error:
            return Reply(refusal=str(error))

    monkeypatch.setattr(Site, "answer", unguarded)
    failing(monkeypatch, "answer", RuntimeError(TEXT))
    with answered(site_file, DESCRIBE, start):
        pass
    assert {found for body in bodies for found in FORBIDDEN.findall(body)} >= {b"sub-", b"/data"}
