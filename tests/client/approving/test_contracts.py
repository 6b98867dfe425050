"""A site answers what its manager has approved: the very same questions, each once."""

from __future__ import annotations

import json

import numpy as np
import pytest
import yaml
from guarded_site import approved, asked, guarded_site
from hypothesis import given, settings
from hypothesis import strategies as st
from made_contract import AGE, make_contract
from small_sites import ask, make_study
from typer.testing import CliRunner

from brainjepa_client.answering.site import Site
from brainjepa_client.approving.contracts import FOLDER, Contracts
from brainjepa_client.approving.review import review, warnings
from brainjepa_client.cli import app
from brainjepa_client.consent.audit_log import audit_log
from brainjepa_core.signals.storing.store import ScanStore
from brainjepa_core.wire.contract import Contract, read_contract
from brainjepa_core.wire.messages import (
    DESCRIBE,
    EVALUATE,
    GRADIENTS,
    TRAIN,
    Assignment,
    Reply,
    Request,
)


@pytest.fixture
def site(stores, tmp_path):
    """A site that answers contracts only, and its store."""
    return guarded_site(stores[0], tmp_path)


def same(one: Reply, other: Reply) -> bool:
    alike = one.arrays.keys() == other.arrays.keys() and one.refusal == other.refusal
    return alike and all(np.array_equal(one.arrays[k], other.arrays[k]) for k in one.arrays)


def test_nothing_is_answered_before_it_is_approved(site):
    contract = make_contract()
    assert "this request is of none that it knows" in asked(site, contract, GRADIENTS).refusal
    first = asked(site, contract, DESCRIBE)
    assert first.refusal == (
        f"this site's manager has not approved yet contract {contract.hash[:12]} (brainjepa site "
        "review, approve); go on without this site, or ask its manager"
    )
    assert [known.decision for known in Contracts(site.state).known()] == ["proposed"]
    approved(site, contract)
    assert not asked(site, contract, DESCRIBE).refusal
    assert not asked(site, contract, GRADIENTS).refusal
    Contracts(site.state).reject(contract)
    assert "has rejected contract" in asked(site, contract, GRADIENTS).refusal
    events = [(line["event"], line["contract"]) for line in audit_log(site.state).lines()]
    told = ("refused", "refused", "approved", "answered", "answered", "refused")
    assert events == [(event, contract.hash) for event in told]


def test_a_site_without_contracts_answers_as_before(site):
    assert not Site(site).answer(ask(GRADIENTS)).refusal


def test_a_whole_study_is_answered_once(site, start):
    contract = make_contract()
    approved(site, contract)
    replies = [asked(site, contract, TRAIN, number, start) for number in range(3)]
    assert not any(reply.refusal for reply in replies)
    again = asked(site, contract, TRAIN, 2, start)
    assert same(again, replies[2])
    other = {**start, "encoder.patch.weight": start["encoder.patch.weight"] + 1}
    assert asked(site, contract, TRAIN, 2, other).refusal == (
        f"round 3 of contract {contract.hash[:12]} was asked of this site with other arrays "
        "before; a question is answered once"
    )
    for arrays in (start, other):
        assert not asked(site, contract, EVALUATE, 1, arrays).refusal
    third = {**start, "encoder.patch.weight": start["encoder.patch.weight"] + 2}
    assert "has evaluate asked at most 2 times with different arrays" in (
        asked(site, contract, EVALUATE, 1, third).refusal
    )
    assert not asked(site, contract, EVALUATE, 1, start).refusal


def test_tasks_are_those_of_the_contract(site, start):
    contract = make_contract()
    approved(site, contract)
    assert not asked(site, contract, EVALUATE, arrays=start, probe=AGE).refusal
    other = AGE.model_copy(update={"want": "probe"})
    reply = asked(site, contract, EVALUATE, arrays=start, probe=other)
    assert reply.refusal.startswith("expected a task of the contract, found another one")


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"steps": 3}, "steps = 2"),
        ({"first_step": 1}, "first_step = 0"),
        ({"folds": 7}, "folds = 5"),
        ({"held_out_fold": 1}, "held_out_fold = 0"),
        ({"wire": "bf16"}, "wire = fp32"),
        ({"target": "local"}, "target = average"),
        ({"proximal": 0.1}, "proximal = 0.0"),
        ({"study_id": "large"}, "study_id = small"),
        ({"pretraining": make_study(batch_size=2)}, "pretraining.training.batch_size = 4"),
        ({"pretraining": make_study(seed=5)}, "pretraining.training.seed = 0"),
    ],
)
def test_what_the_contract_says_otherwise_is_named(site, start, changes, name):
    contract = make_contract()
    approved(site, contract)
    reply = asked(site, contract, TRAIN, 0, start, **changes)
    assert reply.refusal.startswith(f"expected {name} as in contract {contract.hash[:12]}, found ")
    assert not reply.arrays


