"""Consortia for the tests of this folder, whose helpers are importable; nothing of them stays."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parent))

from deployed import Deployed, three_sites
from small_consortium import run, weights

from brainjepa_simulations.scenario import Scenario


@pytest.fixture(scope="session")
def straight(tmp_path_factory):
    """Final weights of `three_sites` in one process."""
    return weights(run(three_sites(), tmp_path_factory.mktemp("runs") / "straight"))


@pytest.fixture
def deploy(tmp_path) -> Iterator[Callable[..., Deployed]]:
    """Sets up a consortium; whatever of it still runs is ended."""
    made = []

    def set_up(scenario: Scenario | None = None, **rounds: object) -> Deployed:
        made.append(Deployed(tmp_path, scenario or three_sites(**rounds)))
        return made[0]

    yield set_up
    for one in made:
        one.clear()
        assert not one.processes()
