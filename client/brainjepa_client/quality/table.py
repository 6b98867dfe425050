"""What became of each scan, and the group table of a site with its data dictionary.

Rows hold subject ids and stay at the site.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from brainjepa_core.files import atomic_path
from brainjepa_core.problems import plainly

TABLE, DICTIONARY = "scans.tsv", "scans.json"
Status = Literal["included", "excluded", "failed"]
Key = tuple[str, str, str]

NOT_KNOWN = "n/a"  # as BIDS writes it
STATUS_LEVELS = {
    "included": "In the store.",
    "excluded": "Read, and left out by a rule or a rating.",
    "failed": "Could not be used.",
}
# Description and unit of each number, in the order of columns.
NUMBERS: dict[str, tuple[str, str]] = {
    "tr": ("Repetition time.", "s"),
    "frames": ("Frames after cleaning.", ""),
    "seconds": ("Length after cleaning.", "s"),
    "dropped": ("Frames that cleaning left out.", ""),
    "censored": (
        "Share of frames censored for motion, dropped or interpolated; n/a where the input does "
        "not tell.",
        "",
    ),
    "mean_fd": ("Mean framewise displacement, without the first frame.", "mm"),
    "max_fd": ("Largest framewise displacement.", "mm"),
    "dvars": (
        "DVARS of the ROIs' signals before cleaning: change from one frame to the next, root mean "
        "square over ROIs, in percent of an ROI's mean; mean over frames. n/a of series around 0.",
        "%",
    ),
    "tsnr": (
        "Temporal signal-to-noise ratio: mean over standard deviation in time, median over the "
        "voxels of all ROIs; n/a of series without an image, and of images around 0.",
        "",
    ),
    "coverage_mean": (
        "Share of an ROI that the scan saw, mean over ROIs; n/a of series without an image.",
        "",
    ),
    "coverage_min": (
        "Share of an ROI that the scan saw, least over ROIs; n/a of series without an image.",
        "",
    ),
    "masked": ("1 where a brain mask said which voxels count, 0 where there was none.", ""),
    "missing_rois": ("ROIs without data: outside the image, or seen by less than half.", ""),
    "dead_rois": ("ROIs with data that hardly vary over time.", ""),
    "fc_mean": ("Mean correlation of two ROIs; high values hint at motion or breathing.", ""),
    "order_score": (
        "How much neighbouring ROIs are alike: about 0.6 in the right order, 0 in a random one; "
        "n/a where the order is not judged.",
        "",
    ),
}
# What numbers are multiplied by where people read them: percent, minutes.
SCALES = {"censored": 100.0, "coverage_mean": 100.0, "seconds": 1 / 60}


@dataclass(frozen=True)
class ScanReport:
    """What became of a scan. It never leaves the site.

    Attributes
    ----------
    subject, session, run : str
    status : {"included", "excluded", "failed"}
        In the store; left out by a rule or a rating; could not be used.
    quality : dict of float
        As `brainjepa_core.signals.cleaning.quality.scan_quality` gives it, and ``order_score``.
    reasons : tuple of str
        Why it is not included, a sentence each.
    figure : str, optional
        Picture, relative to the folder of the page.
    coverage : tuple of float
        Share of each of R ROIs that the scan saw; empty where it is not known.
    """

    subject: str
    session: str
    run: str
    status: Status
    quality: dict[str, float]
    reasons: tuple[str, ...] = ()
    figure: str | None = None
    coverage: tuple[float, ...] = ()

    @property
    def key(self) -> Key:
        """Subject, session and run."""
        return self.subject, self.session, self.run

    @property
    def name(self) -> str:
        """Subject, session and run as one text."""
        session = f"ses-{self.session}" if self.session else ""
        return " ".join(part for part in (self.subject, session, self.run) if part)

    def to_json(self) -> dict[str, Any]:
        """Plain values for `json.dumps`."""
        return asdict(self)

    @classmethod
    def from_json(cls, content: Any) -> ScanReport:
        """The report that `to_json` made plain.

        Raises
        ------
        ValueError
            If it is damaged.
        """
        try:
            report = cls(**{**content, "reasons": tuple(content["reasons"])})
            coverage = tuple(float(share) for share in report.coverage)
            quality = {str(name): float(value) for name, value in report.quality.items()}
        except (TypeError, KeyError, ValueError, AttributeError) as error:
            raise _damaged(plainly(error)) from error
        texts = (*report.key, *report.reasons, report.figure or "")
        if report.status not in get_args(Status) or not all(isinstance(t, str) for t in texts):
            raise _damaged(f"status {report.status!r}, or a text that is none")
        return cls(*report.key, report.status, quality, report.reasons, report.figure, coverage)


def _damaged(found: str) -> ValueError:
    return ValueError(
        f"expected a scan's report, found {found}; remove the file, and prepare the scan again"
    )


def number_columns(reports: Sequence[ScanReport]) -> list[str]:
    """Names of the numbers that any scan has: those described first, others by name."""
    found = {name for report in reports for name in report.quality}
    return [*(name for name in NUMBERS if name in found), *sorted(found - NUMBERS.keys())]


def write_table(folder: Path, reports: Sequence[ScanReport]) -> Path:
    """Write ``scans.tsv``, one line a scan in the order of keys, and ``scans.json`` about it.

    Parameters
    ----------
    folder : Path
    reports : sequence of ScanReport

    Returns
    -------
    Path
        Of the table.
    """
    names = number_columns(reports)
    lines = [["subject", "session", "run", "status", *names, "reasons"]]
    for report in sorted(reports, key=lambda one: one.key):
        numbers = [number_text(report.quality.get(name)) for name in names]
        lines.append([*report.key, report.status, *numbers, "; ".join(report.reasons)])
    with atomic_path(folder / TABLE) as temporary:
        rows = ("\t".join(map(_cell, line)) + "\n" for line in lines)
        temporary.write_text("".join(rows), encoding="utf-8", errors="replace")
    with atomic_path(folder / DICTIONARY) as temporary:
        temporary.write_text(json.dumps(_dictionary(names), indent=2) + "\n", encoding="utf-8")
    return folder / TABLE


def number_text(value: float | None) -> str:
    """Six digits, or n/a."""
    return NOT_KNOWN if value is None or not math.isfinite(value) else f"{value:.6g}"


def _cell(text: str) -> str:
    """On one line of one column: whatever would break either is a space."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split()) or NOT_KNOWN


def _dictionary(names: Sequence[str]) -> dict[str, Any]:
    """BIDS data dictionary of the table's columns."""
    columns: dict[str, dict[str, Any]] = {
        "subject": {"Description": "Subject, or the file's name where that is not known."},
        "session": {"Description": "Session, without ses-."},
        "run": {"Description": "Task and run."},
        "status": {"Description": "What became of the scan.", "Levels": STATUS_LEVELS},
    }
    for name in names:
        description, unit = NUMBERS.get(name, ("A number that came with the scan.", ""))
        columns[name] = {"Description": description} | ({"Units": unit} if unit else {})
    columns["reasons"] = {"Description": "Why the scan is not included; n/a where it is."}
    return columns
