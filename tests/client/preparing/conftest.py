"""Preparing without drawing, which ``quality/test_figures.py`` looks at."""

from __future__ import annotations

import pytest
from painted_sites import undrawn


@pytest.fixture
def no_pictures():
    with undrawn():
        yield
