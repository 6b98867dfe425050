"""What every test runs under: few threads, no wait for the disk, fixed seeds, no reports."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import sys
from collections.abc import Iterator
from typing import Any

# Before anything imports numpy or torch: both read these once. Workers of pytest-xdist share the
# cores; more threads than cores makes small matrices several times slower.
_WORKERS = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
_THREADS = str(max(1, (os.cpu_count() or 1) // _WORKERS))
for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, _THREADS)
os.environ.update(
    FLWR_TELEMETRY_ENABLED="0",
    FLWR_DISABLE_UPDATE_CHECK="1",
    MLFLOW_DISABLE_TELEMETRY="true",
    RAY_USAGE_STATS_ENABLED="0",
    MPLBACKEND="Agg",
)

import numpy as np  # noqa: E402
import pytest  # noqa: E402
from hypothesis import settings  # noqa: E402

# A shell that starts this in the background has it ignore Ctrl-C, and all that it starts in turn.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

settings.register_profile("local", deadline=None, max_examples=25)
# The same examples every time: CI judges a change, it does not go looking for new failures.
settings.register_profile("ci", deadline=None, max_examples=25, derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "local")


def _only_checked(descriptor: int) -> None:
    os.fstat(descriptor)


def _connected(*where: Any, **how: Any) -> sqlite3.Connection:
    connection = sqlite3.connect(*where, **how)
    connection.execute("PRAGMA synchronous = OFF")
    return connection


@pytest.fixture(scope="session", autouse=True)
def no_waiting_for_the_disk() -> Iterator[None]:
    """What is on the disk and not in its cache shows after a power cut, which no test can make.

    Half of a study's minute here is waiting for it. A descriptor that is none is still an error;
    programs that tests start wait as they do for everybody.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", _only_checked)
        patch.setattr(sqlite3.dbapi2, "connect", _connected)  # MLflow's
        yield


@pytest.fixture(autouse=True)
def fixed_seeds() -> None:
    """A test that forgets to seed still gives the same numbers every time and in any order."""
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(0)


@pytest.fixture
def words_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages whose pictures are laid out and left empty, for tests of what they say."""
    blank = "data:image/png;base64,iVBORw0KGgo="  # eight bytes by which a PNG is known
    monkeypatch.setattr("brainjepa_core.pages.picture._png", lambda *_: blank)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip tests marked ``gpu`` where torch sees no CUDA device."""
    if item.get_closest_marker("gpu"):
        import torch

        if not torch.cuda.is_available():
            pytest.skip("needs a CUDA device")
