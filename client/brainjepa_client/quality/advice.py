"""What a data manager should look at first, in a few sentences."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

import numpy as np

from brainjepa_client.quality.ratings import left_out
from brainjepa_client.quality.summary import SiteSummary
from brainjepa_client.quality.table import ScanReport
from brainjepa_core.atlas import Atlas
from brainjepa_core.signals.preparation import ExclusionSettings

# Where a scan may stand out, in which unit, and to which side it would be a worse one.
UNUSUAL = (
    ("mean_fd", "mean FD", " mm", 1),
    ("tsnr", "tSNR", "", -1),
    ("fc_mean", "mean correlation", "", 1),
)
FAR = 5.0  # robust standard deviations from the median of the site
FEWEST = 10  # scans, for "unusual" to mean anything
OFTEN_MISSING = 0.2  # share of the included scans
SHOWN = 4
_RULE = re.compile(r"\((exclude\.\w+)\)")


def in_short(reports: Sequence[ScanReport]) -> str:
    """How many scans became what."""
    count = Counter(report.status for report in reports)
    people = len({report.subject for report in reports if report.status == "included"})
    parts = [
        f"{count['included']} of {_number(len(reports), 'scan')} "
        f"{'is' if count['included'] == 1 else 'are'} in the store "
        f"({_number(people, 'person', 'people')})"
    ]
    by_rules, after_looking = left_out(reports)
    if by_rules:
        parts.append(f"{len(by_rules)} left out by rules")
    if after_looking:
        parts.append(f"{len(after_looking)} left out after looking at them")
    if count["failed"]:
        parts.append(f"{count['failed']} could not be used")
    return ", ".join(parts) + "."


def look_first(
    reports: Sequence[ScanReport],
    exclude: ExclusionSettings,
    summary: SiteSummary | None,
    atlas: Atlas,
    damaged: Sequence[str] = (),
) -> list[str]:
    """Sentences, the most urgent one first; empty if nothing asks for a look."""
    included = [report for report in reports if report.status == "included"]
    return [
        *_failures(reports),
        *_damaged(damaged),
        *_rules(reports),
        *(_order(summary) if summary else ()),
        *_times(included),
        *_masks(included),
        *(_rois(summary, atlas) if summary else ()),
        *(_dead(included, summary) if summary else ()),
        *_unusual(included),
        *_unknown(reports, exclude),
    ]


def _failures(reports: Sequence[ScanReport]) -> list[str]:
    failed = [report for report in reports if report.status == "failed"]
    if not failed:
        return []
    return [
        f"{_number(len(failed), 'scan')} could not be used ({_names(failed)}): mend the files as "
        "the reasons say, then prepare again; finished scans are not repeated."
    ]


def _damaged(files: Sequence[str]) -> list[str]:
    if not files:
        return []
    return [
        f"{_number(len(files), 'report')} cannot be read ({_listed(files)}): prepare again, which "
        "makes them anew. Scans of the store are told of from their series until then."
    ]


def _rules(reports: Sequence[ScanReport]) -> list[str]:
    excluded, _ = left_out(reports)
    rules = Counter(rule for report in excluded for rule in _RULE.findall(" ".join(report.reasons)))
    if not excluded:
        return []
    told = ", ".join(f"{rule} {count}" for rule, count in rules.most_common())
    share = len(excluded) / len(reports)
    advice = " More than a quarter of all: check units and thresholds." if share > 0.25 else ""
    return [
        f"{_number(len(excluded), 'scan')} left out by rules ({told or 'see the table'}).{advice}"
    ]


def _order(summary: SiteSummary) -> list[str]:
    order = summary.order
    if order is None or order.verdict == "right order":
        return []
    return [f"Order of ROIs over all included scans: {order.verdict}. {order.message}."]


def _times(included: Sequence[ScanReport]) -> list[str]:
    times = Counter(f"{r.quality['tr']:g} s" for r in included if "tr" in r.quality)
    if len(times) < 2:
        return []
    told = ", ".join(f"{tr} in {_number(count, 'scan')}" for tr, count in times.most_common(SHOWN))
    return [f"Repetition times differ: {told}. Make sure that each is what the scanner used."]


def _masks(included: Sequence[ScanReport]) -> list[str]:
    without = [report for report in included if report.quality.get("masked") == 0]
    if not without:
        return []
    return [
        f"{_number(len(without), 'included scan')} read without a brain mask ({_names(without)}): "
        "their regions average voxels that others' do not."
    ]


def _rois(summary: SiteSummary, atlas: Atlas) -> list[str]:
    rare = np.flatnonzero(summary.seen < 1 - OFTEN_MISSING)
    if not rare.size:
        return []
    names = _listed([atlas.rois[i] for i in rare[np.argsort(summary.seen[rare])]])
    return [
        f"{_number(int(rare.size), 'ROI')} without data in more than {OFTEN_MISSING:.0%} of the "
        f"included scans ({names}): a field of view that is too small, or another atlas."
    ]


def _dead(included: Sequence[ScanReport], summary: SiteSummary) -> list[str]:
    named = {report.key: report.name for report in included}
    found = [(named[key], rois) for key, rois in summary.dead.items() if key in named]
    if not found:
        return []
    found.sort(key=lambda scan: -len(scan[1]))
    return [
        f"ROIs whose signal hardly varies in {_number(len(found), 'included scan')}: "
        f"{_listed([f'{scan} ({_listed(rois)})' for scan, rois in found])}. Training takes them "
        "for missing; look whether the extraction went wrong."
    ]


def _unusual(included: Sequence[ScanReport]) -> list[str]:
    told = []
    for name, label, unit, side in UNUSUAL:
        known = [report for report in included if name in report.quality]
        values = np.array([report.quality[name] for report in known])
        if len(values) < FEWEST:
            continue
        middle = np.median(values)
        spread = 1.4826 * np.median(np.abs(values - middle))
        far = [i for i in np.argsort(-side * values) if side * (values[i] - middle) > FAR * spread]
        if far and spread > 0:
            scans = [f"{known[i].name} {values[i]:.3g}{unit}" for i in far]
            told.append(
                f"Unusual {label} in {_number(len(far), 'included scan')}: {_listed(scans)}. The "
                f"site's median is {middle:.3g}{unit}; unusual is "
                f"{'above' if side > 0 else 'below'} {middle + side * FAR * spread:.3g}{unit}, "
                f"{FAR:g} robust standard deviations from it."
            )
    return told


def _unknown(reports: Sequence[ScanReport], exclude: ExclusionSettings) -> list[str]:
    read = [report for report in reports if report.status != "failed"]
    told = []
    for field in ("mean_fd", "censored", "tsnr"):
        blind = sum(field not in report.quality for report in read)
        if blind and getattr(exclude, field) is not None:
            told.append(
                f"{field} is not known for {_number(blind, 'scan')}, so the rule exclude.{field} "
                "could not act there."
            )
    return told


def _names(reports: Sequence[ScanReport]) -> str:
    return _listed([report.name for report in reports])


def _listed(texts: Sequence[str]) -> str:
    more = f" and {len(texts) - SHOWN} more" if len(texts) > SHOWN else ""
    return ", ".join(texts[:SHOWN]) + more


def _number(count: int, one: str, many: str = "") -> str:
    return f"{count} {one if count == 1 else many or one + 's'}"
