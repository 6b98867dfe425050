"""What became of each scan: one JSON a scan, written when it is done, read by the next run.

Reports hold subject ids and stay at the site. A report counts as long as the scan's files are those
it was made from (size and time of change, sidecars included); those of scans that failed never do.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterable
from pathlib import Path

from brainjepa_client.quality.table import Key, ScanReport
from brainjepa_core.files import atomic_path
from brainjepa_core.signals.problems import ScanProblem
from brainjepa_core.signals.scan import FoundScan

FOLDER, FIGURES = "reports", "figures"


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

    def is_finished(self, scan: FoundScan) -> bool:
        """Whether an earlier run has done this scan, from these files."""
        try:
            content = json.loads(self._path(scan.key).read_text(encoding="utf-8"))
            report = ScanReport.from_json(content["report"])
        except (OSError, ValueError, KeyError, TypeError):
            return False
        if report.status == "failed" or content["files"] != _stamps(scan):
            return False
        return report.status == "excluded" or scan.key in self._stored

    def write(self, scan: FoundScan, report: ScanReport) -> None:
        """Put a report on disk; from here on the scan is finished."""
        self._write(scan.key, {"files": _stamps(scan), "report": report.to_json()})

    def write_problem(self, problem: ScanProblem) -> None:
        """A report of what could not even be taken up as a scan, under its file's name."""
        report = ScanReport(problem.file.name, "", "", "failed", {}, (str(problem),))
        self._write(report.key, {"files": [], "report": report.to_json()})

    def keep_only(self, scans: Iterable[FoundScan]) -> None:
        """Remove reports of scans that are gone; those in the store keep theirs."""
        known = {self._path(scan.key) for scan in scans} | {self._path(k) for k in self._stored}
        for path in self._folder.glob("*.json"):
            if path not in known:
                path.unlink()

    def all(self) -> list[ScanReport]:
        """Every report that can be read, by key."""
        reports = []
        for path in self._folder.glob("*.json"):
            content = json.loads(path.read_text(encoding="utf-8"))
            reports.append(ScanReport.from_json(content["report"]))
        return sorted(reports, key=lambda report: report.key)

    def _write(self, key: Key, content: object) -> None:
        with atomic_path(self._path(key)) as temporary:
            text = json.dumps(content, indent=1, ensure_ascii=False)
            temporary.write_text(text + "\n", encoding="utf-8")

    def _path(self, key: Key) -> Path:
        return self._folder / f"{digest(key)}.json"


def digest(key: Key) -> str:
    """Name of a scan's files: its key may hold what file systems do not take."""
    return hashlib.sha256("\0".join(key).encode()).hexdigest()[:32]


def _stamps(scan: FoundScan) -> list[list[int]]:
    """Size and time of change of each of a scan's files, and of the JSON beside each."""
    beside = {path.with_name(path.name.split(".")[0] + ".json") for path in scan.files}
    facts = (path.stat() for path in (*scan.files, *sorted(beside)) if path.exists())
    return [[fact.st_size, fact.st_mtime_ns] for fact in facts]
