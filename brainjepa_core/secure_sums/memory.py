"""A site's memory of its secure sums, on disk before an answer leaves.

A site that forgot would give itself away: two sums that differ by one site are that site's part.
So of each question and round the memory holds what the site was told, step by step; what is asked
again has to be the same, and after a sum was unmasked no other one of its round begins.
Whoever brings back an older copy of the folder makes the site forget: keep it out of restores.
"""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainjepa_core.files import atomic_path, lone_writer
from brainjepa_core.problems import plainly
from brainjepa_core.secure_sums.agreement import KEY
from brainjepa_core.secure_sums.messages import UNMASK, Message, as_field
from brainjepa_core.secure_sums.terms import SumTerms

FORMAT = 1


@dataclass(frozen=True)
class SumRecord:
    """What a site was told of one sum.

    Attributes
    ----------
    sum : str
        Hash (hex) of its terms.
    attempt : int
    told : dict of str to dict of str to str
        Fields (hex) of the messages of each step; of what was masked, its digest.
    """

    sum: str
    attempt: int
    told: dict[str, dict[str, str]] = field(default_factory=dict)


class SumMemory:
    """Secret and records of a site's sums, in a folder that is its owner's alone.

    Parameters
    ----------
    folder : Path
        Made when it is first needed. Of a study: with it, the secret goes.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @property
    def secret(self) -> bytes:
        """32 bytes that never leave the site, drawn when they are first asked for.

        Raises
        ------
        ValueError
            If what is there is no such secret.
        """
        path = self._folder / "secret"
        with self._alone():
            if not path.exists():
                with atomic_path(path) as temporary:
                    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
                    with os.fdopen(descriptor, "wb") as file:
                        file.write(secrets.token_bytes(KEY))
            secret = path.read_bytes()
        if len(secret) != KEY:
            raise ValueError(
                f"expected a secret of {KEY} bytes for secure sums, found {len(secret)}; let the "
                "study be proposed again, and begin it with a new state folder"
            )
        return secret

    def begin(self, terms: SumTerms) -> None:
        """Note that a sum begins; the same one may begin again.

        Raises
        ------
        ValueError
            If another one of its question and round was unmasked, or has the same or a later
            attempt.
        """
        with self._alone():
            record = self._read(terms)
            if record is not None and record.sum != terms.hash.hex():
                if UNMASK in record.told:
                    raise ValueError(
                        f"expected no other sum than the one that was unmasked, found {terms}: the "
                        "difference of two would be one site's part; go on with the next round"
                    )
                if terms.attempt <= record.attempt:
                    raise ValueError(
                        f"expected the sum that attempt {record.attempt + 1} of this round began "
                        f"with, or a later attempt, found another one as {terms}; begin attempt "
                        f"{record.attempt + 2}"
                    )
                record = None
            if record is None:
                self._write(terms, SumRecord(terms.hash.hex(), terms.attempt))

    def told(self, terms: SumTerms, step: str) -> Message:
        """What `note` was given.

        Raises
        ------
        ValueError
            If nothing was noted of this step, or a later attempt has begun.
        """
        with self._alone():
            fields = self._record(terms).told.get(step)
        if fields is None:
            raise ValueError(
                f"expected the steps of {terms} in their order, found one before '{step}' was "
                "answered; ask for that first"
            )
        return {name: as_field(bytes.fromhex(value)) for name, value in fields.items()}

    def note(self, terms: SumTerms, step: str, message: Mapping[str, NDArray[Any]]) -> None:
        """Write down what the site was told in a step; on disk when this returns.

        Raises
        ------
        ValueError
            If it was told something else before.
        """
        fields = {
            name: np.asarray(value, np.uint8).tobytes().hex() for name, value in message.items()
        }
        with self._alone():
            record = self._record(terms)
            if step not in record.told:
                told = {**record.told, step: fields}
                self._write(terms, SumRecord(record.sum, record.attempt, told))
            elif record.told[step] != fields:
                raise ValueError(
                    f"expected what step '{step}' of {terms} was answered for, found other sites "
                    "or other content; a step is answered once: ask for the same, or begin "
                    "another attempt"
                )

    def _record(self, terms: SumTerms) -> SumRecord:
        record = self._read(terms)
        if record is None or record.sum != terms.hash.hex():
            raise ValueError(
                f"expected a step of the sum that has begun last, found one of {terms}; ask for "
                "keys first, or go on with the later attempt"
            )
        return record

    def _path(self, terms: SumTerms) -> Path:
        return self._folder / terms.contract / f"{terms.question}-{terms.round:06d}.json"

    def _read(self, terms: SumTerms) -> SumRecord | None:
        path = self._path(terms)
        if not path.exists():
            return None
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            if content.pop("format") != FORMAT:
                raise ValueError
            return SumRecord(**content)
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise ValueError(
                f"expected this site's record of {terms}, found {plainly(error)}; without it the "
                "site takes no part in sums of this round: go on with the next one"
            ) from error

    def _write(self, terms: SumTerms, record: SumRecord) -> None:
        content = {"format": FORMAT, **record.__dict__}
        with atomic_path(self._path(terms)) as temporary:
            temporary.write_text(json.dumps(content), encoding="utf-8")

    def _alone(self) -> Any:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return lone_writer(self._folder / "lock", "into", wait=True)
