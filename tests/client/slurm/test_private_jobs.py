"""Private rounds that a job of the cluster computes: counted before it begins, and once.

The noise is that of the site's own secret, which no question holds: a job reads it from the state.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from running_sites import wait_for
from small_sites import TOTAL, ask_round, same

from brainjepa_client.answering.site import Site
from brainjepa_client.approving.contracts import Contracts
from brainjepa_client.computing.exchange import Exchange
from brainjepa_client.computing.kinds import computed, people_of
from brainjepa_client.computing.private_round import SECRET, PrivateRound, privacy_secret
from brainjepa_client.settings import SiteSettings
from brainjepa_client.slurm import asking
from brainjepa_client.slurm.asking import FOLDER
from brainjepa_core.privacy.ledger import LEDGER, RELEASED, RESERVED, Ledger
from brainjepa_core.signals.storing.store import ScanStore
from brainjepa_core.wire.contract import Contract
from brainjepa_core.wire.messages import TRAIN, Request

pytestmark = pytest.mark.slow  # a job imports torch anew
POLICY = {
    "min_subjects": 4, "min_people_in_sum": 1, "round_counts_to": 1,
    "privacy_budget": {"epsilon": 8},
}  # fmt: skip
LOCAL = {"epsilon": 8, "clip": 0.5}
CENTRAL = {"noise": 4.0, "clip": 0.5, "where": "central", "honest_sites": 3}


@pytest.fixture(autouse=True)
def quickly(monkeypatch) -> None:
    monkeypatch.setattr(asking, "LOOK", 0.1)
    monkeypatch.setattr(asking, "TICK", 0.05)


def site_of(store: Path, state: Path, secret_of: Path | None = None, **device) -> Site:
    """A site with a budget; with the secret of another one, where their bits are compared."""
    state.mkdir()
    if secret_of is not None:
        privacy_secret(secret_of)
        shutil.copy(secret_of / SECRET, state / SECRET)
    chosen = {"name": "one", "store": store, "state": state, "policy": POLICY, "threads": 1}
    return Site(SiteSettings.model_validate({**chosen, **device}))


def with_cluster(store: Path, state: Path, secret_of: Path) -> Site:
    slurm = {"options": {"partition": "cpu"}, "device": "cpu"}
    return site_of(store, state, secret_of, device="slurm", slurm=slurm)


def counted(state: Path) -> tuple[int, int, int]:
    """Rounds reserved and released, and steps that count as spent."""
    lines = [json.loads(line) for line in (state / LEDGER).read_text().splitlines()]
    (account,) = Ledger(state).accounts().values()
    events = [line["event"] for line in lines]
    steps = sum(release.times for release in account.answered)
    return events.count(RESERVED), events.count(RELEASED), steps


def test_a_round_is_reserved_before_its_job_and_counts_once(
    stores, start, tmp_path, cluster, monkeypatch
):
    here = site_of(stores[0], tmp_path / "here")
    there = with_cluster(stores[0], tmp_path / "there", secret_of=tmp_path / "here")
    submit, found = asking.jobs.submit, []

    def submitted(*words):
        found.append(counted(there.settings.state))
        return submit(*words)

    monkeypatch.setattr(asking.jobs, "submit", submitted)
    request = ask_round(0, start, privacy=LOCAL)
    cluster.tell("end", "NODE_FAIL")
    reply = there.answer(request)
    assert reply.refusal.startswith("this site's job at its cluster ended since its node failed")
    assert counted(there.settings.state) == (1, 0, 2)  # told nothing, and counted
    (cluster.folder / "end").unlink()
    expected, again = here.answer(request), there.answer(request)
    assert again.refusal == expected.refusal == ""
    assert same(again.arrays, expected.arrays) and again.metrics == expected.metrics == {"steps": 2}
    assert found == [(1, 0, 2)] * 2 and counted(there.settings.state) == (1, 1, 2)
    (account,) = Ledger(there.settings.state).accounts().values()
    assert sum(release.times for release in account.spent) == TOTAL
    changed = {**start, "encoder.patch.weight": start["encoder.patch.weight"] + 1}
    other = there.answer(ask_round(0, changed, privacy=LOCAL))
    assert other.refusal.startswith("expected 'round 1' as it was asked before, found another")
    wait_for(
        lambda: [job["state"] for job in cluster.jobs()] == ["NODE_FAIL", "COMPLETED"]
    )  # and none for what was refused
    secret = (there.settings.state / SECRET).read_bytes().strip()
    told = [path for path in (there.settings.state / FOLDER).rglob("*") if path.is_file()]
    assert told and not any(secret in path.read_bytes() for path in told)


def test_no_question_of_a_private_round_holds_the_secret(stores, start, tmp_path):
    site = site_of(stores[0], tmp_path / "state")
    secret = privacy_secret(site.settings.state)
    (tmp_path / "question").mkdir()
    Exchange(tmp_path / "question").ask(
        site.settings, ask_round(0, start, privacy=LOCAL), "f" * 64, "#!/bin/bash\n"
    )
    for path in (tmp_path / "question").iterdir():
        assert not any(form in path.read_bytes() for form in (secret, secret.hex().encode()))


def test_a_sum_with_shared_noise_has_the_same_integers_as_without_a_cluster(
    stores, start, tmp_path, cluster
):
    """What the job answers is what the worker puts under masks."""
    here = site_of(stores[0], tmp_path / "here").settings
    there = with_cluster(stores[0], tmp_path / "there", secret_of=tmp_path / "here").settings
    told = {"privacy": CENTRAL, "protect": {"secure_sum": {}}, "steps": 1}
    assignment = ask_round(0, start, steps=1).assignment.model_dump() | told
    roster = {name: name * 32 for name in ("one", "bb", "cc", "dd")}
    several = {"rounds": TOTAL, "evaluations": 0, "roster": roster}
    contract = Contract(consortium="four", assignment=assignment, **several)
    for state in (here.state, there.state):
        Contracts(state).propose(contract.text)
    request = Request(TRAIN, contract.asked(0), start)
    store = ScanStore.open(stores[0])
    private = PrivateRound.of(here, request, store)
    expected = computed(here, people_of(here, store, request.assignment), request, private)
    found = asking.answered_in_job(there, request, store.fingerprint)
    assert found.refusal == "" and same(found.arrays, expected.arrays)
    assert {array.dtype.kind for array in found.arrays.values()} == {"u"}
