"""A site's quality tables and page: from the reports of `prepare`, or from the store alone."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np

from brainjepa_client.preparing.scan_reports import FIGURES, Reports, digest
from brainjepa_client.quality.page import write_quality
from brainjepa_client.quality.ratings import read_ratings
from brainjepa_client.quality.scan_figure import draw_scan
from brainjepa_client.quality.table import ScanReport
from brainjepa_client.settings import SiteSettings
from brainjepa_core.atlas import load_atlas
from brainjepa_core.gradients.neighbour_alarm import half_connectivity, neighbour_alarm
from brainjepa_core.signals.cleaning.quality import scan_quality
from brainjepa_core.signals.scan import RawScan
from brainjepa_core.signals.storing.scan_table import ScanRecord
from brainjepa_core.signals.storing.store import ScanStore
from brainjepa_core.signals.storing.store_header import HEADER


def write_site_quality(site: SiteSettings) -> tuple[Counter[str], Path]:
    """Write tables and page of a site.

    Scans of the store that have no report (an import makes none) are judged from their series.

    Parameters
    ----------
    site : SiteSettings

    Returns
    -------
    Counter, Path
        Scans included, excluded and failed; the page.
    """
    store = ScanStore.open(site.store) if (site.store / HEADER).exists() else None
    stored = set() if store is None else {record.key for record in store.records}
    # After a kill a report may lag behind the store, which is what counts.
    kept = Reports(site.quality)
    reports = [
        report for report in kept.all() if (report.status == "included") == (report.key in stored)
    ]
    told = {report.key for report in reports}
    if store is not None:
        missing = [record for record in store.records if record.key not in told]
        reports += [_from_store(store, record, site.quality / FIGURES) for record in missing]
        atlas = store.atlas
    else:
        atlas = load_atlas(site.preparation().atlas)
    rules = None if site.prepare is None else site.prepare.exclude
    damaged = kept.damaged()
    ratings = None if site.prepare is None else read_ratings(site.quality)
    page = write_quality(site.quality, site.name, atlas, reports, rules, store, damaged, ratings)
    return Counter(report.status for report in reports), page


def _from_store(store: ScanStore, record: ScanRecord, figures: Path) -> ScanReport:
    """What a stored series tells; numbers that came with it are believed."""
    series = np.asarray(store.series(record), np.float64)
    raw = RawScan(series, record.tr, np.where(np.isfinite(series[:, 0]), np.nan, 0.0))
    quality = {**scan_quality(raw, series), **record.qc}
    order = neighbour_alarm(*half_connectivity(series), store.atlas.centroids)
    if order is not None:
        quality["order_score"] = order.score
    picture = figures / f"{digest(record.key)}.png"
    report = ScanReport(*record.key, "included", quality, (), f"{FIGURES}/{picture.name}")
    draw_scan(picture, raw, series, store.atlas, quality, title=report.name)
    return report
