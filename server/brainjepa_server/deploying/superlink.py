"""Flower's SuperLink on this machine's loopback: its program, its sites, and a study's task.

All that the coordinator uses of Flower beyond its documented apps is in this file, in `grid` and in
`superlink_program`; the pin ``flwr==1.41.*`` guards them, and the tests with a real SuperLink tell
when it moves.
"""

from __future__ import annotations

import hashlib
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import httpx
from flwr.cli.build import build_fab_from_files
from flwr.common.constant import SubStatus
from flwr.common.serde import run_from_proto
from flwr.proto.control_pb2 import (
    ListNodesRequest,
    RegisterNodeRequest,
    StartRunRequest,
    StopRunRequest,
    UnregisterNodeRequest,
)
from flwr.proto.fab_pb2 import Fab
from flwr.proto.node_pb2 import NodeInfo
from flwr.proto.runtime_pb2 import AcquireTaskRequest, PullTaskInputRequest, PushTaskOutputRequest
from flwr.serverapp import Grid
from flwr.supercore.constant import NodeStatus, TaskType
from flwr.supercore.control import ControlHttpClient
from flwr.supercore.heartbeat import HeartbeatSender, make_task_heartbeat_fn_http
from flwr.supercore.interceptors import (
    RuntimeTokenHttpInterceptor,
    RuntimeVersionHttpInterceptor,
    SuperExecAuthHttpInterceptor,
)
from flwr.supercore.primitives.asymmetric import bytes_to_public_key, public_key_to_bytes
from flwr.supercore.protobuf.client import (
    ProtobufCall,
    ProtobufClientInterceptor,
    ProtobufRequestContext,
)
from flwr.supercore.retry import make_simple_http_retry_invoker
from flwr.supercore.runtime import RuntimeHttpClient
from flwr.supercore.task_identity import TaskIdentity

from brainjepa_core.consortium.fingerprints import of_key
from brainjepa_core.wire.envelope import ENVELOPE_HASH, envelope_files
from brainjepa_server.consortium.admission import Keys
from brainjepa_server.deploying.grid import NoticingGrid

PROGRAM = "brainjepa_server.deploying.superlink_program"
_ACQUIRE = "/flwr.proto.Runtime/AcquireTask"
POLL_SECONDS = 0.2
Request = TypeVar("Request")
Response = TypeVar("Response")


def superlink_command(port: int, certificate: Path, key: Path, secret: Path) -> list[str]:
    """How the SuperLink is started: on loopback, in memory, for admitted keys, with a secret."""
    return [
        sys.executable, "-m", PROGRAM,
        "--host", "127.0.0.1", "--port", str(port),
        "--ssl-ca-certfile", str(certificate), "--ssl-certfile", str(certificate),
        "--ssl-keyfile", str(key),
        "--enable-supernode-auth", "--isolation", "process",
        "--superexec-auth-secret-file", str(secret),
        "--disable-runtime-dependency-installation",
    ]  # fmt: skip


@dataclass(frozen=True)
class Node:
    """A site as the SuperLink knows it.

    Attributes
    ----------
    number : int
    key : str
        Fingerprint of its public key.
    connected : bool
    """

    number: int
    key: str
    connected: bool


class SuperLinkAway(ValueError):
    """The SuperLink does not answer, or not as it should."""


