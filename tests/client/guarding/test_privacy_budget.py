"""A site's privacy budget in its manager's hands: reviewed, approved, counted, given back."""

from __future__ import annotations

import json
import re

import pytest
import yaml
from guarded_site import approved, asked, guarded_site
from made_contract import AGE, make_contract
from small_sites import STUDY
from typer.testing import CliRunner

from brainjepa_client.approving.contracts import Contracts
from brainjepa_client.approving.deciding import reject
from brainjepa_client.approving.leaving import withdraw_from_contract
from brainjepa_client.approving.review import review
from brainjepa_client.cli import app
from brainjepa_client.guarding.dry_run import dry_run
from brainjepa_core.privacy.accounting import Release, epsilon_of
from brainjepa_core.privacy.budget import words
from brainjepa_core.privacy.ledger import LEDGER, Ledger
from brainjepa_core.signals.storing.store import ScanStore
from brainjepa_core.wire.contract import Contract, TaskQuestion, read_contract
from brainjepa_core.wire.messages import DESCRIBE, GRADIENTS, TRAIN

BUDGET = {"privacy_budget": {"epsilon": 8}, "round_counts_to": 1}


@pytest.fixture
def site(stores, tmp_path):
    return guarded_site(stores[0], tmp_path, **BUDGET)


def private_contract(name: str = "small", **privacy) -> Contract:
    """Six steps in three rounds, and no other question."""
    plain = make_contract()
    assignment = plain.assignment.model_dump() | {
        "study_id": name,
        "privacy": privacy or {"epsilon": 4, "clip": 0.5},
    }
    return Contract(**(plain.model_dump() | {
        "assignment": assignment, "evaluations": 0, "tasks": (),
    }))  # fmt: skip


def lines_of(site, contract: Contract) -> list[str]:
    contracts = Contracts(site.state)
    contracts.propose(contract.text)
    return review(site, contracts.find(contract.hash), ScanStore.open(site.store))


def command(site, tmp_path, *words: str) -> tuple[int, str]:
    path = tmp_path / "site.yaml"
    told = site.model_dump(mode="json", exclude_none=True)
    path.write_text(yaml.safe_dump(told))
    done = CliRunner().invoke(app, [words[0], str(path), *words[1:]])
    return done.exit_code, done.output


def test_review_tells_epsilon_of_the_contract_and_of_all_before(site):
    first, second = private_contract(), private_contract("second")
    told = lines_of(site, first)
    expected = "  differential privacy of each person, epsilon after this study: "
    assert f"{expected}4 of 8 (delta 1e-05); before it: 0" in told
    assert not any("sums" in line for line in told if "asked" in line and "before" not in line)
    approved(site, first)
    once = second.assignment.privacy.release(STUDY.training, 12, 5)
    both = words(epsilon_of([once, once], 1e-5))  # less than twice as much
    assert 4 < float(both) < 8
    assert f"{expected}{both} of 8 (delta 1e-05); before it: 4" in lines_of(site, second)
    assert f"{expected}4 of 8 (delta 1e-05); before it: 0" in lines_of(site, first)


def test_what_does_not_fit_is_told_at_review_and_not_approved(site):
    large = private_contract(noise=0.9)
    told = lines_of(site, large)
    cost = words(epsilon_of([Release(noise=0.9, rate=4 / 9, times=6)], 1e-5))
    reason = f"epsilon after this study: {cost} of 8 (delta 1e-05)"
    assert any(
        line.startswith("  WARNING: this site would refuse") and reason in line for line in told
    )
    with pytest.raises(ValueError, match=rf"found that it would refuse: .* {re.escape(cost)} of 8"):
        approved(site, large)
    assert Contracts(site.state).decision(large.hash) == "proposed"
    assert not (site.state / LEDGER).exists()


def test_a_site_without_a_budget_says_so_at_review(stores, tmp_path):
    site = guarded_site(stores[0], tmp_path)
    assert any("has no privacy budget" in line for line in lines_of(site, private_contract()))
    with pytest.raises(ValueError, match=r"has no privacy budget \(policy\.privacy_budget\)"):
        approved(site, private_contract())


def test_a_study_that_no_ledger_counts_is_not_approved_beside_a_budget(site):
    with pytest.raises(ValueError, match="which counts studies under protect: dp alone"):
        approved(site, make_contract())


def test_what_was_approved_is_answered_and_what_is_rejected_is_given_back(site, start):
    contract = private_contract()
    approved(site, contract)
    assert asked(site, contract, DESCRIBE).refusal == ""
    reply = asked(site, contract, TRAIN, 0, start)
    assert reply.refusal == "" and reply.metrics == {"steps": 2}
    assert "asked at most 0 times" in asked(site, contract, GRADIENTS).refusal
    (account,) = Ledger(site.state).accounts().values()
    assert not account.ended and sum(r.times for r in account.spent) == 6
    reject(site, contract)
    (account,) = Ledger(site.state).accounts().values()
    assert account.ended and sum(r.times for r in account.spent) == 2
    approved(site, contract)
    assert asked(site, contract, TRAIN, 1, {**start, **reply.arrays}).refusal == ""
    withdraw_from_contract(site, contract)
    (account,) = Ledger(site.state).accounts().values()
    assert account.ended and sum(r.times for r in account.spent) == 4


