"""Question and answer as files between a worker and what computes for it, the owner's alone.

What computes is a job of the site's cluster (``STATE/slurm.jobs``), or the processes of its devices
(``STATE/site.processes``). A question is a folder there, whose files are written whole:

script            what Slurm runs
question.json     kind, assignment, fingerprint of the store that was judged, the site's settings
question.bin      arrays of the request, packed as on the wire
job               number of the job, as long as it is not over
answer.bin, answer.json   the answer, the second one last
job.log           what the job printed; it stays
"""

from __future__ import annotations

import json
import shutil
import uuid
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from brainjepa_client.settings import SiteSettings
from brainjepa_core.arrays import Arrays
from brainjepa_core.files import read_json, write_private
from brainjepa_core.wire.messages import Assignment, Reply, Request, told_round
from brainjepa_core.wire.packing import pack_arrays, unpack_arrays

LOG = "job.log"
KEPT_LOGS = 50  # questions whose logs are kept
_QUESTION, _ANSWER, _JOB, _SCRIPT = "question", "answer", "job", "script"


class JobFailed(Exception):
    """The program of a job raised an error, which its log holds in full; the name of its class."""


@dataclass(frozen=True)
class Exchange:
    """The folder of one question.

    Attributes
    ----------
    folder : Path
    """

    folder: Path

    @property
    def log(self) -> Path:
        return self.folder / LOG

    @property
    def script(self) -> Path:
        return self.folder / _SCRIPT

    @property
    def job(self) -> str | None:
        """Number of the job that is not known to be over."""
        with suppress(FileNotFoundError):
            return (self.folder / _JOB).read_text().strip() or None
        return None

    def note_job(self, number: str) -> None:
        """Write the job's number, so that it is ended whatever becomes of the worker."""
        write_private(self.folder / _JOB, f"{number}\n".encode())

    def ask(self, settings: SiteSettings, request: Request, store: str, script: str = "") -> None:
        """Write a question.

        Parameters
        ----------
        settings : SiteSettings
            Of the job, with absolute paths.
        request : Request
        store : str
            Fingerprint of the store from which it may be answered.
        script : str
            Of a job.
        """
        about = {
            "kind": request.kind,
            "assignment": request.assignment.model_dump(mode="json"),
            "store": store,
            "site": settings.model_dump(mode="json"),
        }
        self._write(_QUESTION, request.arrays, about)
        if script:
            write_private(self.script, script.encode())

    def question(self) -> tuple[SiteSettings, Request, str]:
        """What `ask` was given, without the script."""
        about = read_json(self.folder / f"{_QUESTION}.json")
        assignment = Assignment.model_validate(about["assignment"])
        request = Request(about["kind"], assignment, self._arrays(_QUESTION))
        return SiteSettings.model_validate(about["site"]), request, about["store"]

    def answer(self, reply: Reply) -> None:
        """Write an answer."""
        about = {"metrics": reply.metrics, "refusal": reply.refusal}
        self._write(_ANSWER, reply.arrays, about)

    def fail(self, error: Exception) -> None:
        """Write that there is none, and the class of the error alone."""
        self._write(_ANSWER, {}, {"failed": type(error).__name__})

    def reply(self) -> Reply | None:
        """The answer; None as long as there is none.

        Raises
        ------
        JobFailed
            If the job has met an error.
        """
        path = self.folder / f"{_ANSWER}.json"
        if not path.exists():
            return None
        about = read_json(path)
        if "failed" in about:
            raise JobFailed(about["failed"])
        return Reply(about["metrics"], self._arrays(_ANSWER), about["refusal"])

    def close(self) -> None:
        """Remove all but the log, once the job is over."""
        for path in self.folder.iterdir():
            if path.name != LOG:
                path.unlink()

    def _write(self, name: str, arrays: Arrays, about: dict[str, Any]) -> None:
        write_private(self.folder / f"{name}.bin", pack_arrays(arrays).tobytes())
        write_private(self.folder / f"{name}.json", json.dumps(about).encode())

    def _arrays(self, name: str) -> Arrays:
        return unpack_arrays(np.fromfile(self.folder / f"{name}.bin", np.uint8))


def new_exchange(place: Path, request: Request) -> Exchange:
    """A folder for a question; of those that are over, the newest stay with their logs."""
    place.mkdir(mode=0o700, parents=True, exist_ok=True)
    for old in sorted(place.iterdir(), key=lambda path: path.stat().st_mtime)[:-KEPT_LOGS]:
        shutil.rmtree(old)
    assignment = request.assignment
    name = f"{assignment.study_id}.{request.kind}-{told_round(assignment.round)}"
    made = place / f"{name}.{uuid.uuid4().hex[:8]}"
    made.mkdir(mode=0o700)
    return Exchange(made)


def open_exchanges(place: Path) -> list[Exchange]:
    """Questions that a worker has left when it was killed."""
    found = sorted({path.parent for path in place.glob("*/*") if path.name != LOG})
    return [Exchange(folder) for folder in found]
