"""A site's quality in one HTML page, beside the group table and the pictures of scans.

All text is escaped: names and reasons come from files.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from string import Template
from urllib.parse import quote

import numpy as np

from brainjepa_client.quality import figures as figures
from brainjepa_client.quality.advice import in_short, look_first
from brainjepa_client.quality.summary import SiteSummary
from brainjepa_client.quality.table import (
    DICTIONARY,
    NUMBERS,
    TABLE,
    ScanReport,
    number_columns,
    write_table,
)
from brainjepa_core.atlas import Atlas
from brainjepa_core.files import atomic_path
from brainjepa_core.pages.html import embedded_picture, html_text
from brainjepa_core.signals.preparation import ExclusionSettings
from brainjepa_core.signals.store import ScanStore

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
SCALES = {"censored": 100.0, "coverage_mean": 100.0, "seconds": 1 / 60}
# Panels of the site's distributions: number, label, and the rule whose limit is drawn.
PANELS = (
    ("mean_fd", "mean FD (mm)", "mean_fd"),
    ("censored", "censored frames (%)", "censored"),
    ("tsnr", "tSNR", "tsnr"),
    ("seconds", "minutes", "seconds"),
)


def write_quality(
    folder: Path,
    site: str,
    atlas: Atlas,
    reports: Sequence[ScanReport],
    exclude: ExclusionSettings | None = None,
    store: ScanStore | None = None,
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

    Returns
    -------
    Path
        Of the page.
    """
    rules = exclude or ExclusionSettings(mean_fd=None, censored=None, missing_rois=None)
    summary = None if store is None or not store.records else SiteSummary.of(store)
    write_table(folder, reports)
    template = (files(__package__) / "page.html.template").read_text("utf-8")
    page = Template(template).substitute(
        title=html_text(f"Quality of the scans of {site}"),
        subtitle=html_text(f"{len(reports)} scans · atlas {atlas.name}, {len(atlas)} ROIs"),
        in_short=html_text(in_short(reports)),
        first=_first(look_first(reports, rules, summary, atlas)),
        site=_site(reports, rules, summary, atlas),
        headings=_headings(reports),
        rows="\n".join(_rows(reports)),
        columns=_columns(reports),
        table=TABLE,
        dictionary=DICTIONARY,
    )
    path = folder / PAGE
    with atomic_path(path) as temporary:
        temporary.write_text(page, encoding="utf-8", errors="replace")
    return path


def _first(sentences: Sequence[str]) -> str:
    if not sentences:
        return "<p>Nothing asks for a look.</p>"
    return "<ol>" + "\n".join(f"<li>{html_text(text)}</li>" for text in sentences) + "</ol>"


def _site(
    reports: Sequence[ScanReport],
    rules: ExclusionSettings,
    summary: SiteSummary | None,
    atlas: Atlas,
) -> str:
    parts = []
    panels = _panels(reports, rules)
    if panels:
        parts.append(embedded_picture(figures.distributions(panels), "How the numbers spread"))
    if summary is None:
        return "\n".join([*parts, _note("No scan is in the store.")])
    order = summary.order
    judged = "not judged (without centres of the ROIs, few ROIs, or noise)"
    told = judged if order is None else f"{order.verdict} ({order.message})"
    parts.append(f"<p>Order of ROIs: {html_text(told)}.</p>")
    parts.append("<h3>How much of each ROI the scans saw</h3>")
    parts.append(_coverage(reports, summary, atlas))
    if np.isfinite(summary.mean_fc[~np.eye(len(atlas), dtype=bool)]).any():
        parts.append("<h3>Mean connectivity of the included scans</h3>")
        figure = figures.mean_connectivity(summary.mean_fc, atlas)
        parts.append(embedded_picture(figure, "Mean connectivity, ROIs by network"))
    return "\n".join(parts)


def _panels(
    reports: Sequence[ScanReport], rules: ExclusionSettings
) -> list[tuple[str, list[float], list[float], float | None]]:
    panels = []
    for name, label, rule in PANELS:
        scale = SCALES.get(name, 1.0)
        values = {
            status: [
                scale * report.quality[name]
                for report in reports
                if report.status == status and math.isfinite(report.quality.get(name, math.nan))
            ]
            for status in ("included", "excluded")
        }
        limit = getattr(rules, rule)
        if any(values.values()):
            limit = None if limit is None else scale * limit
            panels.append((label, values["included"], values["excluded"], limit))
    return panels


def _coverage(reports: Sequence[ScanReport], summary: SiteSummary, atlas: Atlas) -> str:
    """Mean over the scans that were read; of an imported store, the share that have an ROI."""
    known = [report.coverage for report in reports if len(report.coverage) == len(atlas)]
    coverage = np.mean(known, axis=0) if known else summary.seen
    partly = int((coverage < 1).sum())
    note = _note(
        f"{partly} of {len(atlas)} ROIs are not seen whole by every scan (outlined, the least seen "
        "darkest)."
        if partly
        else "Every scan that was read sees every ROI whole."
    )
    if atlas.centroids is None:
        return note + _note("The atlas has no centres of ROIs, so there is no picture.")
    figure = figures.roi_coverage(coverage, np.array(atlas.centroids))
    return note + embedded_picture(figure, "Mean coverage of each ROI")


def _headings(reports: Sequence[ScanReport]) -> str:
    cells = [("status", "text"), ("scan", "text"), ("why it is not included", "text")]
    cells += [(SHOWN[name][0], "") for name in _shown(reports)]
    return "".join(
        f'<th class="{kind}" aria-sort="none"><button>{html_text(name)}</button></th>'
        for name, kind in cells
    )


def _rows(reports: Sequence[ScanReport]) -> list[str]:
    names = _shown(reports)
    return [
        _row(report, names) for report in sorted(reports, key=lambda r: (FIRST[r.status], r.key))
    ]


def _row(report: ScanReport, names: Sequence[str]) -> str:
    name = html_text(report.name)
    if report.figure:
        name = f'<a href="{html_text(quote(report.figure, errors="replace"))}">{name}</a>'
    reasons = "<br>".join(html_text(reason) for reason in report.reasons)
    cells = [f'<td class="text {report.status}">{report.status}', f'<td class="text">{name}']
    cells += [f'<td class="long">{reasons}']
    cells += [f"<td>{_shown_number(report, number)}" for number in names]
    return f"<tr>{'</td>'.join(cells)}</td></tr>"


def _shown(reports: Sequence[ScanReport]) -> list[str]:
    """Numbers of the page's table: those that any scan has."""
    known = number_columns(reports)
    return [name for name in SHOWN if name in known]


def _shown_number(report: ScanReport, name: str) -> str:
    value = report.quality.get(name)
    if value is None or not math.isfinite(value):
        return ""
    return f"{SCALES.get(name, 1.0) * value:.{SHOWN[name][1]}f}"


def _columns(reports: Sequence[ScanReport]) -> str:
    """What the numbers mean."""
    lines = []
    for name in number_columns(reports):
        if name in NUMBERS:
            text, unit = NUMBERS[name]
            heading = SHOWN[name][0] if name in SHOWN else ""
            told = f"{text} ({unit})" if unit else text
            lines.append(
                f'<tr><td class="text"><code>{name}</code></td><td class="text">'
                f'{html_text(heading)}</td><td class="long">{html_text(told)}</td></tr>'
            )
    return "\n".join(lines)


def _note(text: str) -> str:
    return f'<p class="note">{html_text(text)}</p>'