def test_a_budget_that_was_lowered_holds_from_the_next_question_on(site, start):
    contract = private_contract()
    approved(site, contract)
    lower = site.policy.model_copy(
        update={"privacy_budget": site.policy.privacy_budget.model_copy(update={"epsilon": 2.0})}
    )
    less = site.model_copy(update={"policy": lower})
    assert "4 of 2 (delta 1e-05)" in asked(less, contract, TRAIN, 0, start).refusal


def test_the_command_tells_what_is_spent_and_left_by_study(site, start, tmp_path):
    assert command(site, tmp_path, "budget") == (
        0,
        "one: epsilon 0 of 8 spent (delta 1e-05), by the person who has spent most; 8 left\n"
        "  no study under protect: dp yet\n",
    )
    contract = private_contract()
    approved(site, contract)
    asked(site, contract, TRAIN, 0, start)
    code, told = command(site, tmp_path, "budget")
    first, second = told.splitlines()
    assert code == 0 and first.startswith("one: epsilon 4 of 8 spent (delta 1e-05)")
    assert second.startswith(f"  study 'small', contract {contract.short}: epsilon 4, of which ")
    assert second.endswith("in 1 round by now; the rest is set aside for it")
    found = json.loads(command(site, tmp_path, "budget", "--json")[1])
    (study,) = found["studies"]
    assert study["contract"] == contract.hash and study["rounds"] == 1 and not study["ended"]
    assert 0 < study["by_now"] < study["epsilon"] == found["spent"] <= 4
    assert found["left"] == 8 - found["spent"]


def test_the_command_wants_a_budget(stores, tmp_path):
    code, told = command(guarded_site(stores[0], tmp_path), tmp_path, "budget")
    assert code == 1 and "expected a privacy budget in the site's policy" in " ".join(told.split())


def test_a_dry_run_beside_a_budget_lists_weights_and_steps_alone(stores, tmp_path):
    path = tmp_path / "site.yaml"
    content = {
        "name": "one", "store": str(stores[0]), "state": str(tmp_path / "state"),
        "policy": {"min_subjects": 4, "min_people_in_sum": 1, **BUDGET},
    }  # fmt: skip
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    run = dry_run(path, STUDY)
    train = [row for row in run.rows if row.message == TRAIN]
    assert [row.name for row in train if row.what != "array"] == ["refusal", "steps"]
    assert sum(row.what == "array" for row in train) > 20 and not run.errors
    assert all(row.policy[-1].field == "privacy_budget" for row in train)
    others = {row.message: row for row in run.rows if row.message not in (DESCRIBE, TRAIN)}
    assert all(row.what == "refused" for row in others.values())
    assert all(row.policy[0].field == "privacy_budget" for row in others.values())
    assert not (tmp_path / "state").exists()


@pytest.mark.parametrize(
    "more", [{"evaluations": 1}, {"tasks": (TaskQuestion(probe=AGE, times=2),)}]
)
def test_a_private_contract_asks_for_training_alone(more):
    told = private_contract().model_dump() | more
    with pytest.raises(ValueError, match="expected no evaluations and no tasks in the contract"):
        Contract(**told)


@pytest.mark.parametrize(
    "privacy",
    [{}, {"epsilon": 8, "noise": 1}, {"epsilon": 1e9}, {"noise": 0}, {"noise": float("inf")},
     {"epsilon": 8, "delta": 0}, {"epsilon": 8, "clip": -1}, {"epsilon": 8, "where": "central"}],
    ids=str,
)  # fmt: skip
def test_a_text_with_a_promise_that_is_none_is_no_contract(privacy):
    text = json.loads(private_contract().text)
    text["assignment"]["privacy"] = privacy
    changed = json.dumps(text, sort_keys=True, indent=1, ensure_ascii=False) + "\n"
    with pytest.raises(ValueError, match="expected the text of a contract"):
        read_contract(changed)


def shared_contract() -> Contract:
    """Six steps in as many rounds, of four sites."""
    plain = private_contract().model_dump()
    plain["assignment"] |= {
        "steps": 1,
        "protect": {"secure_sum": {}},
        "privacy": {"noise": 3.0, "clip": 0.5, "where": "central", "honest_sites": 3},
    }
    mine = plain["roster"]
    others = {name: name * 32 for name in ("bb", "cc", "dd")}
    return Contract(**(plain | {"rounds": 6, "roster": {**mine, **others}}))


def test_review_tells_of_noise_that_sites_share_with_both_epsilons(site):
    contract = shared_contract()
    told = "\n".join(lines_of(site, contract))
    assert "people's gradients, each shortened to the clip, added up and with noise, leave" in told
    assert "all of it within secure sums: what leaves is masked" in told
    assert "the noise is shared: this site adds 1 / 3 of its variance" in told
    assert "if at least 3 sites follow the protocol; " in told and "if this one alone does" in told
    assert "what leaves shows the few people" not in told and "moves by the learning" not in told


def test_the_command_tells_what_is_spent_if_nobody_else_adds_noise(site, start, tmp_path):
    contract = shared_contract()
    approved(site, contract)
    status, output = command(site, tmp_path, "budget")
    assert status == 0
    release = contract.assignment.privacy.release(STUDY.training, 12, 5)
    alone = words(epsilon_of([release.alone], 1e-5))
    assert f"  sites share noise: epsilon {alone} if none but this one add their part\n" in output
    assert f"epsilon {words(epsilon_of([release], 1e-5))} of 8 spent" in output
