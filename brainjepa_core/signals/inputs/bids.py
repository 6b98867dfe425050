"""Files of a BIDS derivative dataset, and the facts beside them.

Folders are walked here, since bids2table's index passes over datasets whose folder has a dot in its
name (``fmriprep-23.2.1``) and people whose label is not ASCII, without a word.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from brainjepa_core.problems import plainly, value_in_words
from brainjepa_core.signals.problems import ScanProblem, is_there
from brainjepa_core.signals.tables.bids_names import bids_entities, scan_key
from brainjepa_core.usable import TR_RANGE

TR_TOLERANCE = 0.01  # seconds; headers are float32, sidecars often rounded to milliseconds


@dataclass(frozen=True)
class BidsFile:
    """A file and the entities of its name; ``suffix`` and ``ext`` are among them."""

    path: Path
    entities: Mapping[str, str]

    def __getitem__(self, entity: str) -> str:
        """Value of an entity, empty where the name does not have it."""
        return self.entities.get(entity, "")

    @property
    def key(self) -> tuple[str, str, str]:
        """Subject, session and run of the scan it belongs to, as the store names them."""
        return scan_key(self.entities)


def walk_functional(root: Path) -> tuple[list[BidsFile], list[ScanProblem]]:
    """Files of ``sub-*/[ses-*/]func`` in order of their paths.

    A name in another encoding than UTF-8 is a problem: nothing could be written about it.
    """
    files, problems = [], []
    for subject in _folders(root, "sub-"):
        for parent in (subject, *_folders(subject, "ses-")):
            functional = parent / "func"
            for name in sorted(os.listdir(functional)) if functional.is_dir() else ():
                if not name.startswith("sub-"):
                    continue
                try:
                    files.append(_parse(functional / name))
                except ScanProblem as problem:
                    problems.append(problem)
    return files, problems


def _folders(parent: Path, prefix: str) -> list[Path]:
    with os.scandir(parent) as entries:
        return sorted(Path(e.path) for e in entries if e.name.startswith(prefix) and e.is_dir())


def _parse(path: Path) -> BidsFile:
    try:
        path.name.encode()
    except UnicodeEncodeError as error:
        raise ScanProblem(
            path.name.encode(errors="replace").decode(),
            "a file name in UTF-8",
            "bytes of another encoding",
            "rename the file (convmv does whole folders)",
        ) from error
    return BidsFile(path, bids_entities(path.name))


def read_sidecar(path: Path) -> dict[str, Any]:
    """Content of a JSON sidecar; empty where there is none.

    Raises
    ------
    ScanProblem
        If it is there and is no JSON object.
    """
    if not is_there(path):
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
        if isinstance(content, dict):
            return content
        found = value_in_words(content)
    except (OSError, ValueError, RecursionError) as error:
        found = plainly(error)
    raise ScanProblem(path, "a JSON object", found, "write the sidecar again, or remove it")


def repetition_time(image: Path, header: float, sidecar: Path, told: float | None = None) -> float:
    """Repetition time in seconds: what the site said, or what header and sidecar agree on.

    Parameters
    ----------
    image : Path
    header : float
        Seconds by the image's header; 0 or NaN where it does not say.
    sidecar : Path
        JSON that may hold ``RepetitionTime``.
    told : float, optional
        The site's own word (``input.tr``), which is believed.

    Raises
    ------
    ScanProblem
        If the two contradict one another, or nobody says.
    """
    if told is not None:
        return told
    content = read_sidecar(sidecar)
    beside = content.get("RepetitionTime")
    if beside is None:
        return _plausible(header, image, "the header's repetition time")
    if not isinstance(beside, int | float) or isinstance(beside, bool):
        found = f"RepetitionTime {beside!r}"
        raise ScanProblem(sidecar, "RepetitionTime in seconds", found, "write it as a number")
    tr = _plausible(float(beside), sidecar, "RepetitionTime")
    if header > 0 and abs(tr - header) > TR_TOLERANCE:
        raise ScanProblem(
            sidecar,
            f"RepetitionTime {header:g} s, as in the image's header",
            f"{tr:g} s",
            "correct the one that is wrong, or say input.tr",
        )
    return tr


def _plausible(tr: float, file: Path, what: str) -> float:
    low, high = TR_RANGE
    if low <= tr <= high:
        return tr
    raise ScanProblem(
        file,
        f"{what} between {low:g} and {high:g} seconds",
        f"{tr:g}" if tr > 0 else "none",
        "write it in seconds beside the image (RepetitionTime), or say input.tr",
    )


def without_copies(scans: list[Any]) -> tuple[list[Any], list[ScanProblem]]:
    """Scans of which there is one, and a problem for each that the folder holds twice.

    Parameters
    ----------
    scans : list of FoundScan
    """
    by_key: dict[tuple[str, str, str], list[Any]] = {}
    for scan in scans:
        by_key.setdefault(scan.key, []).append(scan)
    problems = []
    for same in by_key.values():
        if len(same) > 1:
            names = ", ".join(scan.files[0].name for scan in same[1:])
            problems.append(
                ScanProblem(
                    same[0].files[0],
                    "one file of a subject, session and run",
                    f"also {names}",
                    "move away all but one",
                )
            )
    return [same[0] for same in by_key.values() if len(same) == 1], problems
