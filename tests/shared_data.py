"""Where tests find the real data that never ships with the repository."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(os.environ.get("BRAINJEPA_SHARED", Path(__file__).parents[2] / "shared"))


def shared(*parts: str) -> Path:
    """Path below the shared data folder; the test is skipped where it is absent."""
    path = ROOT.joinpath(*parts)
    if not path.exists():
        pytest.skip(f"needs shared/{'/'.join(parts)}, which is not part of the repository")
    return path
