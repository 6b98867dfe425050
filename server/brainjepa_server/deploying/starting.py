"""A consortium's server at work: SuperLink, proxy and a study, each a process, ended together."""

from __future__ import annotations

import errno
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime

from cryptography.hazmat.primitives.serialization import Encoding, PrivateFormat

from brainjepa_core.consortium.certificates import read_certificate, require_in_force
from brainjepa_core.consortium.keys import load_key, make_key
from brainjepa_core.consortium.kit import Kit, read_kit
from brainjepa_core.files import atomic_path, bound_log
from brainjepa_core.problems import counted
from brainjepa_server.consortium.admission import Keys, admitted_sites
from brainjepa_server.consortium.certificates import make_loopback_certificate
from brainjepa_server.consortium.consortium_folder import ConsortiumFolder
from brainjepa_server.deploying.processes import end_processes, start_process
from brainjepa_server.deploying.running import RunningFolder
from brainjepa_server.deploying.study_process import STOPPED
from brainjepa_server.deploying.superlink import SuperLink, SuperLinkAway, superlink_command

POLL_SECONDS = 0.5
BEGINNING = 180.0  # seconds for a program to be up
NOTICE = 9.0  # seconds in which each site's worker has asked whether its run goes on
_MODULES = "brainjepa_server.deploying"


class _Terminated(Exception):
    """SIGTERM came: the server stops at once, and goes on when it is started again."""


@dataclass
class Server:
    """The processes of a consortium's server.

    Attributes
    ----------
    consortium : ConsortiumFolder
    port : int
        Of the SuperLink, on loopback.
    proxied : bool
        Whether the built-in proxy is in front; else Caddy or nginx is.
    tell : callable
        Takes a line for the coordinator.
    processes : dict
        Those at work, by name.
    flower_run : int, optional
        Number of the study's run at the SuperLink.
    """

    consortium: ConsortiumFolder
    port: int
    proxied: bool
    tell: Callable[[str], None]
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    flower_run: int | None = None

    def run(self, study: str | None) -> int:
        """Run until the study ends, or it is asked to stop; an exit code.

        Parameters
        ----------
        study : str, optional
            Name of one in the consortium's folder; without one, sites can connect.

        Raises
        ------
        ValueError
            If it cannot begin, or one of its programs ended.
        """
        self.running = RunningFolder(self.consortium.path)
        with self.running.alone(), _terminable():
            try:
                self._begin(study)
                return self._watch(study)
            except _Terminated:
                self.tell("Stopped; 'brainjepa server start' goes on")
                return STOPPED if study else 0
            finally:
                try:
                    self._end_study()
                finally:
                    end_processes(reversed(self.processes.values()))

    def _begin(self, study: str | None) -> None:
        folder, kit = self.consortium, _sound_kit(self.consortium)
        self.admitted: Keys = admitted_sites(folder)
        _make_loopback(folder)
        _require_free("127.0.0.1", self.port, "give another with --superlink-port")
        if self.proxied:
            _require_free(_where(kit), kit.port, "'brainjepa server init --port' sets another")
        self.running.begin(self.port, study)
        self._start("superlink", superlink_command(
            self.port, folder.loopback_certificate, folder.loopback_key, self.running.secret
        ))  # fmt: skip
        self.link = SuperLink(
            self.port, folder.loopback_certificate, self.running.secret.read_bytes()
        )
        self._await("superlink", self.link.answers)
        self.link.admit(self.admitted)
        if self.proxied:
            self._start("proxy", [
                sys.executable, "-m", f"{_MODULES}.proxy", _where(kit), str(kit.port),
                str(folder.server_certificate), str(folder.server_key),
                str(self.port), str(folder.loopback_certificate),
            ])  # fmt: skip
            self._await("proxy", lambda: _listens(kit.port))
        known = counted(len(self.admitted), "site")
        self.tell(f"{known} admitted; they reach this server at {kit.address}")
        if study is not None:
            self.flower_run = self.link.begin_run()
            command = [sys.executable, "-m", f"{_MODULES}.study_process"]
            self._start("study", [*command, str(folder.path), str(self.port), study])

    def _start(self, name: str, command: list[str]) -> None:
        environment = {"FLWR_HOME": str(self.running.flower_home.absolute())}
        log = None if name == "study" else self.running.log(name)
        self.processes[name] = start_process(command, environment, log)

    def _await(self, name: str, up: Callable[[], bool]) -> None:
        until = time.monotonic() + BEGINNING
        while not up():
            self._require_alive()
            if time.monotonic() > until:
                raise ValueError(
                    f"expected the {name} to be up within {BEGINNING:.0f} s, found that it does "
                    f"not answer; '{self.running.log(name)}' says more"
                )
            time.sleep(POLL_SECONDS)

    def _watch(self, study: str | None) -> int:
        """Look after the processes, and let in who is admitted meanwhile."""
        while True:
            self._require_alive()
            for name in self.processes:
                bound_log(self.running.log(name))
            code = self.processes["study"].poll() if study else None
            if code is not None and code < 0:
                raise ValueError(
                    f"expected the study at work, found that it was killed (signal {-code}), such "
                    "as for want of memory; 'brainjepa server start' goes on"
                )
            if code is not None:
                return code
            if study is None and self.running.stop.exists():
                self.tell("Stopped")
                return 0
            self._admit()
            time.sleep(POLL_SECONDS)

    def _end_study(self) -> None:
        """End the study, and tell sites that are still at work for it: they stop after a step."""
        if self.flower_run is None:
            return
        end_processes(process for name, process in self.processes.items() if name == "study")
        if self.link.end_run(self.flower_run):  # it has not ended by itself
            time.sleep(NOTICE)

    def _admit(self) -> None:
        try:
            sites = admitted_sites(self.consortium)
        except ValueError:  # 'server sites' says what is wrong; those who are in stay in
            return
        if sites != self.admitted:
            try:
                self.link.admit(sites)
            except SuperLinkAway:  # as the next look at its process says
                return
            for name in sorted(sites.keys() - self.admitted.keys()):
                self.tell(f"Site '{name}' may connect")
            for name in sorted(self.admitted.keys() - sites.keys()):
                self.tell(f"Site '{name}' was revoked, and is out")
            self.admitted = sites

    def _require_alive(self) -> None:
        for name, process in self.processes.items():
            code = process.poll()
            if code is not None and name != "study":
                raise ValueError(
                    f"expected the {name} at work, found that it ended (exit code {code}); "
                    f"'{self.running.log(name)}' says why; 'brainjepa server start' goes on"
                )