def test_rounds_beyond_the_contract_are_refused(site, start):
    contract = make_contract()
    approved(site, contract)
    assert "expected first_step" in asked(site, contract, TRAIN, 3, start).refusal


def test_a_store_that_changed_is_approved_again(site):
    contract = make_contract()
    approved(site, contract)
    store = ScanStore.open(site.store)
    store.remove([store.records[0].key])
    refused = asked(site, contract, GRADIENTS).refusal
    assert refused.startswith("the store of this site is another one than when its manager")
    approved(site, contract)
    assert not asked(site, contract, GRADIENTS).refusal


def test_a_site_that_did_not_look_at_its_store_would_answer_from_another(site, monkeypatch):
    """The control: what is refused above is refused for the store alone."""
    monkeypatch.setattr(ScanStore, "fingerprint", "the same")
    contract = make_contract()
    approved(site, contract)
    store = ScanStore.open(site.store)
    store.remove([store.records[0].key])
    assert not asked(site, contract, GRADIENTS).refusal


def test_a_site_that_is_not_in_the_roster_answers_nothing(site):
    contract = make_contract(roster={"two": "bb"})
    Contracts(site.state).propose(contract.text)
    Contracts(site.state).approve(contract, ScanStore.open(site.store).fingerprint)
    assert "not in the roster of contract" in asked(site, contract, GRADIENTS).refusal


def test_a_text_that_is_not_that_of_the_hash_is_not_kept(site):
    contract, other = make_contract(), make_contract(rounds=30)
    assignment = contract.asked(0)
    for text in (other.text, "{}", contract.text.replace("\n", " "), "x" * 300_000):
        reply = Site(site, contracts=True).answer(Request(DESCRIBE, assignment, {}, text))
        assert reply.refusal.startswith("expected the text of ")
    shown = {path.stem for path in (site.state / FOLDER).glob("*.json")}
    assert contract.hash not in shown


def test_a_text_that_was_changed_on_the_disk_is_no_contract(site):
    contract = make_contract()
    approved(site, contract)
    path = site.state / FOLDER / f"{contract.hash}.json"
    path.write_text(path.read_text().replace('"rounds": 3', '"rounds": 300'))
    assert "ValueError" in asked(site, contract, GRADIENTS).refusal


@pytest.mark.parametrize("deep", [False, True])
def test_the_text_of_a_contract_is_written_out_once_and_never_that_of_another(monkeypatch, deep):
    written, original = [], Contract.model_dump
    monkeypatch.setattr(
        Contract, "model_dump", lambda *given, **how: written.append(1) or original(*given, **how)
    )
    contract = make_contract()
    assert [contract.text, contract.hash] == [contract.text, contract.hash]
    assert contract.asked(1).contract == contract.hash and len(written) == 1
    longer = contract.model_copy(update={"rounds": 4}, deep=deep)
    assert longer.text == contract.text.replace('"rounds": 3', '"rounds": 4')
    assert longer.hash != contract.hash and read_contract(longer.text) == longer
    assert make_contract() == contract  # of which one has its text at hand


def test_a_contract_says_whether_co_skewness_is_summed(site):
    plain = make_contract()
    asks = plain.assignment.model_copy(update={"coskewness": True})
    contract = plain.model_copy(update={"assignment": asks})
    assert contract.differences(plain) == ["assignment.coskewness"]
    store = ScanStore.open(site.store)
    approved(site, contract)
    (known,) = Contracts(site.state).known()
    assert any(
        "asked once: sums of correlations of 28 pairs of ROIs, and of co-skewness of 36" in line
        for line in review(site, known, store)
    )
    sent = asked(site, contract, GRADIENTS)
    assert {"coskewness.products", "coskewness.pair_count"} < sent.arrays.keys()
    turned = contract.asked(0).model_copy(update={"coskewness": False})
    refusal = Site(site, contracts=True).answer(Request(GRADIENTS, turned, {})).refusal
    assert refusal.startswith("expected coskewness = True as in contract")


