"""One thread, no MLflow unless a test asks for it, and `small_consortium` importable."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from threads import one_thread  # noqa: F401

sys.path.append(str(Path(__file__).parent))

import small_consortium


@pytest.fixture(autouse=True)
def no_mlflow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setattr("brainjepa_server.study.StudyTracker", small_consortium.NoTracker)
