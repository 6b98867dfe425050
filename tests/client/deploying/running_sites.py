"""A site's side of a deployment: a SuperNode's runtime API without its SuperLink, and messages."""

from __future__ import annotations

import hashlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import uvicorn
import yaml
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message, RecordDict
from flwr.cli.build import build_fab_from_files
from flwr.common.constant import Status
from flwr.supercore.constant import TaskType
from flwr.supercore.fab import Fab
from flwr.supercore.inflatable.inflatable_utils import pull_and_inflate_object_from_tree
from flwr.supercore.object_store import ObjectStoreFactory
from flwr.supercore.run import Run
from flwr.supercore.task_identity import TaskIdentity
from flwr.supernode.main import create_app
from flwr.supernode.nodestate import NodeStateFactory
from flwr.supernode.start_client_internal import _insert_message
from small_sites import STUDY

from brainjepa_client.approving.contracts import Contracts
from brainjepa_client.settings import SiteSettings
from brainjepa_core.pretraining.settings import PretrainingSettings
from brainjepa_core.settings import read_settings
from brainjepa_core.signals.storing.store import ScanStore
from brainjepa_core.wire.contract import Contract
from brainjepa_core.wire.envelope import envelope_files
from brainjepa_core.wire.messages import Assignment, Request
from brainjepa_core.wire.packing import PACKED, pack_arrays

RUN, NODE, SECRET = 7, 3, b"of this start"
TYPES = {"describe": "query.describe", "gradients": "query.gradients"}
ENVELOPE = build_fab_from_files(envelope_files())[0]
HOSTILE = build_fab_from_files(
    {
        "pyproject.toml": envelope_files()["pyproject.toml"],
        "nothing.py": b"raise SystemExit('opened')\n",
    }
)[0]


def wait_for(condition: Callable[[], object], what: object = "", patience: float = 60.0) -> None:
    until = time.monotonic() + patience
    while not condition():
        assert time.monotonic() < until, what() if callable(what) else what
        time.sleep(0.02)


def write_site(folder: Path, store: Path, name: str = "Lyon", **more: object) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    floors = {"min_people_in_sum": 1, "min_people_a_feature": 0, "round_counts_to": 1}
    policy = {"min_subjects": 4, **floors}
    content = {"name": name, "store": str(store), "state": "state", "policy": policy, **more}
    (folder / "site.yaml").write_text(yaml.safe_dump(content))
    return folder / "site.yaml"


def contract_of(study: PretrainingSettings = STUDY, steps: int = 2) -> Contract:
    """A contract of two sites, for as many rounds as its schedule has."""
    assignment = Assignment(study_id="small", pretraining=study, steps=steps)
    return Contract(
        consortium="two",
        assignment=assignment,
        rounds=study.training.schedule.total_steps // steps,
        evaluations=2,
        roster={"Lyon": "aa", "Paris": "bb"},
    )


def approve(site_file: Path, contract: Contract) -> None:
    settings = read_settings(site_file, SiteSettings)
    contracts = Contracts(settings.state)
    contracts.propose(contract.text)
    contracts.approve(contract, ScanStore.open(settings.store).fingerprint)


def message(request: Request, kind: str = "") -> Message:
    """As the coordinator's SuperLink gives it to a SuperNode."""
    TaskIdentity.run_id, TaskIdentity.node_id, TaskIdentity.task_id = RUN, 1, 1
    content = RecordDict(
        {
            "assignment": ConfigRecord({"json": request.assignment.model_dump_json()}),
            "arrays": ArrayRecord({PACKED: Array(pack_arrays(request.arrays))}),
        }
    )
    return Message(content, NODE, kind or TYPES.get(request.kind, request.kind), group_id="g")


class Node:
    """What a SuperNode keeps, behind its own runtime API on a free port of loopback."""

    def __init__(self, port: int) -> None:
        self.address = f"127.0.0.1:{port}"
        factory = NodeStateFactory(objectstore_factory=ObjectStoreFactory())
        self.state = factory.state()
        self.state.set_node_id(NODE)
        config = uvicorn.Config(
            create_app(factory, SECRET), "127.0.0.1", port, log_level="error", workers=1
        )
        self.server = uvicorn.Server(config)

    def receive(self, asked: Message, bundle: bytes = ENVELOPE) -> None:
        """What a SuperNode does with a message of a run."""
        run = Run.create_empty(RUN)
        run.fab_hash = hashlib.sha256(bundle).hexdigest()
        state = self.state
        state.set_run_series_context(run.series_id, Context(RUN, NODE, {}, RecordDict(), {}))
        state.store_run(run)
        state.store_fab(Fab(run.fab_hash, bundle, {}))
        assert state.create_task(task_type=TaskType.CLIENT_APP, run_id=RUN, fab_hash=run.fab_hash)
        _insert_message(asked, state, state.object_store)

    def reply(self) -> Message:
        """The next reply that the worker has handed over, whole."""
        wait_for(self.is_done)
        (reply,) = self.state.get_messages_legacy(is_reply=True)
        store = self.state.object_store
        tree = store.get_object_tree(reply.metadata.message_id)
        return pull_and_inflate_object_from_tree(
            tree, store.get, lambda *_: None, return_type=Message
        )

    def is_done(self) -> bool:
        return all(task.status.status == Status.FINISHED for task in self.state.get_tasks())


@contextmanager
def node(port: int | None = None) -> Iterator[Node]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = port or probe.getsockname()[1]
    made = Node(port)
    thread = threading.Thread(target=made.server.run)
    thread.start()
    try:
        wait_for(lambda: made.server.started)
        yield made
    finally:
        made.server.should_exit = True
        thread.join()
