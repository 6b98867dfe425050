"""A site's part in secure sums: only what its contract says, and no number in the clear."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from cryptography.hazmat.primitives.serialization import PrivateFormat
from small_sites import STUDY, first_arrays, make_site, write_stores

from brainjepa_client.answering.site import Site
from brainjepa_client.approving.contracts import Contracts
from brainjepa_client.approving.deciding import approve
from brainjepa_client.approving.review import review
from brainjepa_core.consortium.fingerprints import of_key
from brainjepa_core.consortium.keys import make_key
from brainjepa_core.secure_sums.messages import KEYS, MASKED, of_sum
from brainjepa_core.signals.storing.store import ScanStore
from brainjepa_core.wire.contract import Contract
from brainjepa_core.wire.messages import GRADIENTS, TRAIN, Assignment, Request, SumStep
from brainjepa_core.wire.packing import digest_of
from brainjepa_core.wire.sum_terms import terms_at

PROTECT = {"secure_sum": {}}


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    return write_stores(tmp_path_factory.mktemp("stores"))


def contract_of(roster, protect=PROTECT):
    assignment = Assignment(study_id="small", pretraining=STUDY, steps=2, protect=protect)
    return Contract(
        consortium="three", assignment=assignment, rounds=3, evaluations=2, roster=roster
    )


@pytest.fixture
def approved(stores, tmp_path):
    """A site by contract, and the contract that it has approved."""
    key = make_key(tmp_path / "site.key", PrivateFormat.OpenSSH)
    contract = contract_of({"one": of_key(key.public_key()), "two": "bb", "three": "cc"})
    site = make_site(stores[0], tmp_path)
    known = Contracts(tmp_path)
    known.approve(known.propose(contract.text), ScanStore.open(stores[0]).fingerprint)
    return Site(site.settings, contracts=True), contract


def step_of(contract, kind, step, arrays, number=0, **changes):
    part = SumStep(step, 0, digest_of(arrays))
    part = replace(
        part, message=of_sum(terms_at("one", contract, kind, number, part), {}), **changes
    )
    sent = arrays if step == MASKED else {}
    return Request(kind, contract.asked(number), sent, sum=part)


def test_a_step_is_answered_with_the_same_bytes_again(approved):
    site, contract = approved
    asked = step_of(contract, GRADIENTS, KEYS, {})
    first, again = site.answer(asked), site.answer(asked)
    assert first.refusal == "" and first.metrics == {} and "signature" in first.arrays
    assert digest_of(first.arrays) == digest_of(again.arrays)


def test_a_question_in_the_clear_is_refused(approved, stores):
    site, contract = approved
    reply = site.answer(Request(GRADIENTS, contract.asked(0)))
    assert reply.refusal == (
        "expected a question of a study that is answered in secure sums alone (protect), found one "
        "in the clear; bring coordinator and site to one version"
    )
    unprotected = make_site(stores[0], site.settings.state / "other")
    asked = step_of(contract, GRADIENTS, KEYS, {})
    plain = asked.assignment.model_copy(update={"protect": None})
    found = unprotected.answer(replace(asked, assignment=plain)).refusal
    assert "answered in the clear (protect), found a step of a secure sum" in found
    assert (
        "of a contract that this site's manager has approved" in unprotected.answer(asked).refusal
    )


def test_other_words_and_other_questions_are_refused(approved, stores):
    site, contract = approved
    strange = site.answer(step_of(contract, GRADIENTS, "all of it", {})).refusal
    assert strange.startswith(
        "expected a step of a secure sum (keys, shares, masked, alive, unmask"
    )
    arrays = first_arrays(stores)
    assert not site.answer(step_of(contract, TRAIN, KEYS, arrays)).refusal
    other = {**arrays, "basis": arrays["basis"] + np.float32(1)}
    second = site.answer(step_of(contract, TRAIN, KEYS, other)).refusal
    assert "was asked of this site with other arrays before; a question is answered once" in second
    told = step_of(contract, TRAIN, MASKED, arrays)
    swapped = site.answer(replace(told, arrays=other)).refusal
    assert swapped.startswith("expected the question that the steps before this one told of, found")
    early = site.answer(told).refusal
    assert "expected the steps of the secure sum of 'train', round 1, attempt 1 in their" in early


def test_a_site_that_requires_secure_sums(approved, stores, tmp_path):
    _, contract = approved
    strict = make_site(stores[0], tmp_path, require_secure_sum=True)
    plain = contract_of(dict(contract.roster), None)
    found = strict.answer(Request(GRADIENTS, plain.asked(0))).refusal
    assert found == (
        "this site's policy answers within secure sums alone (policy.require_secure_sum), and this "
        "study is without them; set protect: secure_sum, or go on without this site"
    )
    with pytest.raises(ValueError, match=r"would refuse: this site's policy answers within secure"):
        approve(strict.settings, Contracts(tmp_path).propose(plain.text) and plain)
    assert (
        not Site(strict.settings, contracts=True)
        .answer(step_of(contract, GRADIENTS, KEYS, {}))
        .refusal
    )


def test_review_says_what_leaves(approved, stores, tmp_path):
    _, contract = approved
    known = Contracts(tmp_path).find(contract.hash)
    text = "\n".join(
        review(make_site(stores[0], tmp_path).settings, known, ScanStore.open(stores[0]))
    )
    assert "whose sum over at least 3 of the 3 sites is all that the coordinator learns" in text


def test_contracts_that_cannot_be_summed():
    with pytest.raises(ValueError, match="at least 3 sites, found wire fp32, no other and 2 sites"):
        contract_of({"one": "aa", "two": "bb"})
