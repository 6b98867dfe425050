"""A real SuperLink behind its proxy, three real sites: a study by commands, with the same bits."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from deployed import Deployed, said
from small_consortium import plan, run, same, weights

from brainjepa_simulations.scenario import Scenario

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

ROUNDS = {"quorum": 3, "joining_time": 240, "deadline": 240}


def chosen():
    """With a roster, for which a study waits no longer than it must."""
    planned = plan(3, rounds=ROUNDS)
    planned["study"]["sites"] = ["site-01", "site-02", "site-03"]
    return Scenario.model_validate(planned)


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    """The same study in one process."""
    return run(chosen(), tmp_path_factory.mktemp("runs") / "straight")


@pytest.fixture
def deployed(tmp_path) -> Iterator[Deployed]:
    made = Deployed(tmp_path, chosen())
    yield made
    made.clear()
    assert not made.processes()


def finished(deployed: Deployed):
    return deployed.consortium / "studies" / "small"


def test_a_study_over_tls_has_the_bits_of_one_in_one_process(deployed, straight):
    server = deployed.serve(deployed.folder / "study.yaml")
    sites = deployed.start_sites()
    assert deployed.ends(server, *sites) == 0, deployed.output()
    assert same(weights(finished(deployed)), weights(straight)), deployed.output()
    assert all(site.poll() is None for site in sites)
    assert not deployed.processes("superlink") and not deployed.processes("proxy")
    code, text = said("server", "log", deployed.consortium)
    assert code == 0 and "site-01: train of study 'small', round 3" in text