@contextmanager
def _terminable() -> Iterator[None]:
    """SIGTERM is an exception while this lasts, and once only: what ends cannot be ended anew."""

    def terminate(*_: object) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        raise _Terminated

    former = signal.signal(signal.SIGTERM, terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, former)


def _sound_kit(folder: ConsortiumFolder) -> Kit:
    """The consortium's kit, where the server has what to show to sites that have it."""
    kit, now = read_kit(folder.kit), datetime.now(UTC)
    mend = "'brainjepa server init' makes it anew"
    load_key(folder.server_key, mend)
    try:
        certificate = read_certificate(folder.server_certificate.read_bytes())
    except (OSError, ValueError) as error:
        raise ValueError(
            f"expected the server's certificate in '{folder.server_certificate}', found none, or a "
            f"damaged one; {mend}"
        ) from error
    require_in_force(certificate, now, "the server's certificate", mend)
    return kit


def _make_loopback(folder: ConsortiumFolder) -> None:
    """Make what the SuperLink shows on loopback, where it is not there or has ended."""
    key, path, now = folder.loopback_key, folder.loopback_certificate, datetime.now(UTC)
    try:
        certificate = read_certificate(path.read_bytes())
        require_in_force(certificate, now, "it", "")
        if load_key(key, "").public_key() == certificate.public_key():
            return
    except (OSError, ValueError):
        pass
    made = make_loopback_certificate(make_key(key, PrivateFormat.PKCS8), now)
    with atomic_path(path) as temporary:
        temporary.write_bytes(made.public_bytes(Encoding.PEM))


def _where(kit: Kit) -> str:
    """Where the built-in proxy listens: on loopback for a trial, else on all addresses."""
    return "127.0.0.1" if kit.host in ("localhost", "127.0.0.1") else ""


def _require_free(host: str, port: int, mend: str) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            found = "another program on it"
            if error.errno in (errno.EACCES, errno.EPERM):
                found = "that this user may not"
            raise ValueError(
                f"expected to listen on port {port} of this machine, found {found}; {mend}"
            ) from error


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
