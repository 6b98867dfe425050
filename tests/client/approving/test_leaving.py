"""A site that withdraws answers nothing any more, says what has left, and comes back only anew."""

from __future__ import annotations

import threading

import pytest
import yaml
from guarded_site import approved, asked, guarded_site, joined_site
from made_contract import make_contract
from small_sites import rounds_on_disk
from typer.testing import CliRunner

from brainjepa_client.approving.contracts import Contracts
from brainjepa_client.approving.leaving import withdraw_from_consortium, withdraw_from_contract
from brainjepa_client.approving.membership import KEY, KIT, has_left
from brainjepa_client.cli import app
from brainjepa_client.computing import training as training_module
from brainjepa_client.consent.audit_log import audit_log
from brainjepa_client.consent.participation import ANSWERS
from brainjepa_client.deploying.joining import join, was_compared
from brainjepa_client.deploying.running import joined_kit
from brainjepa_client.judging.kept_outcomes import OUTCOMES
from brainjepa_core.signals.storing.kept_aligned import ALIGNED
from brainjepa_core.wire.messages import DESCRIBE, EVALUATE, GRADIENTS, TRAIN


@pytest.fixture
def site(stores, tmp_path):
    return guarded_site(stores[0], tmp_path)


def run(site, tmp_path, *words: str):
    content = site.model_dump(mode="json", exclude_defaults=True)
    (tmp_path / "site.yaml").write_text(yaml.safe_dump(content))
    return CliRunner().invoke(app, [words[0], str(tmp_path / "site.yaml"), *words[1:]])


def test_a_contract_is_left_for_good(site, start, tmp_path):
    contract, other = make_contract(), make_contract(rounds=30)
    approved(site, contract)
    for kind in (GRADIENTS, TRAIN, EVALUATE):
        assert not asked(site, contract, kind, 0, start).refusal
    assert rounds_on_disk(site.state) and list((site.state / OUTCOMES).glob("*.npz"))
    result = run(site, tmp_path, "withdraw", contract.hash[:12], "--yes")
    assert result.exit_code == 0, result.output
    for text in (
        f"withdrawn from contract {contract.hash}, for good",
        "cannot be called back by anybody:\n  study 'small': weights of round 1, 2 answers with",
        "removed here: 1 state of training, and embeddings of people",
        "this site does not run: tell the coordinator yourself",
    ):
        assert text in result.output
    assert "revoke" not in result.output and not rounds_on_disk(site.state)
    assert not list((site.state / OUTCOMES).glob("*.npz")) and not (site.state / ALIGNED).exists()
    assert (site.state / "small" / ANSWERS).exists()
    for kind in (DESCRIBE, GRADIENTS, TRAIN, EVALUATE):
        assert asked(site, contract, kind, 0, start).refusal == (
            f"this site has withdrawn from contract {contract.hash[:12]} for good; go on without "
            "it, or propose another study"
        )
    again = run(site, tmp_path, "approve", contract.hash)
    assert again.exit_code == 1 and "that is for good: let the coordinator propose" in again.output
    run(site, tmp_path, "reject", contract.hash)
    assert "has withdrawn from contract" in asked(site, contract, GRADIENTS).refusal
    assert "this site has withdrawn from it, for good" in run(site, tmp_path, "review").output
    assert "withdrew from contract" in run(site, tmp_path, "log").output
    approved(site, other)  # another one of the same study is not touched
    assert not asked(site, other, GRADIENTS).refusal


def test_states_that_another_contract_needs_stay(site, start):
    contract, other = make_contract(), make_contract(rounds=30)
    for one in (contract, other):
        approved(site, one)
    assert not asked(site, contract, TRAIN, 0, start).refusal
    assert withdraw_from_contract(site, contract) == 0
    assert rounds_on_disk(site.state)


