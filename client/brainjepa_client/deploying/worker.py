"""The site's worker: answers approved contracts with the package that is installed here alone.

It is a process of its own that stays alive between messages, so that torch is imported once. The
bundle that comes with a study is an envelope: any other one is refused, and none is ever unpacked.
``brainjepa site start`` starts it: ``python -m brainjepa_client.deploying.worker SITE.yaml PORT``.
"""

from __future__ import annotations

import hashlib
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path

from cryptography.hazmat.primitives.serialization import Encoding
from flwr.app import Message

from brainjepa_client.answering.app import app
from brainjepa_client.approving.membership import KEY, KIT
from brainjepa_client.computing.stopping import stopping_when
from brainjepa_client.consent.audit_log import FOREIGN, audit_log
from brainjepa_client.deploying.flower_parts import (
    FAILED,
    FOREIGN_BUNDLE,
    Coordinator,
    Task,
    Tasks,
    Work,
    error_reply,
)
from brainjepa_client.deploying.run_folder import RunFolder
from brainjepa_client.settings import SiteSettings
from brainjepa_client.slurm.asking import end_open_jobs
from brainjepa_core.consortium.keys import load_key
from brainjepa_core.consortium.kit import read_kit
from brainjepa_core.settings import read_settings
from brainjepa_core.version import VERSION
from brainjepa_core.wire.envelope import ENVELOPE_HASH
from brainjepa_core.wire.messages import CONTRACTS

POLL, WATCH = 0.1, 3.0  # seconds between looks for a message; at whether it is still waited for


class Worker:
    """Answers one message after the other until it is told to stop.

    Parameters
    ----------
    site_file : Path
        The site's YAML, read anew for each message.
    state : Path
        The site's state folder, which has its audit log.
    tasks : Tasks
    coordinator : Coordinator
    bundle : str
        SHA-256 (hex) of the one bundle that is answered.
    """

    def __init__(
        self, site_file: Path, state: Path, tasks: Tasks, coordinator: Coordinator, bundle: str
    ) -> None:
        self._site_file, self._state, self._bundle = site_file, state, bundle
        self._tasks, self._coordinator = tasks, coordinator
        self._stop = threading.Event()

    def stop(self) -> None:
        """End after the step at hand; what was not answered is asked again."""
        self._stop.set()

    def run(self) -> None:
        """Answer until `stop`."""
        while not self._stop.is_set():
            task = self._tasks.take()
            if task is None:
                self._stop.wait(POLL)
                continue
            with task:
                try:
                    self._serve(task)
                except Exception:  # the SuperNode ended, say: the coordinator has to ask again
                    _say("the message is lost:\n" + traceback.format_exc())

    def _serve(self, task: Task) -> None:
        work = task.pull()
        _say(f"received {work.message.metadata.message_type!r}")
        with self._watching(task, work) as asked:
            reply = self._reply(work, asked)
            task.push(reply, work.context)
        _say("handed the reply to the SuperNode")

    def _reply(self, work: Work, asked: Callable[[], bool]) -> Message:
        """What the installed package answers; nothing but its own texts leaves."""
        found = hashlib.sha256(work.bundle).hexdigest()
        if found != self._bundle:
            with suppress(OSError):  # nothing of a person leaves, so it may leave unwritten
                audit_log(self._state).append({"event": FOREIGN, "bundle": found})
            text = (
                f"expected the bundle of brainjepa-federated {VERSION}, found another, which was "
                "not opened; bring coordinator and site to one version"
            )
            return error_reply(FOREIGN_BUNDLE, text, work.message)
        # This machine's own word on which site it is, and that it answers contracts alone.
        work.context.node_config = {"site-yaml": str(self._site_file), CONTRACTS: "required"}
        try:
            with stopping_when(asked):
                return app(work.message, work.context)
        except Exception:  # an unknown kind of message; its text may hold anything
            _say(traceback.format_exc())
            text = "this site does not know that kind of message; see its log"
            return error_reply(FAILED, text, work.message)

    @contextmanager
    def _watching(self, task: Task, work: Work) -> Iterator[Callable[[], bool]]:
        """Tell the SuperNode that this process lives, and notice when nobody waits any more."""
        gone, done = threading.Event(), threading.Event()
        run, node = work.context.run_id, work.context.node_id

        def watch(is_waited_for: Callable[[], bool]) -> None:
            while not done.wait(WATCH):
                if not is_waited_for():
                    _say("nobody waits for the answer any more")
                    gone.set()
                    return

        # Two threads, for the coordinator may be slow to answer, and the SuperNode waits a minute.
        alive, wanted = (
            threading.Thread(target=watch, args=(ask,), daemon=True)
            for ask in (task.still_waited_for, lambda: self._coordinator.runs(run, node))
        )
        for thread in (alive, wanted):
            thread.start()
        try:
            yield lambda: gone.is_set() or self._stop.is_set()
        finally:
            done.set()
            alive.join()  # it uses the task, which is closed next


def _say(text: str) -> None:
    """A line of the worker's log, which stays at the site."""
    now = datetime.now().astimezone().isoformat(timespec="seconds")
    with suppress(OSError):  # a full disk keeps no answer back
        print(f"{now} {text}", flush=True)


def main(site_file: Path, port: int, bundle: str = ENVELOPE_HASH) -> None:
    """Answer for a SuperNode on this machine until SIGTERM or SIGINT."""
    settings = read_settings(site_file, SiteSettings)
    kit, key = read_kit(settings.state / KIT), load_key(settings.state / KEY, "join again")
    authority = kit.authority.public_bytes(Encoding.PEM)
    secret = RunFolder(settings.state).secret.read_bytes()
    with (
        Tasks(f"127.0.0.1:{port}", secret) as tasks,
        Coordinator(kit.address, authority, key) as coordinator,
    ):
        worker = Worker(site_file, settings.state, tasks, coordinator, bundle)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: worker.stop())
        try:
            end_open_jobs(settings.state)  # of a worker that was killed
        except ValueError as error:  # the next question looks again, and is refused while it lasts
            _say(str(error))
        _say("ready")
        worker.run()
    _say("ended")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
