"""Scans as other hospitals would have taken them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from brainjepa_core.evaluation.asked.changed_scans import (
    ChangedScans,
    EveryOther,
    FirstSeconds,
    WithoutROIs,
    changed,
)
from brainjepa_core.signals.storing.series_store import SeriesStore
from brainjepa_core.signals.window_settings import WindowSettings
from brainjepa_core.signals.windows import Windows

TR = 2.0
SCANS = [np.random.default_rng(i).standard_normal((20, 90 + 30 * i)) for i in range(3)]
STORE = SeriesStore(SCANS, TR)
SETTINGS = WindowSettings(frames=16, tr=TR)


def aligned(stores, person=0):
    ((series, known),) = Windows(stores, SETTINGS).aligned(person)
    return series, known


@pytest.mark.parametrize("person", range(3))
def test_a_scan_that_was_stopped_early(person):
    found, _ = aligned([ChangedScans(STORE, FirstSeconds(200.0))], person)
    expected, _ = aligned([SeriesStore([scan[:, :100] for scan in SCANS], TR)], person)
    np.testing.assert_array_equal(found, expected)  # 90 frames are fewer than 100


def test_every_other_frame_is_a_scan_at_twice_the_repetition_time():
    found, _ = aligned([ChangedScans(STORE, EveryOther())], 1)
    expected, _ = aligned([SeriesStore([scan[:, ::2] for scan in SCANS], 2 * TR)], 1)
    np.testing.assert_array_equal(found, expected)


def test_a_hospital_misses_the_same_regions_of_everybody_and_another_one_others():
    stores = changed((STORE, STORE), lambda number: WithoutROIs(0.3, number))
    known = np.array([aligned([store], person)[1] for store in stores for person in range(3)])
    assert ((~known).sum(1) == 6).all()
    assert (known[:3] == known[0]).all() and (known[3:] == known[3]).all()
    assert (known[0] != known[3]).any()


def test_what_is_kept_by_content_knows_a_changed_scan_and_one_that_stayed():
    before, after = STORE.records, ChangedScans(STORE, FirstSeconds(200.0)).records
    same = [a.sha256 == b.sha256 for a, b in zip(before, after, strict=True)]
    assert same == [True, False, False]
    other = ChangedScans(STORE, FirstSeconds(100.0)).records
    assert after[2].sha256 != other[2].sha256
    assert replace(after[1], sha256="", frames=0) == replace(before[1], sha256="", frames=0)


def test_the_site_keeps_its_name_and_a_store_without_a_change_is_itself():
    class Named(SeriesStore):
        path = Path("somewhere/NYU")

    store = Named(SCANS, TR)
    first, second = changed((store, store), lambda number: EveryOther() if number else None)
    assert first is store and second.path.name == "NYU" and second.fingerprint != store.fingerprint
