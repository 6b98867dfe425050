"""A site's quality in one HTML page, beside the group table and the pictures of scans.

Names and reasons come from files: the template escapes all of them.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

import numpy as np

from brainjepa_client.quality import figures
from brainjepa_client.quality.advice import in_short, look_first
from brainjepa_client.quality.ratings import RATINGS, left_out
from brainjepa_client.quality.strips import strips
from brainjepa_client.quality.summary import SiteSummary
from brainjepa_client.quality.table import (
    DICTIONARY,
    NOT_KNOWN,
    NUMBERS,
    SCALES,
    TABLE,
    Key,
    ScanReport,
    number_columns,
    write_table,
)
from brainjepa_core.arrays import Float64
from brainjepa_core.atlas import Atlas
from brainjepa_core.pages.page import write_page
from brainjepa_core.pages.picture import Picture
from brainjepa_core.pages.table import Table
from brainjepa_core.problems import counted
from brainjepa_core.signals.preparation import ExclusionSettings
from brainjepa_core.signals.storing.store import ScanStore

__all__ = ["PAGE", "ScanReport", "write_quality"]

PAGE = "index.html"
FIRST = {"failed": 0, "excluded": 1, "included": 2}  # order of the table
# Heading and decimals of the numbers in the page's table; all others are in scans.tsv.
SHOWN = {
    "mean_fd": ("mean FD (mm)", 3),
    "max_fd": ("max FD (mm)", 2),
    "censored": ("censored (%)", 1),
    "tsnr": ("tSNR", 0),
    "seconds": ("minutes", 1),
    "frames": ("frames", 0),
    "tr": ("TR (s)", 3),
    "missing_rois": ("missing ROIs", 0),
    "dead_rois": ("dead ROIs", 0),
    "coverage_mean": ("coverage (%)", 1),
    "fc_mean": ("mean corr.", 2),
    "order_score": ("order", 2),
}
NO_RULES = ExclusionSettings(mean_fd=None, censored=None, missing_rois=None, wrong_order=False)


class ScanLine(NamedTuple):
    """A scan in the page's table; `link` is the address of its picture, or empty."""

    key: str
    status: str
    name: str
    rating: str
    link: str
    reasons: Sequence[str]
    numbers: Sequence[str]


def write_quality(
    folder: Path,
    site: str,
    atlas: Atlas,
    reports: Sequence[ScanReport],
    exclude: ExclusionSettings | None = None,
    store: ScanStore | None = None,
    damaged: Sequence[str] = (),
    ratings: Mapping[Key, str] | None = None,
) -> Path:
    """Write ``index.html``, ``scans.tsv`` and ``scans.json`` into a folder.

    Parameters
    ----------
    folder : Path
        Where the pictures that the reports name are, too.
    site : str
    atlas : Atlas
    reports : sequence of ScanReport
    exclude : ExclusionSettings, optional
        The rules that held; none by default.
    store : ScanStore, optional
        For what is said of all included scans together; each of its scans is read.
    damaged : sequence of str
        Files of reports that could not be read.
    ratings : mapping of str, optional
        What people say of scans so far; without it there is nothing to rate.

    Returns
    -------
    Path
        Of the page.
    """
    rules = exclude or NO_RULES
    summary = None if store is None or not store.records else SiteSummary.of(store)
    write_table(folder, reports)
    shown, dots = _shown(reports), strips(reports, rules)
    drawn = {dot.kind for strip in dots for dot in strip.dots}
    scans, rois = counted(len(reports), "scan"), counted(len(atlas), "ROI")
    return write_page(
        folder / PAGE,
        "brainjepa_client.quality",
        "page.html",
        beside=(TABLE, DICTIONARY),
        title=f"Quality of the scans of {site}",
        subtitle=f"{scans} · {rois} of '{atlas.name}'",
        in_short=in_short(reports),
        first=look_first(reports, rules, summary, atlas, damaged),
        strips=dots,
        kinds=[kind for kind in ("included", "excluded") if kind in drawn],
        limits=any(strip.limit is not None for strip in dots),
        site=None if summary is None else _site(reports, summary, atlas),
        headings=[SHOWN[name][0] for name in shown],
        scans=[
            _line(report, shown, ratings or {})
            for report in sorted(reports, key=lambda r: (FIRST[r.status], r.key))
        ],
        numbers=_meanings(reports),
        table=TABLE,
        dictionary=DICTIONARY,
        rated=ratings is not None,
        ratings=RATINGS,
        methods=_methods(reports, rules, atlas),
    )


