"""Engine ``inprocess``: the same two apps in one process, for tests and debugging."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from flwr.app import Context, Error, Message, RecordDict
from flwr.clientapp import ClientApp
from flwr.common.constant import ErrorCode
from flwr.serverapp import Grid, ServerApp
from flwr.supercore.run import Run
from flwr.supercore.task_identity import TaskIdentity

RUN_ID = 1


class InProcessGrid(Grid):
    """A grid whose sites answer when their reply is fetched, one after the other.

    Parameters
    ----------
    client : ClientApp
    sites : int
        Nodes 1 .. sites, with partition ids from 0.
    run_config : mapping
    """

    def __init__(self, client: ClientApp, sites: int, run_config: Mapping[str, str]) -> None:
        self._client = client
        self._contexts = {
            node: Context(
                RUN_ID,
                node,
                {"partition-id": node - 1, "num-partitions": sites},
                RecordDict(),
                dict(run_config),
            )
            for node in range(1, sites + 1)
        }
        self._waiting: dict[str, Message] = {}
        self._pushed = 0
        # What Flower's own processes set before they run an app.
        TaskIdentity.run_id, TaskIdentity.node_id, TaskIdentity.task_id = RUN_ID, 0, 1

    def set_run(self, run: Run) -> None:
        """There is one run."""

    @property
    def run(self) -> Run:
        return Run.create_empty(run_id=RUN_ID)

    def create_message(
        self,
        content: RecordDict,
        message_type: str,
        dst_node_id: int,
        group_id: str,
        ttl: float | None = None,
    ) -> Message:
        return Message(content, dst_node_id, message_type, ttl=ttl, group_id=group_id)

    def get_node_ids(self) -> Iterable[int]:
        return list(self._contexts)

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        ids = []
        for message in messages:
            self._pushed += 1
            ids.append(f"message-{self._pushed}")
            self._waiting[ids[-1]] = message
        return ids

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        for message_id in message_ids:
            if message_id in self._waiting:
                message = self._waiting.pop(message_id)
                yield self._answer(message)

    def _answer(self, message: Message) -> Message:
        """The site's reply, or as in Flower's engines an error where its app raises one."""
        try:
            return self._client(message, self._contexts[message.metadata.dst_node_id])
        except Exception as error:  # whatever a site does, the study goes on
            code = ErrorCode.CLIENT_APP_RAISED_EXCEPTION
            return Message(Error(code, type(error).__name__), reply_to=message)

    def send_and_receive(
        self, messages: Iterable[Message], *, timeout: float | None = None
    ) -> Iterable[Message]:
        return list(self.pull_messages(self.push_messages(messages)))


def run_in_process(
    server: ServerApp, client: ClientApp, sites: int, run_config: Mapping[str, str]
) -> None:
    """Run a study; returns when the coordinator is done."""
    grid = InProcessGrid(client, sites, run_config)
    context = Context(RUN_ID, 0, {}, RecordDict(), dict(run_config))
    server(grid, context)
