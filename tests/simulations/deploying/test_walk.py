"""`brainjepa consortium try`: the walk of the guide in one command."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from child_process import environment

from brainjepa_client.approving.contracts import Contracts
from brainjepa_client.settings import SiteSettings
from brainjepa_core.settings import read_settings
from brainjepa_server.consortium.admission import admitted_sites
from brainjepa_server.consortium.consortium_folder import ConsortiumFolder
from brainjepa_simulations.deployment.walk import COORDINATOR, set_up_consortium
from brainjepa_simulations.scenario import read_scenario

MARK = "BRAINJEPA_TRIED"


def test_each_step_is_a_command_that_people_type(tmp_path):
    said: list[str] = []
    yamls = set_up_consortium(tmp_path, read_scenario("three_hospitals"), said.append)
    names = [path.stem for path in yamls]
    assert names == ["site-01", "site-02", "site-03"]
    assert list(admitted_sites(ConsortiumFolder(tmp_path / COORDINATOR))) == names
    for path in yamls:
        (known,) = Contracts(read_settings(path, SiteSettings).state).known()
        assert known.decision == "approved" and list(known.contract.roster) == names
    steps = [" ".join(line.split()[1:3]) for line in said]
    assert steps == [
        "server init",
        *["site join", "server admit"] * 3,
        "server propose",
        *["site review", "site approve"] * 3,
    ]


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("protect", ["none", "secure_sum"])
def test_it_ends_with_the_bits_of_one_process_and_leaves_nothing_running(tmp_path, protect):
    words = ["consortium", "try", str(tmp_path / "c"), "--compare", "--protect", protect]
    done = subprocess.run(
        [sys.executable, "-m", "brainjepa", *words],
        env=environment(**{MARK: str(tmp_path)}),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1] == "the same bits as in one process"
    assert "round   3 of 3" in done.stdout
    mark = f"{MARK}={tmp_path}".encode()
    left = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if mark in (process / "environ").read_bytes().split(b"\0"):
                left.append((process / "cmdline").read_bytes())
        except OSError:  # another user's, or gone meanwhile
            continue
    assert [line for line in left if line] == []
    assert os.listdir(tmp_path) == ["c"]