def test_the_manager_reviews_approves_and_rejects(site, tmp_path):
    first = make_contract()
    content = site.model_dump(mode="json", exclude_defaults=True)
    (tmp_path / "site.yaml").write_text(yaml.safe_dump(content))

    def run(*words: str):
        return CliRunner().invoke(app, [words[0], str(tmp_path / "site.yaml"), *words[1:]])

    assert "no contract was proposed to this site yet" in run("review").output
    (tmp_path / "contract.json").write_text(first.text)
    shown = run("review", "--contract", str(tmp_path / "contract.json")).output
    for text in (
        f"contract {first.hash}",
        "study 'small' of consortium 'three'; this site has not decided yet",
        "asked once: sums of correlations of 28 pairs of ROIs",
        "asked 3 times: 2 steps of training of 4 people each; the model's weights leave",
        "  task 'age': the number of column 'age'; how many people take part is told with every",
        "    asked at most 2 times: sums over its people of embeddings and outcomes, fold by fold",
        "WARNING: a round is of 2 steps: what leaves shows the few people drawn in it",
        "asked before about at least half of the same people: 0 sums in 0 answers, by 0 contracts",
    ):
        assert text in shown
    assert run("approve", "abc").exit_code == 1
    assert run("approve", first.hash[:12]).exit_code == 0
    assert "this site has approved it" in run("review").output
    assert not asked(site, first, GRADIENTS).refusal
    longer = make_contract(rounds=30)
    Contracts(site.state).propose(longer.text)
    shown = run("review").output
    assert f"differs from the last approved one ({first.hash[:12]}) in rounds" in shown
    assert (
        "asked before about at least half of the same people: 1 sum in 1 answer, by 1 contract; 1 "
        "other contract approved about them"
    ) in shown
    assert run("reject", first.hash).exit_code == 0
    assert "has rejected" in asked(site, first, GRADIENTS).refusal
    log = run("log").output
    assert f"approved contract {first.hash[:12]}" in log and "rejected contract" in log


def test_settings_that_show_single_people_are_warned_of():
    quiet = make_study(batch_size=16)
    assignment = Assignment(study_id="s", pretraining=quiet, steps=50)
    schedule = quiet.training.schedule.model_copy(update={"lr": 0.0005})
    training = quiet.training.model_copy(update={"schedule": schedule})
    calm = assignment.model_copy(
        update={"pretraining": quiet.model_copy(update={"training": training})}
    )
    assert warnings(make_contract(assignment=calm)) == []
    loud = training.model_copy(
        update={"batch_size": 1, "schedule": schedule.model_copy(update={"lr": 10.0})}
    )
    one = calm.model_copy(
        update={"steps": 1, "pretraining": quiet.model_copy(update={"training": loud})}
    )
    texts = warnings(make_contract(assignment=one))
    assert [text.split(":")[0] for text in texts] == [
        "a step is of 1 person",
        "a round is of 1 step",
        "a learning rate of 10, when such models learn with about 0.0005",
    ]


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=200))
def test_any_text_is_a_contract_or_a_value_error(text):
    with pytest.raises(ValueError, match="expected the text of a contract as this version writes"):
        read_contract(text)


def test_a_contract_comes_back_as_it_was():
    contract = make_contract()
    assert read_contract(contract.text) == contract
    assert contract.asked(2).first_step == 4 and contract.asked(2).contract == contract.hash
    assert json.loads(contract.text)["rounds"] == 3


@pytest.mark.parametrize("wire", ["fp32", "bf16", "int8"])
@pytest.mark.parametrize("target", ["average", "line"])
def test_review_tells_the_megabytes_that_leave(site, start, wire, target):
    first = make_contract().assignment.model_copy(update={"wire": wire, "target": target})
    contract = make_contract(assignment=first)
    contracts, store = Contracts(site.state), ScanStore.open(site.store)
    contracts.propose(contract.text)
    contracts.approve(contract, store.fingerprint)
    told = "\n".join(review(site, contracts.find(contract.hash), store))
    reply = asked(site, contract, TRAIN, arrays=start)
    assert reply.refusal == ""
    megabytes = sum(array.nbytes for array in reply.arrays.values()) / 1e6
    assert f"leave, {megabytes:.3g} MB each time, {3 * megabytes:.3g} MB in all" in told
