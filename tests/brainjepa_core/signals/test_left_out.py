"""Scans that are left out: a line for each reason, which names nobody; each one for debugging."""

from __future__ import annotations

import logging

import numpy as np
import pytest

from brainjepa_core.atlas import Atlas
from brainjepa_core.signals.people import LeftOut, in_short
from brainjepa_core.signals.storing.store import ScanStore
from brainjepa_core.signals.window_settings import WindowSettings
from brainjepa_core.signals.windows import Windows


def test_a_line_says_how_many_scans_what_was_expected_and_what_was_found():
    apart = [
        LeftOut(f"north/sub-{i} 01", f"expected two windows, found {seconds} s, as 1 scan")
        for i, seconds in enumerate([240, 238, 240, 240])
    ]
    others = [LeftOut("south/sub-9", "expected volumes, found none; say prepare.volumes")]
    assert in_short([*others, *apart]) == [
        "4 scans: expected two windows, found 240 s, as 1 scan; other values in 1",
        "1 scan: expected volumes, found none; say prepare.volumes",
    ]
    assert in_short([LeftOut("a", "of another form"), LeftOut("b", "of another form")]) == [
        "2 scans: of another form"
    ]
    assert in_short([]) == []


@pytest.fixture
def store(tmp_path) -> ScanStore:
    made = ScanStore.create(tmp_path / "north", Atlas.from_names([f"r{i}" for i in range(6)]))
    rng = np.random.default_rng(0)
    for person, frames in enumerate([80, 79, 300, 300]):
        made.append(rng.standard_normal((6, frames)), subject=f"sub-{person}", tr=2.0)
    return made


def test_windows_warn_in_a_line_and_name_the_scans_for_debugging(store, caplog):
    with caplog.at_level(logging.DEBUG, "brainjepa_core"):
        windows = Windows([store], WindowSettings(frames=100, tr=2.0), with_rest=True)
    assert windows.subjects == 2
    (warning,) = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
    assert warning.startswith("left out: 2 scans: expected two windows of 200 s apart")
    assert warning.endswith("(--verbose names them)") and "sub-" not in warning
    named = [r.getMessage() for r in caplog.records if r.levelno == logging.DEBUG]
    assert [text.split(":")[1].strip() for text in named] == ["north/sub-0", "north/sub-1"]
