"""A private round: who is drawn and what noise is added, by what this site alone knows.

Both are functions of the site's secret and of all that decides what is computed. Were a round
computed anew from anything else, such as other people or other states, under the same noise, the
difference of the two answers would be without noise. So whatever differs is another answer, which
the ledger refuses.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from brainjepa_client.computing.state import newest_earlier
from brainjepa_client.guarding.privacy_budget import release_at, told_people
from brainjepa_client.settings import SiteSettings
from brainjepa_core.arrays import Arrays
from brainjepa_core.files import room_for
from brainjepa_core.models.interface import BrainModel
from brainjepa_core.pretraining.parallel.processes import ALONE, Processes
from brainjepa_core.pretraining.sampling import Batch
from brainjepa_core.privacy.gradient import PrivateGradient
from brainjepa_core.privacy.sampling import PoissonSampling, private_batches_of_step
from brainjepa_core.privacy.secret import LEAST, RequestSecret
from brainjepa_core.privacy.settings import PrivacySettings
from brainjepa_core.privacy.study import learning_people
from brainjepa_core.signals.storing.store import ScanStore
from brainjepa_core.signals.windows import Windows
from brainjepa_core.version import VERSION
from brainjepa_core.wire.messages import Assignment, Request

SECRET = "privacy_secret"
GRID = 2.0**20  # weights leave as multiples of 1 / GRID, without the noise's last bits


@dataclass(frozen=True)
class PrivateRound:
    """What makes a round private.

    Attributes
    ----------
    protection : PrivacySettings
    sampling : PoissonSampling
        Whose secret is the noise's too.
    """

    protection: PrivacySettings
    sampling: PoissonSampling

    @classmethod
    def of(cls, site: SiteSettings, request: Request, store: ScanStore) -> PrivateRound:
        """That of a request whose study is private."""
        assignment = request.assignment
        assert assignment.privacy is not None
        release = release_at(site, assignment.privacy, assignment, store)
        told = site.policy.rounded(len(told_people(store)))
        secret = RequestSecret(privacy_secret(site.state), _answer_of(site, request, store))
        expected = assignment.pretraining.training.batch_size
        sampling = PoissonSampling(secret, expected, learning_people(told, assignment.folds))
        return cls(assignment.privacy.protection(release), sampling)

    @property
    def answer(self) -> str:
        """SHA-256 (hex) of all that decides what is computed."""
        return self.sampling.secret.request

    def gradient(
        self,
        model: BrainModel,
        assignment: Assignment,
        site: SiteSettings,
        processes: Processes = ALONE,
    ) -> PrivateGradient:
        """That of the round's steps, one after the other."""
        training = assignment.pretraining.training
        secret, first = self.sampling.secret, assignment.first_step
        where = torch.device(site.device), site.computing, processes
        return PrivateGradient(model, training, self.protection, secret, first, *where)

    def batches(
        self,
        windows: Windows,
        model: BrainModel,
        assignment: Assignment,
        parts: slice = slice(None),
    ) -> Iterator[list[Batch]]:
        """Micro-batches of each step of the round: all, or those parts of them."""
        training, first = assignment.pretraining.training, assignment.first_step
        for step in range(first, first + assignment.steps):
            yield private_batches_of_step(windows, model, training, step, self.sampling, parts)

    def drawn(self, windows: Windows, assignment: Assignment) -> list[int]:
        """Which people the round's steps see, ascending."""
        steps = range(assignment.first_step, assignment.first_step + assignment.steps)
        draws = (draw for step in steps for draw in self.sampling.draws(step, windows.subjects))
        return sorted({draw.subject for draw in draws})


def on_grid(weights: Arrays) -> Arrays:
    """Weights as multiples of 1 / `GRID`: last bits of floating-point noise tell of what it hides.

    (Mironov, CCS 2012.)
    """
    return {
        name: (np.rint(value.astype(np.float64) * GRID) / GRID).astype(value.dtype)
        for name, value in weights.items()
    }


def privacy_secret(state: Path) -> bytes:
    """The site's secret of draws and noise, drawn the first time it is asked for.

    Raises
    ------
    ValueError
        If the file holds another thing.
    """
    path = state / SECRET
    state.mkdir(parents=True, exist_ok=True)
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return _read_secret(path)
    text = secrets.token_hex(LEAST)
    with room_for(path), os.fdopen(descriptor, "w") as file:
        file.write(f"{text}\n")
        file.flush()
        os.fsync(file.fileno())
    return bytes.fromhex(text)


def _read_secret(path: Path) -> bytes:
    try:
        found = bytes.fromhex(path.read_text().strip())
    except ValueError:
        found = b""
    if len(found) != LEAST:
        raise ValueError(
            f"expected {2 * LEAST} hexadecimal digits in '{path}', found other text; restore the "
            "file: with another secret, rounds that are asked again would be answered otherwise"
        )
    return found


def _answer_of(site: SiteSettings, request: Request, store: ScanStore) -> str:
    told = [
        request.kind,
        request.assignment.model_dump_json(),
        request.digest,
        store.fingerprint,
        newest_earlier(site.state, request.assignment),
        site.policy.reset_optimizer,
        site.trainer.deciding,
        site.computing.model_dump(mode="json"),
        VERSION,
    ]
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()
