"""`fake_grid` importable for the tests of this folder."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parent))

from fake_grid import CLOCK

from brainjepa_server.rounds import joining, sites


@pytest.fixture(autouse=True)
def clock(monkeypatch):
    """The coordinator waits by the fake grid's clock: no test takes the time of a deadline."""
    for module in (joining, sites):
        monkeypatch.setattr(module, "time", CLOCK)
    return CLOCK
