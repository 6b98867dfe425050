"""Lets the tests of this folder, and the processes they start, import `small_runs`."""

from __future__ import annotations

import sys
from pathlib import Path

from threads import one_thread  # noqa: F401

sys.path.append(str(Path(__file__).parent))
