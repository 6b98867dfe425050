"""Secure sums of a deployment whose processes are killed: the same bits, and nothing told twice."""

from __future__ import annotations

import json
import os
import shutil
import signal
from pathlib import Path

import pytest
from deployed import Deployed, said
from small_consortium import plan, prepare, run, same, summary, weights

from brainjepa_client.approving.membership import KEY
from brainjepa_core.files import atomic_path
from brainjepa_server.study_folder import SUMS
from brainjepa_simulations.engines import client_app
from brainjepa_simulations.engines.virtual_consortium import CONTRACT
from brainjepa_simulations.engines.virtual_sites import STATES
from brainjepa_simulations.scenario import Scenario

pytestmark = [pytest.mark.slow, pytest.mark.timeout(2700)]

NAMES = ["site-01", "site-02", "site-03", "site-04"]


def four_sites() -> Scenario:
    """Three rounds, of which each needs three of four sites."""
    rounds = {"quorum": 3, "joining_time": 300, "deadline": 300, "evaluate_every": 3}
    planned = plan(4, steps=2, rounds=rounds)
    planned["study"] |= {"sites": NAMES, "protect": "secure_sum"}
    return Scenario.model_validate(planned)


def test_a_study_that_lost_its_processes_one_after_the_other(deploy, tmp_path, monkeypatch):
    deployed: Deployed = deploy(four_sites())
    sites = dict(zip(NAMES, deployed.start_sites(), strict=True))
    server = deployed.serve(deployed.folder / "study.yaml")

    def met(name: str, what: str) -> None:
        deployed.wait(lambda: deployed.met(name, what), server, *sites.values())

    # Round 1: a worker is killed between its masked numbers and the unmasking.
    for name, step in (("site-02", "train-alive"), ("site-01", "train-unmask")):
        deployed.hold(name, step)
    met("site-02", "train-alive")
    deployed.kill("deploying.worker", "site-02")
    deployed.let_go("site-02", "train-alive")
    met("site-01", "train-unmask")  # the coordinator was told that it is gone
    deployed.wait(lambda: "site-02" in deployed.connected(), server, *sites.values())
    deployed.hold("site-01", "train-shares")
    deployed.hold("site-04", "train-keys")
    deployed.let_go("site-01", "train-unmask")

    # Round 2: all programs of a site are killed as it begins, and come back for the third.
    met("site-04", "train-keys")
    gone = sites.pop("site-04")
    os.kill(gone.pid, signal.SIGKILL)
    for process in deployed.processes("site-04"):
        os.kill(process, signal.SIGKILL)
    gone.wait()
    deployed.let_go("site-04", "train-keys")
    met("site-01", "train-shares")
    deployed.hold("site-01", "train-unmask")
    (sites["site-04"],) = deployed.start_sites("site-04")
    deployed.wait(lambda: "site-04" in deployed.connected(), server, *sites.values())
    deployed.let_go("site-01", "train-shares")
    met("site-01", "train-unmask")

    # Round 3: the coordinator's study is killed before its sum is kept, and again after that.
    for step in ("train-masked", "train-unmask"):
        deployed.hold("site-01", step)
        if step == "train-masked":
            deployed.let_go("site-01", "train-unmask")
        met("site-01", step)
        deployed.kill("study_process")
        assert deployed.ends(server, *sites.values()) == 1, deployed.output()
        deployed.wait(lambda: not deployed.processes("brainjepa_server"))
        kept = deployed.study / SUMS / "round-000002-train.sum"
        assert kept.exists() == (step == "train-unmask")
        server = deployed.serve(deployed.folder / "study.yaml")
        if step == "train-masked":
            deployed.hold("site-01", "train-unmask")
        deployed.let_go("site-01", step)
    assert deployed.ends(server, *sites.values()) == 0, deployed.output()

    first, second, third = summary(deployed.study)["rounds"]
    assert sorted(first["sites"]) == sorted(third["sites"]) == NAMES  # its numbers were there
    assert second["rejected"]["site-04"].startswith("gone at step 'keys': ")
    assert [sorted(one["rejected"]) for one in (first, second, third)] == [[], ["site-04"], []]
    assert [one["summed"]["attempt"] for one in (first, second, third)] == [1, 1, 2]
    require_told_once(deployed)
    expected = in_one_process(deployed, tmp_path / "other", monkeypatch)
    assert same(weights(deployed.study), expected), deployed.output()
    for name in NAMES:
        assert said("site", "stop", deployed.yaml(name)) == (0, "stopped\n")
        assert sites[name].wait(60) == 0
    assert not deployed.processes()


def require_told_once(deployed: Deployed) -> None:
    """Each site unmasked one sum of a question and round, and answered each step in one way."""
    for name in NAMES:
        state = deployed.folder / STATES / name
        records = [json.loads(p.read_text()) for p in state.glob(f"*/{SUMS}/*/train-*.json")]
        told = [record for record in records if "unmask" in record["told"]]
        assert len(records) == (2 if name == "site-04" else 3)
        assert len({record["sum"] for record in told}) == len(told)
        audit = [json.loads(line) for line in (state / "audit.jsonl").read_text().splitlines()]
        unmasked = {}
        for line in audit:
            if line.get("step") == "unmask" and line["kind"] == "train" and not line["refusal"]:
                unmasked.setdefault(line["round"], []).append(line["arrays"])
        assert all(one == answers[0] for answers in unmasked.values() for one in answers)


def in_one_process(deployed: Deployed, folder: Path, monkeypatch) -> dict:
    """The same study, secrets and dropouts without a deployment, whose bits are the oracle."""
    prepare(four_sites(), folder)
    for name in NAMES:
        for secret in (KEY, f"small/{SUMS}/secret"):
            to = folder / STATES / name / secret
            to.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(deployed.folder / STATES / name / secret, to)
    (contract,) = (deployed.consortium / "contracts").glob("*.json")
    shutil.copy(contract, folder / CONTRACT)
    with atomic_path(folder / SUMS / "round-000002-train.json") as temporary:
        temporary.write_text(json.dumps({"attempt": 0}))  # which a kill ended
    gone, real = {(2, "alive", "train-1"), (4, "keys", "train-2")}, client_app.real_app

    def answer(message, context):
        told = message.content.config_records["assignment"]
        site = int(context.node_config["partition-id"]) + 1
        if (site, told.get("step", ""), message.metadata.group_id) in gone:
            raise ConnectionError("the site dropped out")
        return real(message, context)

    monkeypatch.setattr(client_app, "real_app", answer)
    return weights(run(four_sites(), folder))
