"""Every body of a whole study, with something going wrong at each stage: nothing of a person."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pytest
from captured import DOWN, UP, capturing, findings, forbidden
from deployed import Deployed

from brainjepa_client.settings import SiteSettings
from brainjepa_core.settings import read_settings
from brainjepa_core.signals.storing.store import ScanStore
from brainjepa_core.signals.storing.store_header import HEADER
from brainjepa_server.consortium.consortium_folder import ConsortiumFolder

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

# What a library may say when it fails: a path with a person's label, and a date.
TOLD = "/data/bids/sub-{person}/ses-20240305/func of 2024-03-05"
PLANTED = "sub-planted of 1999-12-31"


def store_of(deployed: Deployed, name: str) -> Path:
    return read_settings(deployed.yaml(name), SiteSettings).store


def people_of(deployed: Deployed) -> list[str]:
    stores = [ScanStore.open(store_of(deployed, name)) for name in deployed.sites]
    return sorted({record.subject for store in stores for record in store.records})


def test_no_body_names_a_person_a_path_or_a_date_whatever_fails(deploy, monkeypatch):
    deployed = deploy(quorum=1, joining_time=60, deadline=120, evaluate_every=1)
    people = people_of(deployed)
    assert len(people) == 30 and min(map(len, people)) > 5
    said = repr(TOLD.format(person=people[0]))
    # Describe: the store has gone. Gradients: an import. Training: a full disk, an error of
    # torch's, a worker that is killed. Yardstick: a damaged store, and an error that is let out.
    deployed.meddle("site-02", "gradients", f"fail ImportError({said}, path={said})")
    deployed.meddle("site-02", "train", f"fail OSError(28, 'No space left on device', {said})")
    deployed.meddle("site-03", "train", "-", f"fail RuntimeError({said})")
    deployed.meddle("site-02", "evaluate", "-", f"leak ValueError({PLANTED!r})", "hold")
    folder = ConsortiumFolder.open(deployed.consortium)
    sites = deployed.start_sites()
    deployed.wait(lambda: deployed.part("site-01", "worker") == "ready", *sites)
    store_of(deployed, "site-01").rename(deployed.folder / "gone")
    server = deployed.serve(deployed.folder / "study.yaml", "--no-proxy")
    deployed.wait(folder.loopback_certificate.exists, server)
    with capturing(folder, deployed.port, deployed.link, monkeypatch) as captured:
        damage(deployed, server, sites)
        code = deployed.ends(server, *sites)
        end(sites)
    assert code == 0, deployed.output()
    look(deployed, captured, people)


def damage(deployed: Deployed, server: subprocess.Popen, sites: list[subprocess.Popen]) -> None:
    """In the last evaluation, one worker is killed and the other's store is damaged."""
    deployed.wait(lambda: deployed.met("site-02", "evaluate", "held"), server, *sites)
    (worker,) = deployed.processes("deploying.worker", "site-02")
    (store_of(deployed, "site-03") / HEADER).write_text("{")
    os.kill(worker, signal.SIGKILL)
    deployed.let_go("site-02", "evaluate")


def end(sites: list[subprocess.Popen]) -> None:
    for site in sites:
        site.terminate()
    assert [site.wait(120) for site in sites] == [0] * len(sites)


def look(deployed, captured, people) -> None:
    patterns = forbidden(deployed.folder, people)
    # The net catches: what was planted is found, in the one message that it was planted in.
    found = findings(captured.of(UP), patterns)
    assert {what.split(":")[0] for what in found} == {"sub-", "a date"}, found
    assert all(PLANTED in what for what in found), found
    assert findings(captured.of(DOWN), patterns) == []
    for name in ("site-02", "site-03"):
        assert captured.having(name) == {UP, DOWN}  # the contract's roster went down
    heads = [head for head, _ in captured.requests]
    assert not [head for head in heads if b"content-encoding" in head]
    del patterns["a path"]  # of the call
    assert findings(heads, patterns) == []
    # And each thing went wrong where it was to.
    for told in (
        "the site failed in describe (ValueError); see its log",
        "the site failed in gradients (ImportError); see its own log",
        "the site failed in train (OSError); see its own log",
        "the site failed in train (RuntimeError); see its own log",
        PLANTED,
    ):
        assert captured.having(told) == {UP}, told
