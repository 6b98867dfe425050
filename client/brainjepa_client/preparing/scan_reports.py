"""What became of each scan: one JSON a scan, written when it is done, read by the next run.

Reports hold subject ids and stay at the site. A report counts as long as the scan was made from
what is there now: its files (large ones by size and time of change, small ones by content, sidecars
included), what phenotypes tell of its motion, and what a person says of it. Those of scans that
failed never count.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterable
from dataclasses import fields
from pathlib import Path
from typing import Any

from brainjepa_client.quality.ratings import BAD, Word
from brainjepa_client.quality.table import Key, ScanReport
from brainjepa_core.files import atomic_path, clear_leftovers
from brainjepa_core.signals.problems import ScanProblem
from brainjepa_core.signals.scan import FoundScan

FOLDER, FIGURES = "reports", "figures"
SMALL = 2**16  # bytes; files up to there (sidecars, lists) are known by content


class Reports:
    """Reports of one site.

    Parameters
    ----------
    folder : Path
        Of the site's quality.
    stored : collection of (subject, session, run)
        Scans in the store: a report of another one that says "included" does not count.
    """

    def __init__(self, folder: Path, stored: Collection[Key] = ()) -> None:
        self._folder = folder / FOLDER
        self.figures = folder / FIGURES
        self._stored = stored

    def is_finished(
        self, scan: FoundScan, told_fd: float | None = None, rating: Word | None = None
    ) -> bool:
        """Whether an earlier run has done this scan, from what is there now.

        Parameters
        ----------
        scan : FoundScan
        told_fd : float, optional
            Mean displacement in mm that phenotypes tell.
        rating : str, optional
            Of a person.
        """
        content = self._read(self._path(scan.key))
        if content is None or content["made_from"] != _made_from(scan, told_fd, rating):
            return False
        status = content["report"]["status"]
        return status == "excluded" or (status == "included" and scan.key in self._stored)

    def write(
        self,
        scan: FoundScan,
        report: ScanReport,
        told_fd: float | None = None,
        rating: Word | None = None,
    ) -> None:
        """Put a report on disk; from here on the scan is finished. As `is_finished`."""
        made_from = _made_from(scan, told_fd, rating)
        self._write(scan.key, {"made_from": made_from, "report": report.to_json()})

    def write_problem(self, problem: ScanProblem) -> None:
        """A report of what could not even be taken up as a scan, under its file's name."""
        report = ScanReport(problem.file.name, "", "", "failed", {}, (str(problem),))
        self._write(report.key, {"made_from": None, "report": report.to_json()})

    def keep_only(self, scans: Iterable[FoundScan]) -> None:
        """Remove reports and pictures of scans that are gone; those in the store keep theirs."""
        known = {digest(scan.key) for scan in scans} | {digest(key) for key in self._stored}
        for folder in (self._folder, self.figures):
            clear_leftovers(folder)
            for path in folder.glob("*"):
                if path.stem not in known:
                    path.unlink()

    def remove(self, keys: Iterable[Key]) -> None:
        """Remove reports and pictures of some scans, where there are any."""
        for key in keys:
            self._path(key).unlink(missing_ok=True)
            (self.figures / f"{digest(key)}.png").unlink(missing_ok=True)

    def all(self) -> list[ScanReport]:
        """Every report that can be read, by key; a damaged one is as if it were not there."""
        found = (self._read(path) for path in self._folder.glob("*.json"))
        reports = [ScanReport.from_json(content["report"]) for content in found if content]
        return sorted(reports, key=lambda report: report.key)

    def damaged(self) -> list[str]:
        """Files of reports that cannot be read, named from the folder of the quality page."""
        paths = sorted(self._folder.glob("*.json"))
        return [f"{FOLDER}/{path.name}" for path in paths if self._read(path) is None]

    def _read(self, path: Path) -> dict[str, Any] | None:
        """A report with what it was made from; None where it is missing or damaged."""
        try:
            content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            ScanReport.from_json(content["report"])
            return {"made_from": content["made_from"], "report": content["report"]}
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def _write(self, key: Key, content: object) -> None:
        with atomic_path(self._path(key)) as temporary:
            text = json.dumps(content, indent=1, ensure_ascii=False)
            temporary.write_text(text + "\n", encoding="utf-8")

    def _path(self, key: Key) -> Path:
        return self._folder / f"{digest(key)}.json"


def digest(key: Key) -> str:
    """Name of a scan's files: its key may hold what file systems do not take."""
    return hashlib.sha256("\0".join(key).encode()).hexdigest()[:32]


def _made_from(scan: FoundScan, told_fd: float | None, rating: Word | None) -> list[Any]:
    """What a scan is made from: its files, the JSON beside each, and what it is told of it."""
    files = set(scan.files)
    for field in fields(scan):  # sidecars of other files, which some forms look into
        value = getattr(scan, field.name)
        files |= {
            part
            for part in (value if isinstance(value, tuple) else (value,))
            if isinstance(part, Path)
        }
    files |= {path.with_name(path.name.split(".")[0] + ".json") for path in files}
    told = [told_fd, scan.read_whole, *([BAD] if rating == BAD else [])]
    return [*told, *(_stamp(path) for path in sorted(files) if path.is_file())]


def _stamp(path: Path) -> list[Any]:
    """A small file's content; of a large one size and time of change, as reading takes long."""
    facts = path.stat()
    if facts.st_size <= SMALL:
        return [facts.st_size, hashlib.sha256(path.read_bytes()).hexdigest()]
    return [facts.st_size, facts.st_mtime_ns]
