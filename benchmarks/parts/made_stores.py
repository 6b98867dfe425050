"""Stores of noise: of people with a scan each, or of a large site's many, who share a few."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np

from brainjepa_core.atlas import Atlas
from brainjepa_core.signals.storing.scan_arrays import array_path
from brainjepa_core.signals.storing.scan_table import TABLE, write_table
from brainjepa_core.signals.storing.store import ScanStore

SCAN_FRAMES, SCAN_TR = 490, 0.735  # as UK Biobank's


def few_people(folder: Path, atlas: Atlas, people: int, *, whole: bool = True) -> ScanStore:
    """Everybody has a scan; where not `whole`, a third of them lack frames and a third a ROI."""
    store, rng = ScanStore.create(folder, atlas), np.random.default_rng(0)
    for person in range(people):
        short, dead = (not whole and person % 3 == which for which in (0, 1))
        frames = SCAN_FRAMES * 4 // 5 if short else SCAN_FRAMES
        series = rng.standard_normal((len(atlas), frames), np.float32)
        if dead:
            series[person % len(atlas)] = np.nan
        store.append(series, subject=f"{person:07d}", tr=SCAN_TR)
    return store


def many_people(
    folder: Path,
    atlas: Atlas,
    people: int,
    *,
    different: int = 16,
    frames: int = SCAN_FRAMES,
    tr: float = SCAN_TR,
) -> ScanStore:
    """Everybody has a line of the table; their arrays are links to a few different ones.

    The table is written at once, since a line a scan takes hours.
    """
    rng = np.random.default_rng(0)
    store = ScanStore.create(folder, atlas)
    for person in range(min(different, people)):
        series = rng.standard_normal((len(atlas), frames), np.float32)
        series += rng.standard_normal(frames, np.float32)
        store.append(series, subject=f"{person:07d}", tr=tr)
    originals = store.records
    records = [
        replace(
            originals[person % len(originals)],
            subject=f"{person:07d}",
            qc={"mean_fd": round(0.05 + 0.2 * rng.random(), 4)},
            phenotypes={"age": round(45 + 35 * rng.random(), 1), "sex": "MF"[person % 2]},
        )
        for person in range(people)
    ]
    for person, record in enumerate(records[len(originals) :], len(originals)):
        os.link(array_path(folder, originals[person % len(originals)]), array_path(folder, record))
    write_table(folder / TABLE, records)
    return ScanStore.open(folder)
