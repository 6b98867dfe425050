"""Stopped while a site trains: no step begins after the one at hand, and its bits go on."""

from __future__ import annotations

import os
import signal

import pytest
from deployed import Deployed, said
from small_consortium import same, weights

from brainjepa_client.computing.stopping import STOPPED
from brainjepa_client.consent.audit_log import audit_log

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]

SITE = "site-02"


def training(deployed: Deployed, *alive) -> list[int]:
    """Wait until the site is in the middle of a step; the steps that have begun."""
    (deployed.meddling / f"{SITE}.step.met").unlink(missing_ok=True)
    deployed.meddle(SITE, "step", "")
    deployed.wait(lambda: deployed.met(SITE, "step"), *alive)
    return deployed.steps(SITE)


def ends_with_this_step(deployed: Deployed, begun: list[int], *alive) -> None:
    """The site is told while the step waits; let it go, and no other step begins."""
    deployed.wait(lambda: deployed.met(SITE, "step", "told"), *alive)
    deployed.let_go(SITE, "step")
    deployed.wait(lambda: refusals(deployed)[-1:] == [STOPPED], *alive)
    assert deployed.steps(SITE) == begun
    (deployed.meddling / f"{SITE}.step.told").unlink()


def refusals(deployed: Deployed) -> list[str]:
    lines = audit_log(deployed.folder / "site-state" / SITE).lines()
    return [line["refusal"] for line in lines if line.get("kind") == "train"]


def test_no_step_begins_after_a_stop_and_the_next_start_goes_on(deploy, straight):
    deployed = deploy(retries=5)
    sites = dict(zip(deployed.sites, deployed.start_sites(), strict=True))
    others = [sites["site-01"], sites["site-03"]]
    server = deployed.serve(deployed.folder / "study.yaml")

    # A service manager ends the site.
    begun = training(deployed, server, *others)
    os.kill(sites[SITE].pid, signal.SIGTERM)
    ends_with_this_step(deployed, begun, server, *others)
    assert deployed.ends(sites[SITE]) == 0
    assert not deployed.processes(SITE)

    # Its manager does, when the coordinator asks it again.
    (sites[SITE],) = deployed.start_sites(SITE)
    begun = training(deployed, server, *sites.values())
    stop = deployed.start("site", "stop", deployed.yaml(SITE))
    ends_with_this_step(deployed, begun, server, *others)
    assert stop.wait(120) == 0
    assert deployed.ends(sites[SITE]) == 0

    # The coordinator stops the study at once: the site is told, and does not train for nobody.
    (sites[SITE],) = deployed.start_sites(SITE)
    begun = training(deployed, server, *sites.values())
    stop = deployed.start("server", "stop", deployed.consortium, "--now")
    ends_with_this_step(deployed, begun, *sites.values())
    assert stop.wait(120) == 0 and deployed.ends(server) == 75, deployed.output()
    assert not deployed.processes("brainjepa_server")

    # All of it goes on, and ends as if nothing had happened.
    server = deployed.serve(deployed.folder / "study.yaml")
    assert deployed.ends(server, *sites.values()) == 0, deployed.output()
    assert same(weights(deployed.study), straight)
    for name in deployed.sites:
        assert said("site", "stop", deployed.yaml(name)) == (0, "stopped\n")
    assert [site.wait(60) for site in sites.values()] == [0, 0, 0] and not deployed.processes()
