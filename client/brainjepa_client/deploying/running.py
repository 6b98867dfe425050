"""A site that takes part: its SuperNode and its worker, kept alive until they are stopped."""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from cryptography.hazmat.primitives.serialization import Encoding

from brainjepa_client.approving.membership import KEY, KIT, has_left
from brainjepa_client.deploying.parts import Part
from brainjepa_client.deploying.run_folder import LEAVING, SENDING, STEP, RunFolder
from brainjepa_client.settings import SiteSettings
from brainjepa_core.consortium.certificates import require_in_force
from brainjepa_core.consortium.keys import load_key
from brainjepa_core.consortium.kit import Kit, read_kit
from brainjepa_core.wire.flower_environment import FLOWER_ENVIRONMENT

TICK = 0.5  # seconds between looks at the programs
SUPERNODE, WORKER = "supernode", "worker"
_MODULES = "brainjepa_client.deploying"
_CONNECTED = "connected to the coordinator"
_SIGNS = {
    "SuperNode ID:|Connection successful": _CONNECTED,
    "Connection attempt failed, retrying": "waiting: the coordinator does not answer, and is asked "
    "again; if it lasts, 'brainjepa site preflight' looks for the reason",
}
_REASONS = {
    "Failed to activate SuperNode": "refused by the coordinator, and asks again: it counts a "
    "SuperNode that was killed as there for a minute; if it lasts, ask the coordinator whether "
    "this site's key is admitted, and whether another machine uses it",
    "SuperNode terminated gracefully|401 Unauthorized": "turned away by the coordinator, and asks "
    "again: this machine's clock is wrong, this site's key was revoked, or the coordinator has "
    "just been started anew; if it lasts, 'brainjepa site preflight' looks for the reason",
    "address already in use": "expected the port of 127.0.0.1 that this start has taken, found "
    "another program on it; stop the site and start it anew",
    "SSL/TLS handshake error|CERTIFICATE_VERIFY_FAILED": "expected the coordinator's certificate, "
    "found another one; 'brainjepa site preflight' says whose",
}
_WORKER_SIGNS = {
    r"^\S+ (ready|handed the reply)": "ready",
    r"^\S+ received ": "answering",
    r"^\S+ ended": "stopped",
}


def joined_kit(state: Path, now: datetime) -> Kit:
    """The kit of the consortium that a site has joined, with the site's key beside it.

    Raises
    ------
    ValueError
        If there is none, or kit or key are damaged or not in force, or the site has withdrawn.
    """
    if has_left(state):
        raise ValueError(
            "expected a site that belongs to a consortium, found that it has withdrawn from it; to "
            "take part again, join anew (brainjepa site join KIT SITE.yaml)"
        )
    for name in (KIT, KEY):
        if not (state / name).exists():
            raise ValueError(
                f"expected a site that has joined a consortium, found no '{state / name}'; join "
                "first (brainjepa site join KIT SITE.yaml)"
            )
    kit = read_kit(state / KIT)
    load_key(state / KEY, "remove it and join again")
    mend = "ask the coordinator: a consortium begins anew when its authority has ended"
    require_in_force(kit.authority, now, "the kit's certificate", mend)
    return kit


def run(site_file: Path, settings: SiteSettings, say: Callable[[str], None]) -> None:
    """Run SuperNode and worker until SIGTERM, SIGINT or SIGHUP; whatever ends is started anew.

    Parameters
    ----------
    site_file : Path
    settings : SiteSettings
    say : callable
        Told a line when something changes.

    Raises
    ------
    ValueError
        If the site has not joined, or another start of it runs.
    """
    kit = joined_kit(settings.state, datetime.now(UTC))
    folder, stopped = RunFolder(settings.state), threading.Event()
    with folder.alone(), _kept_port() as port:
        folder.begin(kit.authority.public_bytes(Encoding.PEM))
        parts = _parts(site_file, settings.state, kit, folder, port)
        told = {"pid": os.getpid(), "site": settings.name, "coordinator": kit.address}
        handlers = {
            number: signal.signal(number, lambda *_: stopped.set())
            for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
        }
        try:
            _tend(parts, folder, told, stopped, say)
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)
            _end(parts, say)
            folder.status.unlink(missing_ok=True)


def _tend(
    parts: list[Part],
    folder: RunFolder,
    told: dict[str, object],
    stopped: threading.Event,
    say: Callable[[str], None],
) -> None:
    """Keep the programs alive, and tell what changes on the terminal and in the status."""
    since, before = datetime.now().astimezone().isoformat(timespec="seconds"), None
    said: dict[str, str] = {}
    supernode, worker = parts
    while not stopped.is_set():
        ends = worker.ends
        for part in parts:
            part.tend()
        if worker.ends > ends:
            # It may wait for an answer that died with the worker, and takes no other question
            # meanwhile; as it leaves, the coordinator is told, and asks the new one again.
            supernode.stop(LEAVING)
        for part in parts:
            if said.get(part.name) != part.state:
                said[part.name] = part.state
                say(f"{part.name}: {part.state}")
        now = {p.name: {"state": p.state, "pid": p.pid, "ends": p.ends} for p in parts}
        if now != before:
            with suppress(OSError):  # a full disk ends nothing that has room
                folder.tell({**told, "since": since, "parts": now})
            before = now
        stopped.wait(TICK)


def _end(parts: list[Part], say: Callable[[str], None]) -> None:
    """First the worker, whose last words the SuperNode takes along."""
    say("stopping after the step at hand")
    supernode, worker = parts
    busy = worker.state == "answering"
    worker.stop(STEP)
    if busy:
        time.sleep(SENDING)
    supernode.stop(LEAVING)
    say("stopped")


def _parts(site_file: Path, state: Path, kit: Kit, folder: RunFolder, port: int) -> list[Part]:
    supernode = [
        *(sys.executable, "-m", f"{_MODULES}.supernode_program"),
        *("--superlink", kit.address, "--root-certificates", str(folder.authority)),
        *("--auth-supernode-private-key", str(state / KEY)),
        *("--isolation", "process", "--superexec-auth-secret-file", str(folder.secret)),
        *("--host", "127.0.0.1", "--port", str(port)),
    ]
    worker = [sys.executable, "-m", f"{_MODULES}.worker", str(site_file.absolute()), str(port)]
    around = environment(folder)
    return [
        Part(SUPERNODE, supernode, around, folder.log(SUPERNODE), _SIGNS, _REASONS),
        Part(WORKER, worker, around, folder.log(WORKER), _WORKER_SIGNS, {}),
    ]


def environment(folder: RunFolder) -> dict[str, str]:
    """What both programs inherit; no proxy is asked for what stays on this machine."""
    spared = os.environ.get("no_proxy") or os.environ.get("NO_PROXY") or ""
    spared = ",".join([*filter(None, spared.split(",")), "127.0.0.1", "localhost"])
    home = str(folder.home.absolute())
    own = {"FLWR_HOME": home, "no_proxy": spared, "NO_PROXY": spared}
    return {**os.environ, **FLOWER_ENVIRONMENT, **own}


@contextmanager
def _kept_port() -> Iterator[int]:
    """A free port of loopback that stays the site's, between two lives of its SuperNode too.

    A socket that is bound and does not listen keeps it: the system gives the port to nobody who
    asks for any, and a program that asks for this one and may share it (``SO_REUSEADDR``, as the
    SuperNode's own server) gets it.
    """
    with socket.socket() as keeper:
        keeper.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        keeper.bind(("127.0.0.1", 0))
        yield int(keeper.getsockname()[1])
