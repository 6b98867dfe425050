"""Helpers of this folder's tests, importable as `running_sites`."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parent))
