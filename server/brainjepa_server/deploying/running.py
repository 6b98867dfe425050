"""What lies in a consortium's folder while its server runs: ``running/``.

lock         held as long as it runs, however it ends
state.json   its process, ports and study, for the other commands
secret       without which nobody takes a study's task at the SuperLink; of this run alone
stop         there once the study is to stop after its round
*.log        of the SuperLink and the proxy
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from brainjepa_core.files import atomic_path

POLL_SECONDS = 0.2


@dataclass(frozen=True)
class RunningServer:
    """A server at work.

    Attributes
    ----------
    process : int
    port : int
        Of the SuperLink, on loopback.
    study : str, optional
    """

    process: int
    port: int
    study: str | None


class RunningFolder:
    """The folder ``running/`` of a consortium.

    Parameters
    ----------
    consortium : Path
    """

    def __init__(self, consortium: Path) -> None:
        self.path = consortium / "running"

    @property
    def secret(self) -> Path:
        return self.path / "secret"

    @property
    def stop(self) -> Path:
        return self.path / "stop"

    @property
    def flower_home(self) -> Path:
        return self.path / "flower-home"

    def log(self, program: str) -> Path:
        return self.path / f"{program}.log"

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Be the one server of the consortium; what an earlier one left is removed.

        Raises
        ------
        ValueError
            If another one runs.
        """
        self.path.mkdir(mode=0o700, exist_ok=True)
        with self._lock.open("a") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise ValueError(
                    f"expected no server of '{self.path.parent}' at work, found one; "
                    "'brainjepa server status' says what it does, 'brainjepa server stop' ends it"
                ) from error
            self._clear()
            try:
                yield
            finally:
                self._clear()

    def begin(self, port: int, study: str | None) -> None:
        """Write what others need to know, and a new secret for its owner's eyes only."""
        descriptor = os.open(self.secret, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_hex(32))
        with atomic_path(self._state) as temporary:
            temporary.write_text(json.dumps(asdict(RunningServer(os.getpid(), port, study))))

    def server(self) -> RunningServer | None:
        """The server at work; None where none is, or none yet."""
        if not self._held():
            return None
        try:
            return RunningServer(**json.loads(self._state.read_text()))
        except (OSError, ValueError, TypeError):  # it is about to begin, or to end
            return None

    def ask_to_stop(self, *, now: bool) -> bool:
        """Ask the server to stop, and wait until it has; whether there was one."""
        asked: RunningServer | None = None
        while self._held():
            server = self.server()
            if asked is None and server is not None:
                asked = server
                if now:
                    _terminate(server.process)
                else:
                    self.stop.touch()
            elif server is not None and server != asked:  # started again meanwhile
                break
            time.sleep(POLL_SECONDS)
        return asked is not None

    @property
    def _lock(self) -> Path:
        return self.path / "lock"

    @property
    def _state(self) -> Path:
        return self.path / "state.json"

    def _held(self) -> bool:
        try:
            with self._lock.open() as file:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except FileNotFoundError:
            return False
        except BlockingIOError:
            return True
        return False

    def _clear(self) -> None:
        for path in (self._state, self.secret, self.stop):
            path.unlink(missing_ok=True)


def _terminate(process: int) -> None:
    try:
        os.kill(process, signal.SIGTERM)
    except ProcessLookupError:  # it has just ended
        pass
    except PermissionError as error:
        raise ValueError(
            f"expected to be the user who started the server (process {process}), found another; "
            "call this as that user"
        ) from error
