"""Who has withdrawn from a store, without a name: salted fingerprints of labels of people.

They are there so that scans which still lie somewhere do not come back with the next import. The
salt keeps a list of all possible labels from being compared with many sites' files at once; whoever
has this file and a label can tell whether it is in it, which is what it is for.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from brainjepa_core.files import atomic_path
from brainjepa_core.problems import plainly
from brainjepa_core.signals.tables.labels import person_label

WITHDRAWN = "withdrawn.jsonl"


class WithdrawnPerson(ValueError):
    """A scan of a person who has been taken out of the store for good."""

    def __init__(self) -> None:
        super().__init__(
            "expected a scan of a person who takes part, found one who was taken out (site "
            "remove); leave the scan out"
        )


class Fingerprint(NamedTuple):
    """A person's label, hashed with a salt; both are hexadecimal."""

    salt: str
    person: str

    @classmethod
    def of(cls, label: str, salt: str) -> Fingerprint:
        """SHA-256 of salt and label; with or without ``sub-`` it is the same."""
        text = f"{salt} {person_label(label)}"
        return cls(salt, hashlib.sha256(text.encode()).hexdigest()[:32])


def is_among(label: str, people: Iterable[Fingerprint]) -> bool:
    """Whether one of the fingerprints is that of a person of this label."""
    return any(Fingerprint.of(label, known.salt) == known for known in people)


class WithdrawnPeople:
    """The list of a store, as it is now.

    Parameters
    ----------
    store : Path
        Folder of the store.

    Raises
    ------
    ValueError
        If the list is damaged: then nobody can say who may be let in.
    """

    def __init__(self, store: Path) -> None:
        self._path = store / WITHDRAWN
        lines = self._path.read_text().splitlines() if self._path.exists() else []
        self._people: set[Fingerprint] = set()
        for number, line in enumerate(lines, start=1):
            try:
                self._people.add(Fingerprint(**json.loads(line)))
            except (ValueError, TypeError) as error:
                raise ValueError(
                    f"expected salt and person in line {number} of {WITHDRAWN}, found "
                    f"{plainly(error)}; restore the file: it says who has withdrawn"
                ) from error

    def has(self, label: str) -> bool:
        """Whether a person of this label has withdrawn."""
        return is_among(label, self._people)

    def with_others(self, people: Iterable[Fingerprint]) -> WithdrawnPeople:
        """Add people to the file, in one step."""
        more = set(people) - self._people
        if more:
            self._people |= more
            with atomic_path(self._path) as temporary:
                lines = [json.dumps(person._asdict()) for person in sorted(self._people)]
                temporary.write_text("\n".join(lines) + "\n")
        return self
