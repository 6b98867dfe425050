"""Each process killed in each phase of a study, and started again: the same bits, nothing left."""

from __future__ import annotations

import os
import signal

import pytest
from deployed import Deployed, said
from small_consortium import same, weights

from brainjepa_core.wire.messages import DESCRIBE, EVALUATE, GRADIENTS, TRAIN

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

SERVER = {
    "the study": "study_process",
    "the SuperLink": "superlink_program",
    "the proxy": "deploying.proxy",
    "the server": "server start",
}


FINISH = "finish"  # after the last round: models are written


@pytest.mark.parametrize("phase", [DESCRIBE, GRADIENTS, TRAIN, EVALUATE, FINISH])
def test_what_was_killed_goes_on_with_the_same_bits(deploy, straight, phase):
    deployed = deploy()
    sites = dict(zip(deployed.sites, deployed.start_sites(), strict=True))
    for victim in SERVER.values():
        server = serving(deployed, phase, of_phase(phase, ["site-02"]), sites)
        deployed.kill(victim)
        code = deployed.ends(server, *sites.values())
        assert code == (-signal.SIGKILL if victim == "server start" else 1), deployed.output()
        deployed.wait(lambda: not deployed.processes("brainjepa_server"))
    # The server lives; at each site another program is killed at the same moment.
    server = serving(deployed, phase, of_phase(phase, deployed.sites), sites)
    deployed.kill("supernode_program", "site-01")
    deployed.kill("deploying.worker", "site-02")
    os.kill(sites["site-03"].pid, signal.SIGKILL)
    for name in of_phase(phase, deployed.sites):
        deployed.let_go(name, phase)
    deployed.wait(lambda: not deployed.processes("site-03"))
    (sites["site-03"],) = deployed.start_sites("site-03")
    assert deployed.ends(server, *sites.values()) == 0, deployed.output()
    assert same(weights(deployed.study), straight), deployed.output()
    for name in deployed.sites:
        assert said("site", "stop", deployed.yaml(name)) == (0, "stopped\n")
        assert sites[name].wait(60) == 0
    assert not deployed.processes()


def of_phase(phase: str, sites: list[str]) -> list[str]:
    """Who is held in a phase, of sites where it is theirs."""
    return ["server"] if phase == FINISH else sites


def serving(deployed: Deployed, phase: str, held: list[str], sites: dict):
    """A server whose study is in a phase, which some of the sites are held in."""
    for name in held:
        deployed.meddle(name, phase, "hold")
        (deployed.meddling / f"{name}.{phase}.met").unlink(missing_ok=True)
    server = deployed.serve(deployed.folder / "study.yaml")
    for name in held:
        deployed.wait(lambda name=name: deployed.met(name, phase), server, *sites.values())
    return server
