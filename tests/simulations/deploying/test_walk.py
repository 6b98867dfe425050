"""`brainjepa consortium try`: the walk of the guide in one command."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from child_process import environment
from typer.testing import CliRunner

from brainjepa_client.approving.contracts import Contracts
from brainjepa_client.consent.audit_log import audit_log
from brainjepa_client.settings import SiteSettings
from brainjepa_core.privacy.accounting import epsilon_of
from brainjepa_core.privacy.ledger import Ledger
from brainjepa_core.secure_sums.messages import MASKED
from brainjepa_core.settings import read_settings
from brainjepa_server.consortium.admission import admitted_sites
from brainjepa_server.consortium.consortium_folder import ConsortiumFolder
from brainjepa_server.record.history import read_history
from brainjepa_simulations.commands.consortium import app
from brainjepa_simulations.deployment.public_model import private_trial
from brainjepa_simulations.deployment.walk import COORDINATOR, set_up_consortium
from brainjepa_simulations.engines.virtual_sites import SITES
from brainjepa_simulations.scenario import read_scenario

MARK = "BRAINJEPA_TRIED"
STEPS = 4  # of a study whose rounds are of one step


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


def tried(folder: Path, mark: Path, *words: str) -> str:
    """What the command says, once it has ended well."""
    done = subprocess.run(
        [sys.executable, "-m", "brainjepa", "consortium", "try", str(folder), *words],
        env=environment(**{MARK: str(mark)}),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def require_nothing_left(mark: Path) -> None:
    """No process that was begun for it."""
    sign, left = f"{MARK}={mark}".encode(), []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if sign in (process / "environ").read_bytes().split(b"\0"):
                left.append((process / "cmdline").read_bytes())
        except OSError:  # another user's, or gone meanwhile
            continue
    assert [line for line in left if line] == []


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("protect", ["none", "secure_sum"])
def test_it_ends_with_the_bits_of_one_process_and_leaves_nothing_running(tmp_path, protect):
    said = tried(tmp_path / "c", tmp_path, "--compare", "--protect", protect)
    assert said.splitlines()[-1] == "the same bits as in one process"
    assert "round   3 of 3" in said
    require_nothing_left(tmp_path)
    assert os.listdir(tmp_path) == ["c"]


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("where", ["local", "central"])
def test_a_private_study_of_real_sites_spends_what_it_promised(tmp_path, where):
    """By the ledger of each site, noise of its own and shared within secure sums."""
    folder, words = tmp_path / "c", ["--protect", "dp"]
    if where == "central":
        words = ["--scenario", str(central_scenario(tmp_path))]
    said = tried(folder, tmp_path, *words)
    rounds = 3 if where == "local" else STEPS
    assert f"round {rounds:3d} of {rounds}" in said
    assert (folder / COORDINATOR / "studies" / "three-hospitals" / "final").is_dir()
    history = read_history(folder / COORDINATOR / "studies" / "three-hospitals")
    assert history.is_private and not any(record.rejected for record in history.rounds)
    for path in sorted((folder / SITES).glob("*.yaml")):
        site = read_settings(path, SiteSettings)
        (account,) = Ledger(site.state).accounts().values()
        assert account.answered == account.spent and len(account.questions) == rounds
        promised = history.promised[site.name]
        found = epsilon_of(account.answered, 1e-5)
        if where == "central":  # whose last bits depend on a process's threads
            assert found == pytest.approx(promised, rel=1e-9)
        assert 0.99 * promised < found <= promised * (1 + 1e-9)
        numbers = [
            line["numbers"] for line in audit_log(site.state).lines()
            if line.get("kind") == "train" and line["step"] in ("", MASKED)
        ]  # fmt: skip
        assert numbers == rounds * [["steps"]]
    require_nothing_left(tmp_path)


def central_scenario(folder: Path) -> Path:
    """That of three hospitals, of a few rounds of one step with noise that they share."""
    private = private_trial(read_scenario("three_hospitals"), folder).model_dump(
        mode="json", exclude_none=True
    )
    private["policy"]["privacy_budget"] = {"epsilon": 1e4}
    private["study"] |= {
        "privacy": {"noise": 2.0, "clip": 0.5, "where": "central", "honest_sites": 3}
    }
    private["study"]["rounds"] |= {"local_steps": 1}
    private["study"]["pretraining"]["training"]["schedule"] |= {
        "total_steps": STEPS, "warmup_steps": 1,
    }  # fmt: skip
    path = folder / "central.yaml"
    path.write_text(yaml.safe_dump(private))
    return path


def test_noise_of_a_secret_is_compared_with_nothing(tmp_path):
    words = ["consortium", "try", str(tmp_path / "c"), "--protect", "dp", "--compare"]
    done = CliRunner().invoke(app, words[1:])
    assert done.exit_code == 1
    assert "expected no --compare with protect: dp" in " ".join(done.output.split())
    assert not (tmp_path / "c").exists()
