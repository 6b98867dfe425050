"""Small sites of a synthetic cohort, and `small_sites` importable for the tests of this folder."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

sys.path.append(str(Path(__file__).parent))

import small_sites


@pytest.fixture(autouse=True, scope="package")
def one_thread() -> Iterator[None]:
    """A second thread has nothing to do in models this small, and is waited for all the same."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="package")
def stores(tmp_path_factory) -> list[Path]:
    return small_sites.write_stores(tmp_path_factory.mktemp("cohort"))


@pytest.fixture(scope="package")
def start(stores) -> dict:
    """Arrays of a first round: basis, components and random weights."""
    return small_sites.first_arrays(stores)
