"""What a started site keeps in its state folder: ``STATE/site.run``, its owner's alone.

The secret is drawn anew at each start. Logs hold what Flower and the worker print; they stay here.
"""

from __future__ import annotations

import fcntl
import json
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from brainjepa_core.files import atomic_path, lone_writer, read_json, write_private

# A study's folder has no dot in its name: this never meets one.
FOLDER = "site.run"
STEP = 60.0  # seconds that a stop leaves the worker for the optimiser step at hand,
SENDING = 3.0  # the SuperNode for a last reply,
LEAVING = 15.0  # and for its goodbye


@dataclass(frozen=True)
class RunFolder:
    """Files of a start, in the site's state folder.

    Attributes
    ----------
    state : Path
    """

    state: Path

    @property
    def folder(self) -> Path:
        """All of it."""
        return self.state / FOLDER

    @property
    def secret(self) -> Path:
        """What worker and SuperNode know each other by."""
        return self.folder / "secret"

    @property
    def authority(self) -> Path:
        """The kit's certificate alone, as the SuperNode reads it."""
        return self.folder / "authority.crt"

    @property
    def home(self) -> Path:
        """Flower's own folder."""
        return self.folder / "flower"

    @property
    def status(self) -> Path:
        """What runs, as JSON; gone once it has ended."""
        return self.folder / "status.json"

    def log(self, part: str) -> Path:
        """What a program of the site prints."""
        return self.folder / f"{part}.log"

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Be the one start of this site.

        Raises
        ------
        ValueError
            If there is another one.
        """
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            with lone_writer(self.folder / "lock", "into", wait=False):
                yield
        except BlockingIOError as error:
            raise ValueError(
                f"expected no other start of this site, found one{self._process()}; look at it "
                "with 'brainjepa site status', or end it with 'brainjepa site stop'"
            ) from error

    def is_running(self) -> bool:
        """Whether a start of this site runs; one that was killed does not.

        Raises
        ------
        ValueError
            If this user may not see it.
        """
        try:
            with (self.folder / "lock").open() as file:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except FileNotFoundError:  # nothing was ever started
            return False
        except PermissionError as error:
            raise ValueError(
                f"expected to look into '{self.folder}', found no permission to; call this as the "
                "user who starts the site"
            ) from error
        return False

    def told(self) -> dict[str, Any]:
        """What the start that runs tells of itself; nothing before it has begun."""
        return dict(read_json(self.status)) if self.status.exists() else {}

    def tell(self, status: dict[str, Any]) -> None:
        """Write what runs."""
        with atomic_path(self.status) as temporary:
            temporary.write_text(json.dumps(status, indent=1) + "\n", encoding="utf-8")

    def begin(self, authority: bytes) -> None:
        """Draw a secret, and lay out the certificate (PEM)."""
        self.home.mkdir(exist_ok=True)
        write_private(self.secret, secrets.token_bytes(32))
        with atomic_path(self.authority) as temporary:
            temporary.write_bytes(authority)

    def _process(self) -> str:
        told = self.told()
        return f" (process {told['pid']})" if "pid" in told else ""