def test_a_consortium_is_left_until_the_site_joins_anew(site, start, tmp_path):
    kit = joined_site(tmp_path, site)
    contract = make_contract(roster={"one": kit.fingerprint_of_site}, consortium=kit.consortium)
    approved(site, contract)
    assert not asked(site, contract, TRAIN, 0, start).refusal
    key = (site.state / KEY).read_bytes()
    result = run(site, tmp_path, "withdraw", "--yes")
    assert result.exit_code == 0, result.output
    assert "has to revoke this site: brainjepa server revoke one" in result.output
    assert "to take part again, join anew, with a new key" in result.output
    assert has_left(site.state) and not rounds_on_disk(site.state)
    fresh = make_contract(rounds=2, roster=contract.roster, consortium=kit.consortium)
    for one in (contract, fresh):
        assert asked(site, one, DESCRIBE).refusal == (
            "this site has withdrawn from the consortium; revoke it (brainjepa server revoke one) "
            "and go on without it"
        )
    assert [line["event"] for line in audit_log(site.state).lines()][-3:] == [
        "withdrew", "refused", "refused",
    ]  # fmt: skip
    with pytest.raises(ValueError, match="found that it has withdrawn from it; to take part again"):
        joined_kit(site.state, kit.now)
    again = run(site, tmp_path, "withdraw", "--yes")
    assert again.exit_code == 1 and "found that it has withdrawn already" in again.output
    assert not was_compared(kit.kit, site.state, kit.now)  # compared anew, as a new one
    joined = join(kit.kit, site.name, site.state, tmp_path)
    assert joined.new_key and (site.state / KEY).read_bytes() != key and not has_left(site.state)
    assert "has withdrawn from contract" in asked(site, contract, GRADIENTS).refusal
    assert joined_kit(site.state, kit.now).consortium == kit.consortium


def test_a_site_that_never_joined_leaves_nothing(site, tmp_path):
    result = run(site, tmp_path, "withdraw", "--yes")
    assert result.exit_code == 1 and "found that it never joined; there is nothing" in result.output
    assert not (site.state / KIT).exists() and not has_left(site.state)


def test_it_is_asked_first(site, tmp_path):
    contract = make_contract()
    approved(site, contract)
    result = run(site, tmp_path, "withdraw", contract.hash)
    assert result.exit_code == 1
    assert "expected --yes, or a terminal to ask at, found neither" in result.output
    assert Contracts(site.state).decision(contract.hash) == "approved"


@pytest.mark.parametrize("decide", ["reject", "withdraw"])
def test_training_ends_after_the_step_at_hand(site, start, monkeypatch, decide):
    """And keeps the state of the round before, as where the site is stopped."""
    contract = make_contract()
    approved(site, contract)
    assert not asked(site, contract, TRAIN, 0, start).refusal
    before = rounds_on_disk(site.state)
    steps, real = [], training_module.Training.advance

    def stepping(training, batches):
        getattr(Contracts(site.state), decide)(contract)  # from another process, say
        steps.append(training.step)
        return real(training, batches)

    monkeypatch.setattr(training_module.Training, "advance", stepping)
    reply = asked(site, contract, TRAIN, 1, start)
    assert len(steps) == 1 and rounds_on_disk(site.state) == before and not reply.arrays
    assert {"reject": "has rejected contract", "withdraw": "has withdrawn from contract"}[
        decide
    ] in reply.refusal


def test_an_answer_that_is_ready_does_not_leave_either(site, start, monkeypatch):
    contract, ready = make_contract(), threading.Event()
    approved(site, contract)

    def late(*arguments, **named):
        withdraw_from_contract(site, contract)
        ready.set()
        return real(*arguments, **named)

    from brainjepa_client.answering import site as site_module

    real = site_module.gradients
    monkeypatch.setattr(site_module, "gradients", late)
    reply = asked(site, contract, GRADIENTS)
    assert ready.is_set() and not reply.arrays and "has withdrawn" in reply.refusal


def test_a_state_is_not_written_after_the_site_has_left(site, start, monkeypatch):
    contract = make_contract()
    approved(site, contract)
    real = training_module.write_state

    def leaving(*arguments):
        withdraw_from_contract(site, contract)  # between the last step and the writing
        return real(*arguments)

    monkeypatch.setattr(training_module, "write_state", leaving)
    assert "has withdrawn" in asked(site, contract, TRAIN, 0, start).refusal
    assert not rounds_on_disk(site.state)


def test_withdrawing_needs_no_readable_contract(site, tmp_path):
    joined_site(tmp_path, site)
    contract = make_contract()
    Contracts(site.state).propose(contract.text)
    (site.state / "contracts" / f"{contract.hash}.json").write_text("{")
    assert withdraw_from_consortium(site) == 0 and has_left(site.state)
