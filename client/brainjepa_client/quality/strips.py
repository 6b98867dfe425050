"""Numbers of a site as strips in which each dot is a scan, for the quality page."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from matplotlib.ticker import MaxNLocator

from brainjepa_client.quality.table import SCALES, ScanReport
from brainjepa_core.signals.preparation import ExclusionSettings

WIDTH, HEIGHT, MARGIN = 320, 110, 14  # of a strip, CSS pixels
MIDDLE, SPREAD = 46, 30  # of the dots, downwards
PERCENT = 100.0
GOLDEN = (math.sqrt(5) - 1) / 2  # spreads any number of dots evenly
# Number, label, and the rule whose limit is drawn.
STRIPS = (
    ("mean_fd", "mean FD (mm)", "mean_fd"),
    ("dvars", "mean DVARS (%)", ""),
    ("censored", "censored frames (%)", "censored"),
    ("tsnr", "tSNR", "tsnr"),
    ("seconds", "minutes", "seconds"),
    ("fc_mean", "mean correlation", ""),
    ("coverage_mean", "coverage (%)", ""),
)


class Dot(NamedTuple):
    """A scan; `name` and `value` are what hovering shows."""

    across: float
    down: float
    kind: str
    name: str
    value: str


@dataclass(frozen=True)
class Strip:
    """A number of all scans.

    Attributes
    ----------
    label : str
    dots : list of Dot
    ticks : list of (float, str)
        Places and texts on the axis.
    limit : float, optional
        Place of the rule's limit.
    told : str
        The strip in words: lowest, median and highest.
    """

    label: str
    dots: list[Dot]
    ticks: list[tuple[float, str]]
    limit: float | None
    told: str


def strips(reports: Sequence[ScanReport], rules: ExclusionSettings) -> list[Strip]:
    """A strip of each number that any scan has."""
    found = (_strip(reports, rules, *number) for number in STRIPS)
    return [strip for strip in found if strip is not None]


def _strip(
    reports: Sequence[ScanReport], rules: ExclusionSettings, name: str, label: str, rule: str
) -> Strip | None:
    scale = SCALES.get(name, 1.0)
    known = [
        (scale * value, report)
        for report in reports
        if report.status != "failed" and math.isfinite(value := report.quality.get(name, math.nan))
    ]
    if not known:
        return None
    values = sorted(value for value, _ in known)
    limit = getattr(rules, rule) if rule else None
    ends = [*values, *([] if limit is None else [scale * limit])]
    low, high = min(ends), max(ends)
    margin = 0.05 * (high - low) or 0.5 * abs(high) or 0.5
    most = max(high, PERCENT) if scale == PERCENT else math.inf  # no axis shows 150 %
    low, high = (max(0.0, low - margin) if low >= 0 else low - margin), min(high + margin, most)

    def place(value: float) -> float:
        return float(round(MARGIN + (WIDTH - 2 * MARGIN) * (value - low) / (high - low), 1))

    dots = [
        Dot(place(value), round(MIDDLE + SPREAD * (2 * (GOLDEN * i % 1) - 1), 1), report.status,
            report.name, f"{value:.3g}")
        for i, (value, report) in enumerate(known)
    ]  # fmt: skip
    ticks = [
        (place(tick), f"{tick:.6g}")
        for tick in MaxNLocator(4).tick_values(low, high)
        if low <= tick <= high
    ]
    middle = values[len(values) // 2]
    told = (
        f"{label} of {len(values)} scans: {values[0]:.3g} to {values[-1]:.3g}, median {middle:.3g}"
    )
    return Strip(label, dots, ticks, None if limit is None else place(scale * limit), told)
