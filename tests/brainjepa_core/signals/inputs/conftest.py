"""A small painted site, whole."""

from __future__ import annotations

import pytest

from brainjepa_simulations.cohort.cohort import CohortSettings, generate_site
from brainjepa_simulations.painting.tree import PaintedTree, PaintSettings, write_tree

COHORT = CohortSettings(
    sites=1, subjects_per_site=4, rois=12, networks=5, frames=60, second_sessions=0.5
)


@pytest.fixture
def tree(tmp_path) -> PaintedTree:
    """Sessions and two runs, motion mixed in, the first run also as CIFTI."""
    settings = PaintSettings(runs=2, contamination="simple_motion", cifti=1)
    return write_tree(tmp_path / "site", generate_site(COHORT, 0), settings)
