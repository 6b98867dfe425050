"""Lets the tests of this folder import `small_runs`, and small models run on one thread."""

from __future__ import annotations

import sys
from pathlib import Path

from threads import one_thread  # noqa: F401

sys.path.append(str(Path(__file__).parents[1] / "pretraining"))
