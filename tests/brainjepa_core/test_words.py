"""Numbers of things, as they are written."""

from __future__ import annotations

import pytest

from brainjepa_core.words import counted


@pytest.mark.parametrize(
    ("number", "one", "text"),
    [
        (0, "scan", "0 scans"), (1, "scan", "1 scan"), (2, "scan", "2 scans"),
        (1, "person", "1 person"), (0, "person", "0 people"), (3, "ROI", "3 ROIs"),
        (2, "class", "2 classes"), (2, "reply", "2 replies"), (2, "process", "2 processes"),
        (1, "file of others", "1 file of others"), (2, "file of others", "2 files of others"),
    ],
)  # fmt: skip
def test_one_and_several(number, one, text):
    assert counted(number, one) == text
