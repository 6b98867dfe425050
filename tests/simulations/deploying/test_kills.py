"""Each process killed in each phase of a study, and started again: the same bits, nothing left."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest
from deployed import Deployed, said
from small_consortium import plan, run, same, weights

from brainjepa_core.wire.messages import DESCRIBE, EVALUATE, GRADIENTS, TRAIN
from brainjepa_simulations.scenario import Scenario

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

SERVER = {
    "the study": "study_process",
    "the SuperLink": "superlink_program",
    "the proxy": "deploying.proxy",
    "the server": "server start",
}


def chosen() -> Scenario:
    """Two rounds that need all three sites."""
    rounds = {"quorum": 3, "joining_time": 300, "deadline": 300}
    planned = plan(3, steps=3, rounds=rounds)
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


@pytest.mark.parametrize("phase", [DESCRIBE, GRADIENTS, TRAIN, EVALUATE])
def test_what_was_killed_goes_on_with_the_same_bits(deployed, straight, phase):
    sites = dict(zip(deployed.sites, deployed.start_sites(), strict=True))
    for victim in SERVER.values():
        server = serving(deployed, phase, ["site-02"], sites)
        deployed.kill(victim)
        code = deployed.ends(server, *sites.values())
        assert code == (-signal.SIGKILL if victim == "server start" else 1), deployed.output()
        deployed.wait(lambda: not deployed.processes("brainjepa_server"))
    # The server lives; at each site another program is killed at the same moment.
    server = serving(deployed, phase, deployed.sites, sites)
    deployed.kill("flwr.supernode", "site-01")
    deployed.kill("deploying.worker", "site-02")
    os.kill(sites["site-03"].pid, signal.SIGKILL)
    for name in deployed.sites:
        deployed.let_go(name, phase)
    deployed.wait(lambda: not deployed.processes("site-03"))
    (sites["site-03"],) = deployed.start_sites("site-03")
    assert deployed.ends(server, *sites.values()) == 0, deployed.output()
    final = deployed.consortium / "studies" / "small"
    assert same(weights(final), weights(straight)), deployed.output()
    for name in deployed.sites:
        assert said("site", "stop", deployed.yaml(name)) == (0, "stopped\n")
        assert sites[name].wait(60) == 0
    assert not deployed.processes()


def serving(deployed: Deployed, phase: str, held: list[str], sites: dict):
    """A server whose study is in a phase, which some of the sites are held in."""
    for name in held:
        deployed.meddle(name, phase, "hold")
        (deployed.meddling / f"{name}.{phase}.met").unlink(missing_ok=True)
    server = deployed.serve(deployed.folder / "study.yaml")
    for name in held:
        deployed.wait(lambda name=name: deployed.met(name, phase), server, *sites.values())
    return server