class SuperLink:
    """What the coordinator asks of its SuperLink; no one else can (`superlink_program`).

    Parameters
    ----------
    port : int
    certificate : Path
        Of the loopback.
    secret : bytes
        Of this run of the server.
    """

    def __init__(self, port: int, certificate: Path, secret: bytes) -> None:
        self.address, self.certificate = f"127.0.0.1:{port}", certificate.read_bytes()
        self.secret = secret
        self._control = ControlHttpClient.from_server_address(
            self.address,
            insecure=False,
            root_certificates=self.certificate,
            interceptors=[
                RuntimeVersionHttpInterceptor(component_name="flwr CLI"),
                _Bearer(secret.decode("ascii")),
            ],
        )

    def answers(self) -> bool:
        """Whether it is up."""
        try:
            self.nodes()
        except SuperLinkAway:
            return False
        return True

    def nodes(self) -> list[Node]:
        """All sites that were let in."""
        return [
            Node(
                known.node_id,
                of_key(bytes_to_public_key(known.public_key)),
                known.status == NodeStatus.ONLINE,
            )
            for known in self._known()
        ]

    def names(self, roster: Mapping[str, str]) -> dict[int, str]:
        """The name of each node whose key is in a roster, whatever Flower calls the node.

        Parameters
        ----------
        roster : mapping of str to str
            Fingerprint of each site's key, by the site's name.
        """
        known_as = {key: name for name, key in roster.items()}
        return {n.number: known_as[n.key] for n in self.nodes() if n.key in known_as}

    def admit(self, sites: Keys) -> None:
        """Let these sites in and no others; what is so already stays."""
        wanted = {public_key_to_bytes(key): name for name, key in sites.items()}
        there = set()
        for node in self._known():
            if wanted.get(node.public_key) == node.name:
                there.add(node.public_key)
            else:
                _asked(self._control.UnregisterNode, UnregisterNodeRequest(node_id=node.node_id))
        for key, name in wanted.items():
            if key not in there:
                request = RegisterNodeRequest(public_key=key, name=name)
                _asked(self._control.RegisterNode, request)

    def begin_run(self) -> int:
        """Begin a run of the envelope, for a study's process to take; its number.

        Raises
        ------
        ValueError
            If Flower builds another bundle here than everywhere.
        """
        bundle, _ = build_fab_from_files(envelope_files())
        found = hashlib.sha256(bundle).hexdigest()
        if found != ENVELOPE_HASH:
            raise ValueError(
                f"expected the bundle {ENVELOPE_HASH[:12]} that sites know, found that Flower "
                f"builds {found[:12]} here; install brainjepa-federated anew, with an interpreter "
                "whose zlib is the common one"
            )
        request = StartRunRequest(fab=Fab(hash_str=found, content=bundle))
        return int(_asked(self._control.StartRun, request).run_id)

    def end_run(self, number: int) -> bool:
        """End a run before its time: sites that ask are told so. False where it has ended."""
        try:
            _asked(self._control.StopRun, StopRunRequest(run_id=number))
        except SuperLinkAway:
            return False
        return True

    def close(self) -> None:
        self._control.close()

    def _known(self) -> list[NodeInfo]:
        told = _asked(self._control.ListNodes, ListNodesRequest()).nodes_info
        return [node for node in told if node.status != NodeStatus.UNREGISTERED]


class _Bearer:
    """Shows a secret with each call."""

    def __init__(self, secret: str) -> None:
        self._shown = f"Bearer {secret}"

    def intercept(self, context: ProtobufRequestContext, call_next: ProtobufCall) -> httpx.Response:
        context.request.headers["Authorization"] = self._shown
        return call_next(context)


def _asked(call: Callable[[Request], Response], request: Request) -> Response:
    try:
        return call(request)
    except httpx.HTTPError as error:
        raise SuperLinkAway(
            f"expected the SuperLink of this consortium to answer, found {type(error).__name__}; "
            "'running/superlink.log' in its folder says more"
        ) from error


@contextmanager
def study_grid(link: SuperLink) -> Iterator[Grid]:
    """Take the run that waits at the SuperLink; the grid that reaches its sites.

    The run ends as this does: completed, or failed where an exception goes through.
    """
    token = _acquire(link)
    client = _runtime(link, RuntimeTokenHttpInterceptor(token))
    heartbeat = HeartbeatSender(make_task_heartbeat_fn_http(client))
    heartbeat.start()
    status, context = SubStatus.FAILED, None
    try:
        task = client.PullTaskInput(PullTaskInputRequest())
        context = task.context
        TaskIdentity.task_id, TaskIdentity.run_id = task.task_id, task.run.run_id
        TaskIdentity.node_id = task.context.node_id
        grid = NoticingGrid(link.address, link.certificate, token)
        grid.set_run(run_from_proto(task.run))
        try:
            yield grid
        finally:
            grid.close()
        status = SubStatus.COMPLETED
    finally:
        heartbeat.stop()
        try:
            told = "" if status == SubStatus.COMPLETED else "the study ended before its time"
            client.PushTaskOutput(
                PushTaskOutputRequest(context=context, sub_status=status, details=told)
            )
        except httpx.HTTPError:
            pass  # the SuperLink has gone: nobody is left to be told
        client.close()


def _acquire(link: SuperLink) -> str:
    """The token of a run, once there is one."""
    signed = SuperExecAuthHttpInterceptor(master_secret=link.secret, protected_methods={_ACQUIRE})
    client = _runtime(link, signed)
    wanted = AcquireTaskRequest(supported_task_types=[TaskType.SERVER_APP])
    try:
        while not (found := client.AcquireTask(wanted)).token:
            time.sleep(POLL_SECONDS)
        return found.token
    finally:
        client.close()


def _runtime(link: SuperLink, interceptor: ProtobufClientInterceptor) -> RuntimeHttpClient:
    return RuntimeHttpClient.from_server_address(
        link.address,
        insecure=False,
        root_certificates=link.certificate,
        interceptors=[RuntimeVersionHttpInterceptor(component_name="flwr-serverapp"), interceptor],
        retry_invoker=make_simple_http_retry_invoker(),
    )
