"""Small sites of a synthetic cohort, and `small_sites` importable for the tests of this folder."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from threads import one_thread  # noqa: F401

sys.path.append(str(Path(__file__).parent))

import small_sites


@pytest.fixture(scope="package")
def stores(tmp_path_factory) -> list[Path]:
    return small_sites.write_stores(tmp_path_factory.mktemp("cohort"))


@pytest.fixture(scope="package")
def start(stores) -> dict:
    """Arrays of a first round: basis, components and random weights."""
    return small_sites.first_arrays(stores)
