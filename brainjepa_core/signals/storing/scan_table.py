"""The table of a store: one line of facts a scan, added in one piece, torn lines left out."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainjepa_core.atlas import Atlas
from brainjepa_core.files import atomic_path, complete_lines
from brainjepa_core.problems import plainly
from brainjepa_core.volume_grid import VolumeGrid

TABLE = "scans.jsonl"

Key = tuple[str, str, str]
"""Subject, session and run."""


@dataclass(frozen=True)
class Volumes:
    """What is known of the volumes of a scan, which has one a frame.

    Attributes
    ----------
    grid : VolumeGrid
    sha256 : str
        Of the array's shape and bytes.
    """

    grid: VolumeGrid
    sha256: str


@dataclass(frozen=True)
class ScanRecord:
    """What is known of a scan. It never leaves the site.

    Attributes
    ----------
    subject, session, run : str
        Together they name the scan in its store.
    tr : float
        Repetition time in seconds.
    frames : int
        F.
    sha256 : str
        Of the array's bytes.
    missing : tuple of str
        ROIs without a signal (`brainjepa_core.usable.live_rois`).
    qc : dict
        Numbers such as ``mean_fd`` (mm).
    phenotypes : dict
        Columns of the participants table.
    volumes : Volumes, optional
        Where the store has the scan's volumes beside its series.
    """

    subject: str
    tr: float
    frames: int
    sha256: str
    session: str = ""
    run: str = ""
    missing: tuple[str, ...] = ()
    qc: dict[str, float] = field(default_factory=dict)
    phenotypes: dict[str, Any] = field(default_factory=dict)
    volumes: Volumes | None = None

    @property
    def key(self) -> tuple[str, str, str]:
        """Subject, session and run."""
        return self.subject, self.session, self.run


def array_digest(array: NDArray[Any]) -> str:
    """SHA-256 of a scan's shape and bytes."""
    digest = hashlib.sha256(repr(array.shape).encode())
    for part in array:  # volumes are larger than a copy of them should be
        digest.update(part.tobytes())
    return digest.hexdigest()


def content_of(record: ScanRecord) -> str:
    """What a scan's series, and volumes where it has some, are known by."""
    series = f"{record.sha256} {record.tr!r}"
    return series if record.volumes is None else f"{series} {record.volumes.sha256}"


def fingerprint_of(atlas: Atlas, records: Iterable[ScanRecord]) -> str:
    """SHA-256 over atlas and scans, whatever their order; says nothing about either."""
    scans = sorted(map(content_of, records))
    return hashlib.sha256("\n".join([atlas.fingerprint, *scans]).encode()).hexdigest()


def line_of(record: ScanRecord) -> str:
    """A scan's facts as a line.

    Raises
    ------
    ValueError
        If qc or phenotypes hold what is neither text nor a number.
    """
    facts = asdict(record)
    if record.volumes is None:
        del facts["volumes"]
    return json.dumps(facts, default=_plain)


def as_read(record: ScanRecord) -> ScanRecord:
    """The record as it will be read back: numpy's numbers are Python's."""
    return _record(json.loads(line_of(record)))


def write_table(path: Path, records: Iterable[ScanRecord]) -> None:
    """Write a whole table in one step."""
    lines = [f"{line_of(record)}\n" for record in records]
    with atomic_path(path) as temporary:
        temporary.write_text("".join(lines))


def _plain(value: Any) -> Any:
    """A numpy number as Python's."""
    if isinstance(value, np.generic):
        return value.item()
    raise ValueError(
        f"expected text or numbers in qc and phenotypes, found {type(value).__name__}; convert it"
    )


def read_table(path: Path) -> list[ScanRecord]:
    """Records of the complete lines of the table."""
    if not path.exists():
        return []
    table = path.read_bytes()
    lines = table[: complete_lines(table)].split(b"\n")[:-1]
    records = []
    for number, line in enumerate(lines, start=1):
        try:
            records.append(_record(json.loads(line)))
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            raise ValueError(
                f"expected a scan's facts in line {number} of {TABLE}, found "
                f"{plainly(error)}; restore the file, or import the scans again"
            ) from error
    return records


def _record(facts: dict[str, Any]) -> ScanRecord:
    record = ScanRecord(
        **{
            **facts,
            "missing": tuple(facts["missing"]),
            "volumes": _volumes(facts.get("volumes")),
        }
    )
    texts = (*record.key, record.sha256, *record.missing)
    numbers = (record.tr, record.frames)
    if not all(isinstance(text, str) for text in texts) or not all(
        isinstance(number, int | float) and number > 0 for number in numbers
    ):
        raise TypeError
    return record


def _volumes(facts: dict[str, Any] | None) -> Volumes | None:
    if facts is None:
        return None
    grid, sha256 = facts["grid"], facts["sha256"]
    x, y, z = grid["size"]
    if not isinstance(sha256, str):
        raise TypeError
    return Volumes(VolumeGrid((int(x), int(y), int(z)), float(grid["mm"])), sha256)
