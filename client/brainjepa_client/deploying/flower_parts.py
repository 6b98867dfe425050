"""What a site uses of Flower's insides, beside `supernode_program`: held still by `FLOWER`'s pin.

A SuperNode in process isolation keeps each message as a task, which whoever has its secret may
take. Flower's own client of that interface starts a process a message and runs what the bundle
holds; this one gives message and bundle to its caller, who decides.
"""

from __future__ import annotations

from dataclasses import dataclass
from http import HTTPStatus
from typing import Self

import httpx
from cryptography.hazmat.primitives.asymmetric import ec
from flwr.app import Context, Message
from flwr.app.error import Error
from flwr.common.constant import HEARTBEAT_DEFAULT_INTERVAL, ErrorCode, SubStatus
from flwr.proto.fleet_pb2 import ActivateNodeRequest, DeactivateNodeRequest
from flwr.proto.node_pb2 import Node
from flwr.proto.run_pb2 import GetRunRequest
from flwr.proto.runtime_pb2 import AcquireTaskRequest, SendTaskHeartbeatRequest
from flwr.supercore.constant import TaskType
from flwr.supercore.interceptors import (
    RuntimeTokenHttpInterceptor,
    RuntimeVersionHttpInterceptor,
    SuperExecAuthHttpInterceptor,
)
from flwr.supercore.primitives.asymmetric import public_key_to_bytes
from flwr.supercore.protobuf.client import ProtobufClientInterceptor
from flwr.supercore.protobuf.constants import PROTOBUF_MEDIA_TYPE
from flwr.supercore.runtime import RuntimeHttpClient
from flwr.supernode.fleet_http_client import FleetHttpClient
from flwr.supernode.node_auth_http_interceptor import NodeAuthHttpInterceptor
from flwr.supernode.runtime.run_clientapp import pull_task_input, push_message, push_task_output

FLOWER = "1.41"
_GUARDED = {"/flwr.proto.Runtime/AcquireTask"}
MEDIA_TYPE = PROTOBUF_MEDIA_TYPE
FOREIGN_BUNDLE, FAILED = ErrorCode.INVALID_FAB, ErrorCode.CLIENT_APP_RAISED_EXCEPTION


@dataclass(frozen=True)
class Work:
    """What a task asks.

    Attributes
    ----------
    message : Message
    context : Context
    bundle : bytes
        The code that came with it, packed; never run or unpacked here.
    """

    message: Message
    context: Context
    bundle: bytes


class Task:
    """A message that this process has taken, and nobody else answers now."""

    def __init__(self, address: str, token: str) -> None:
        self._client = _runtime(address, RuntimeTokenHttpInterceptor(token))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def pull(self) -> Work:
        """The message, whole."""
        message, context, _, bundle = pull_task_input(self._client)
        return Work(message, context, bundle.content)

    def still_waited_for(self) -> bool:
        """Tell the SuperNode that this process lives; False where it does not know the task.

        Without a word for a minute it tells the coordinator that the site's app crashed.
        """
        try:
            return bool(self._client.SendTaskHeartbeat(SendTaskHeartbeatRequest()).success)
        except httpx.HTTPStatusError as error:
            return error.response.is_server_error
        except (httpx.TransportError, ValueError):
            return True  # of a SuperNode that is started anew, or busy: the next one will tell

    def push(self, reply: Message, context: Context) -> None:
        """Hand the reply to the SuperNode, which sends it."""
        push_message(self._client, reply, context)
        push_task_output(self._client, None, SubStatus.COMPLETED, "")


class Tasks:
    """The messages of a SuperNode that runs on this machine.

    Parameters
    ----------
    address : str
        ``127.0.0.1:PORT``.
    secret : bytes
        That the SuperNode was started with.
    """

    def __init__(self, address: str, secret: bytes) -> None:
        guard = SuperExecAuthHttpInterceptor(master_secret=secret, protected_methods=_GUARDED)
        self._address, self._client = address, _runtime(address, guard)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def take(self) -> Task | None:
        """The next message; none where there is none, or the SuperNode is not up.

        Raises
        ------
        ValueError
            If the SuperNode has another secret.
        """
        try:
            # Flower knows other kinds of tasks (agents, models), whose code comes from elsewhere.
            wanted = AcquireTaskRequest(supported_task_types=[TaskType.CLIENT_APP])
            got = self._client.AcquireTask(wanted)
        except httpx.TransportError:
            return None
        except httpx.HTTPStatusError as error:
            if error.response.status_code != HTTPStatus.UNAUTHORIZED:
                raise
            raise ValueError(
                f"expected a SuperNode at {self._address} that knows this worker's secret, found "
                "one that refuses it; end what listens there, and start the site anew"
            ) from error
        return Task(self._address, got.token) if got.HasField("task") and got.token else None


class Coordinator:
    """What a site may ask the coordinator beside its SuperNode, with the site's own key.

    Parameters
    ----------
    address : str
    authority : bytes
        The consortium's certificate, in PEM.
    key : ec.EllipticCurvePrivateKey
    """

    def __init__(self, address: str, authority: bytes, key: ec.EllipticCurvePrivateKey) -> None:
        self._key = public_key_to_bytes(key.public_key())
        self._client = FleetHttpClient.from_server_address(
            address,
            insecure=False,
            root_certificates=authority,
            interceptors=[
                RuntimeVersionHttpInterceptor(component_name="SuperNode"),
                NodeAuthHttpInterceptor(key, key.public_key()),
            ],
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def runs(self, run: int, node: int) -> bool:
        """Whether a run goes on: False once it was stopped, True where nobody says so."""
        try:
            self._client.GetRun(GetRunRequest(node=Node(node_id=node), run_id=run))
        except httpx.HTTPStatusError as error:
            return error.response.status_code != HTTPStatus.FORBIDDEN
        except (httpx.TransportError, ValueError):  # no answer, or none of Flower's
            pass
        return True

    def admits(self) -> bool:
        """Whether a SuperNode with this key would be let in now; lets it in and out again.

        Raises
        ------
        ValueError
            If the coordinator does not say.
        """
        interval = HEARTBEAT_DEFAULT_INTERVAL
        asked = ActivateNodeRequest(public_key=self._key, heartbeat_interval=interval)
        try:
            node = self._client.ActivateNode(asked).node_id
            self._client.DeactivateNode(DeactivateNodeRequest(node_id=node))
        except httpx.HTTPStatusError as error:
            if error.response.status_code == HTTPStatus.PRECONDITION_FAILED:
                return False
            raise ValueError(
                "expected the coordinator to say whether it admits this site's key, found an "
                f"answer of status {error.response.status_code}; ask the coordinator whether its "
                "server runs well"
            ) from error
        except httpx.TransportError as error:
            raise ValueError(
                "expected the coordinator to say whether it admits this site's key, found a "
                "connection that failed; try again"
            ) from error
        return True


def error_reply(code: int, text: str, message: Message) -> Message:
    """A reply that is an error of Flower's; the text travels."""
    return Message(Error(code, text), reply_to=message)


def _runtime(address: str, interceptor: ProtobufClientInterceptor) -> RuntimeHttpClient:
    """A client that fails at once: Flower's retries would end this process where it is refused."""
    version = RuntimeVersionHttpInterceptor(component_name="flwr-clientapp")
    return RuntimeHttpClient.from_server_address(
        server_address=address,
        insecure=True,  # on loopback alone
        root_certificates=None,
        interceptors=[version, interceptor],
    )
