"""The contract of a study: for the sites that are admitted, the same again for the same."""

from __future__ import annotations

import pytest
import yaml
from made_consortium import consortium, request
from typer.testing import CliRunner

from brainjepa_core.consortium.request import read_request
from brainjepa_core.pretraining.settings import PretrainingSettings
from brainjepa_core.wire.contract import read_contract
from brainjepa_server.cli import app
from brainjepa_server.consortium.admission import admit, revoke
from brainjepa_server.consortium.consortium_folder import ConsortiumFolder
from brainjepa_server.consortium.proposing import CONTRACTS, propose, proposed
from brainjepa_server.settings import RoundSettings, StudySettings


def make_study(**changes) -> StudySettings:
    rounds = RoundSettings(quorum=2, local_steps=100)
    training = {"schedule": {"total_steps": 1000, "warmup_steps": 100}}
    fields = {
        "name": "pilot", "pretraining": PretrainingSettings(training=training), "rounds": rounds
    }  # fmt: skip
    return StudySettings(**(fields | changes))


@pytest.fixture
def folder(tmp_path) -> ConsortiumFolder:
    consortium(tmp_path / "c")
    opened = ConsortiumFolder.open(tmp_path / "c")
    for name in ("Lyon", "Metz"):
        admit(opened, request(tmp_path, name))
    return opened


def test_it_binds_study_and_keys(folder, tmp_path):
    settings = make_study()
    contract, path = propose(folder, settings)
    assert path.name == f"{contract.hash}.json" and read_contract(path.read_text()) == contract
    assert contract.assignment == settings.assignment() and contract.rounds == 10
    assert contract.consortium == "Three hospitals" and contract.evaluations == 12
    keys = {name: read_request(request(tmp_path, name)).fingerprint for name in ("Lyon", "Metz")}
    assert contract.roster == keys
    assert propose(folder, settings)[0].hash == contract.hash
    assert len(list((folder.path / CONTRACTS).iterdir())) == 1
    assert proposed(folder, settings) == contract


def test_what_was_not_proposed_is_said(folder, tmp_path):
    settings = make_study()
    with pytest.raises(ValueError, match="of study 'pilot' to be proposed, found none of these se"):
        proposed(folder, settings)
    propose(folder, settings)
    admit(folder, request(tmp_path, "Nice"))
    with pytest.raises(ValueError, match="to be proposed, found other sites in its roster; prop"):
        proposed(folder, settings)
    with pytest.raises(ValueError, match="found none of these settings"):
        proposed(folder, make_study(folds=7))


def test_a_site_that_came_back_with_another_key_is_another_one(folder, tmp_path):
    settings = make_study()
    first, _ = propose(folder, settings)
    revoke(folder, "Metz")
    admit(folder, request(tmp_path, "Metz", "new"))
    with pytest.raises(ValueError, match="found another key of a site in its roster; propose it"):
        proposed(folder, settings)
    second, _ = propose(folder, settings)
    assert second.hash != first.hash and proposed(folder, settings) == second
    # Where the roster is named, one that was revoked takes no part, and the others go on.
    named = make_study(sites=("Lyon", "Metz"))
    third, _ = propose(folder, named)
    revoke(folder, "Metz")
    assert proposed(folder, named) == third


def test_tasks_are_in_it_question_by_question(folder):
    settings = make_study(tasks=("age",))
    contract, _ = propose(folder, settings)
    assert contract.tasks == settings.tasks[0].questions() and len(contract.tasks) == 4
    assert proposed(folder, settings) == contract
    with pytest.raises(ValueError, match="found none of these settings"):
        proposed(folder, make_study(tasks=("age", "sex")))


def test_a_roster_of_sites_that_are_not_admitted(folder):
    with pytest.raises(ValueError, match="to be admitted, found that Bern is not; admit its req"):
        propose(folder, make_study(sites=("Lyon", "Bern")))
    revoke(folder, "Metz")
    with pytest.raises(ValueError, match=r"expected at least 2 sites \(rounds.quorum\), found 1"):
        propose(folder, make_study())


def test_the_command_prints_the_hash(folder, tmp_path):
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(make_study().model_dump(mode="json")))
    words = ["propose", str(tmp_path / "study.yaml"), "--dir", str(folder.path)]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.output
    contract = proposed(folder, make_study())
    assert contract.hash in result.output
    assert "Contract of study 'pilot' with Lyon, Metz:" in result.output


def test_groups_are_told_and_need_twelve_sites(tmp_path):
    consortium(tmp_path / "c")
    opened = ConsortiumFolder.open(tmp_path / "c")
    grouped = {"protect": {"secure_sum": {}, "groups": 3}, "aggregation": {"combine": "median"}}
    settings = make_study(**grouped)
    for number in range(11):
        admit(opened, request(tmp_path, f"site-{number:02d}"))
    with pytest.raises(ValueError, match=r"expected at least 12 sites for 3 groups .*, found 11"):
        propose(opened, settings)
    admit(opened, request(tmp_path, "site-11"))
    contract, _ = propose(opened, settings)
    assert contract.assignment.protect.groups == 3 and proposed(opened, settings) == contract
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(settings.model_dump(mode="json")))
    words = ["propose", str(tmp_path / "study.yaml"), "--dir", str(tmp_path / "c")]
    done = CliRunner(env={"COLUMNS": "999"}).invoke(app, words)
    assert done.exit_code == 0, done.output
    assert "3 sums (protect.groups), over groups of 4 sites that the contract's hash draws" in (
        done.output
    )