def _site(
    reports: Sequence[ScanReport], summary: SiteSummary, atlas: Atlas
) -> dict[str, str | bool | Picture | None]:
    """What the template tells of the included scans together."""
    order = summary.order
    coverage, told = _coverage(reports, summary)
    seen = connectivity = None
    partly = coverage is not None and bool((coverage < 1).any())
    if atlas.centroids is not None and coverage is not None and partly:
        figure = figures.roi_coverage(coverage, np.array(atlas.centroids))
        seen = Picture.of(figure, "Mean coverage of each ROI")
    if np.isfinite(summary.mean_fc[~np.eye(len(atlas), dtype=bool)]).any():
        figure = figures.mean_connectivity(summary.mean_fc, atlas)
        connectivity = Picture.of(figure, "Mean connectivity, ROIs by network")
    return {
        "order": f"not judged ({summary.unjudged})"
        if order is None
        else f"{order.verdict} ({order.message})",
        "told": told,
        "coverage": seen,
        "unplaced": partly and seen is None,
        "connectivity": connectivity,
    }


def _coverage(reports: Sequence[ScanReport], summary: SiteSummary) -> tuple[Float64 | None, str]:
    """Mean share [R] of each ROI that the scans saw, None if unknown; and what is known, in words.

    Series that came without an image tell which ROIs are missing, not how much of the others was
    seen.
    """
    rois = len(summary.seen)
    read = [report for report in reports if report.status != "failed"]
    known = [report.coverage for report in read if len(report.coverage) == rois]
    lacking = int((summary.seen < 1).sum())
    if not known:
        return None, (
            f"Not known: the scans came without images. {lacking or 'None'} of {rois} ROIs "
            f"{'is' if lacking == 1 else 'are'} missing in some of the included scans."
        )
    coverage: Float64 = np.mean(known, axis=0)
    partly = int((coverage < 1).sum())
    of_scans = f" (of {len(known)} of {len(read)} scans, the others came without images)"
    told = (
        f"{partly} of {rois} ROIs are not seen whole by every scan"
        if partly
        else "Every scan that was read sees every ROI whole"
    )
    return coverage, told + (of_scans if len(known) < len(read) else "") + "."


def _line(report: ScanReport, shown: Sequence[str], ratings: Mapping[Key, str]) -> ScanLine:
    link = quote(report.figure, errors="replace") if report.figure else ""
    numbers = [_shown_number(report, name) for name in shown]
    key = json.dumps(report.key)
    rating = ratings.get(report.key, "")
    return ScanLine(key, report.status, report.name, rating, link, report.reasons, numbers)


def _methods(reports: Sequence[ScanReport], rules: ExclusionSettings, atlas: Atlas) -> str:
    """A paragraph for a paper: how many scans, by which rules."""
    failed = sum(report.status == "failed" for report in reports)
    by_rules, after_looking = left_out(reports)
    limits = [
        f"{field} {value:g}"
        for field, value in rules.model_dump(exclude={"wrong_order"}).items()
        if value is not None
    ]
    named = [f"limits on {', '.join(limits)}"] if limits else []
    named += ["a check of the order of regions"] if rules.wrong_order else []
    by = f" by {' and '.join(named)}" if named else ""
    looked = f", {len(after_looking)} after looking at them" if after_looking else ""
    return (
        f"Signals of the {len(atlas)} regions of {atlas.name} were taken from "
        f"{counted(len(reports), 'scan')} with brainjepa-federated; {len(by_rules)} were "
        f"left out{by}{looked}, and {failed} could not be read."
    )


def _shown(reports: Sequence[ScanReport]) -> list[str]:
    """Numbers of the page's table: those that any scan has."""
    known = number_columns(reports)
    return [name for name in SHOWN if name in known]


def _shown_number(report: ScanReport, name: str) -> str:
    value = report.quality.get(name)
    if value is None or not math.isfinite(value):
        return NOT_KNOWN
    return f"{SCALES.get(name, 1.0) * value:.{SHOWN[name][1]}f}"


def _meanings(reports: Sequence[ScanReport]) -> Table:
    """What the numbers are called in the files, in the page, and what they mean."""
    lines = []
    for name in number_columns(reports):
        if name in NUMBERS:
            text, unit = NUMBERS[name]
            heading = SHOWN[name][0] if name in SHOWN else ""
            lines.append((name, heading, f"{text} ({unit})" if unit else text))
    return Table.of((), lines, ("code", "text", "long"))
