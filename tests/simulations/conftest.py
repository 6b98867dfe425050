"""One thread, no MLflow unless a test asks for it, and `small_consortium` importable."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from threads import one_thread  # noqa: F401

sys.path.append(str(Path(__file__).parent))

import small_consortium


@pytest.fixture(scope="package", autouse=True)
def no_mlflow() -> Iterator[None]:
    """Also for studies that a module's fixture runs: a database takes seconds to make."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        patch.setattr("brainjepa_server.study.StudyTracker", small_consortium.NoTracker)
        yield
