"""Files of a BIDS derivative dataset, and the facts beside them.

Folders are walked here, since bids2table's index passes over datasets whose folder has a dot in its
name (``fmriprep-23.2.1``) and people whose label is not ASCII, without a word.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from brainjepa_core.problems import plainly, value_in_words
from brainjepa_core.signals.preparation import InputSettings
from brainjepa_core.signals.problems import ScanProblem, is_folder, is_there, unreadable
from brainjepa_core.signals.tables.bids_names import bids_entities, scan_key
from brainjepa_core.usable import TR_RANGE

VERSIONS = ("res", "den", "cohort")
WORDS = {"space": "space", "res": "resolution", "den": "density", "cohort": "cohort"}
NATIVE = "native"  # what a name without the entity has
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

    A name in another encoding than UTF-8 is a problem, for nothing could be written about it; so
    is a folder that is a link to nowhere or cannot be listed.
    """
    files: list[BidsFile] = []
    problems: list[ScanProblem] = []
    for subject in _folders(root, "sub-", problems):
        for parent in (subject, *_folders(subject, "ses-", problems)):
            functional = parent / "func"
            for name in _listed(functional, problems) if is_folder(functional, problems) else ():
                if not name.startswith("sub-"):
                    continue
                try:
                    files.append(_parse(functional / name))
                except ScanProblem as problem:
                    problems.append(problem)
    return files, problems


def _listed(folder: Path, problems: list[ScanProblem]) -> list[str]:
    try:
        return sorted(os.listdir(folder))
    except OSError as error:
        problems.append(unreadable(error))
        return []


def _folders(parent: Path, prefix: str, problems: list[ScanProblem]) -> list[Path]:
    named = [parent / name for name in _listed(parent, problems) if name.startswith(prefix)]
    return [path for path in named if path.is_dir() or is_folder(path, problems)]


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


def in_variant(images: Sequence[BidsFile], settings: InputSettings) -> list[BidsFile]:
    """Images in the space, resolution, density and cohort that the settings ask for.

    Raises
    ------
    ValueError
        If there are images, and none of them is. Names the setting and the values found.
    """
    chosen = list(images)
    for entity in ("space", *VERSIONS):
        told = getattr(settings, entity)
        found = sorted({image[entity] or NATIVE for image in chosen})
        chosen = [image for image in chosen if told in (None, image[entity] or NATIVE)]
        if found and not chosen:
            raise ValueError(
                f"expected images in {WORDS[entity]} {told} (input.{entity}), found only "
                f"{', '.join(found)}; choose one of these, with the atlas in it"
            )
    return chosen


def without_copies(
    scans: list[Any], versions: Sequence[str] = ()
) -> tuple[list[Any], list[ScanProblem]]:
    """Scans of which there is one, and a problem for each that the folder holds twice.

    Parameters
    ----------
    scans : list of FoundScan
    versions : sequence of str
        Entities by which a setting of their name chooses.
    """
    by_key: dict[tuple[str, str, str], list[Any]] = {}
    for scan in scans:
        by_key.setdefault(scan.key, []).append(scan)
    problems = []
    for same in by_key.values():
        if len(same) > 1:
            file, *others = (scan.files[0] for scan in same)
            expected = "one file of a subject, session and run"
            found = f"also {', '.join(other.name for other in others)}"
            mend = choice([file, *others], versions) or "move away all but one"
            problems.append(ScanProblem(file, expected, found, mend))
    return [same[0] for same in by_key.values() if len(same) == 1], problems


def choice(files: Sequence[Path], versions: Sequence[str]) -> str:
    """Settings that tell files apart, with the values to choose from."""
    named = [bids_entities(file.name) for file in files]
    values = {
        version: sorted({entities.get(version, NATIVE) for entities in named})
        for version in versions
    }
    settings = [
        f"input.{version} ({' or '.join(found)})"
        for version, found in values.items()
        if len(found) > 1
    ]
    return f"choose one with {' and '.join(settings)}" if settings else ""
