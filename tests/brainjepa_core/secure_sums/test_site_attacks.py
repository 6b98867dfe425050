"""What a site may try: it is named, and the sum is exact without it, or the round is dropped."""

from __future__ import annotations

import numpy as np
import pytest
from made_sums import Sum, key, listed, name, pooled, vector

from brainjepa_core.secure_sums import dealing, signing
from brainjepa_core.secure_sums import site as site_module
from brainjepa_core.secure_sums.agreement import own_keys, public_of, sound
from brainjepa_core.secure_sums.dealing import Shares
from brainjepa_core.secure_sums.messages import KEYS, MASKED, SHARES, UNMASK
from brainjepa_core.secure_sums.server import TooFewSites
from brainjepa_core.secure_sums.signing import signed_keys


@pytest.mark.parametrize("sites", [4, 3])
def test_a_site_that_lies_in_a_share(tmp_path, sites):
    """It is named; with enough others the sum is exact, else the round is dropped."""
    made = Sum(tmp_path, sites)
    made.until(UNMASK)
    lie = made.answer(1)
    lie["site-02.share"] = lie["site-02.share"].copy()
    lie["site-02.share"][20] ^= 1
    with pytest.raises(
        ValueError,
        match="expected of 'site-01' the share that 'site-02' dealt it, found another: 'site-01' "
        "lies; leave it out, and ask its manager",
    ):
        made.server.receive(name(1), lie)
    for n in range(sites):
        if n != 1:
            made.server.receive(name(n), made.answer(n))
    if sites == 3:
        with pytest.raises(TooFewSites, match="found 2; drop the round, for some sites have told"):
            made.server.end_step()
        return
    made.server.end_step()
    assert listed(made.server.total()) == pooled([vector(n) for n in range(sites)])


@pytest.mark.parametrize("gone", [False, True])
def test_a_site_that_deals_shares_of_something_else(tmp_path, monkeypatch, gone):
    """Whether it is alive (its seed) or gone (its mask key) at the end."""
    made, honest = Sum(tmp_path, 4), site_module.deal

    def deal(dealer, secret, own, keys, terms_):
        if dealer == name(3):
            wrong = own_keys(b"w" * 32, terms_.hash)
            own = type(own)(box=own.box, mask=wrong.mask, seed=wrong.seed)
        return honest(dealer, secret, own, keys, terms_)

    monkeypatch.setattr(site_module, "deal", deal)
    made.until(MASKED)
    made.step(*range(3 if gone else 4))
    made.until(UNMASK)
    made.step()
    with pytest.raises(
        ValueError,
        match="expected shares of the secret that 'site-03' signed for, found others: 'site-03' "
        "dealt wrong ones; drop the round, and ask its manager",
    ):
        made.server.total()


def test_a_site_that_vouches_for_other_shares_than_it_deals(tmp_path, monkeypatch):
    """The receiver sees it before its vector leaves."""
    made, honest = Sum(tmp_path, 4), dealing.hashes_of

    def hashes_of(shares, dealer, receiver, terms_):
        if dealer == name(3) and receiver == name(0):
            shares = Shares(bytes(66), shares.mask)
        return honest(shares, dealer, receiver, terms_)

    made.until(SHARES)
    monkeypatch.setattr(dealing, "hashes_of", hashes_of)
    made.step()
    monkeypatch.setattr(dealing, "hashes_of", honest)
    with pytest.raises(
        ValueError, match="shares that 'site-03' vouches for, found others in its bo"
    ):
        made.answer(0)
    assert made.answer(1)


def test_keys_with_which_everybody_knows_the_secret(tmp_path, monkeypatch):
    assert not sound(bytes(32)) and not sound((1).to_bytes(32, "little"))
    assert sound(public_of(b"k" * 32))
    made = Sum(tmp_path, 4)

    monkeypatch.setattr(signing, "public_of", lambda private: bytes(32))
    weak = signed_keys(name(1), key(1), made.terms, own_keys(b"k" * 32, made.terms.hash))
    with pytest.raises(
        ValueError, match="expected keys of 'site-01' that keep a secret, found one"
    ):
        made.server.receive(name(1), weak)


def test_a_vector_of_another_layout_leaves_no_trace(tmp_path):
    made = Sum(tmp_path, 4)
    made.until(MASKED)
    good = made.answer(0)
    for change, text in (
        ({"vector.z_sum": np.zeros(5, np.uint32)}, "'z_sum' of 'site-00' as uint64 of shape"),
        ({"vector.weights": np.zeros((2, 3), np.uint32)}, r"found uint32 of shape \[2, 3\]; check"),
        ({"vector.more": np.zeros(1, np.uint32)}, "found that more are missing or too many; leave"),
    ):
        with pytest.raises(ValueError, match=text):
            made.server.receive(name(0), {**good, **change})
    made.server.receive(name(0), good)
    with pytest.raises(
        ValueError, match=r"one answer of 'site-00' to step 'masked' .* a second one"
    ):
        made.server.receive(name(0), good)
    for n in (1, 2, 3):
        made.server.receive(name(n), made.answer(n))
    made.server.end_step()
    made.until(UNMASK)
    made.step()
    assert listed(made.server.total()) == pooled([vector(n) for n in range(4)])


def test_whoever_missed_a_step_is_asked_no_more(tmp_path):
    made = Sum(tmp_path, 4)
    late = made.answer(3)
    made.step(0, 1, 2)
    for call in (made.server.request, lambda site: made.server.receive(site, late)):
        with pytest.raises(ValueError, match="expected one of site-00, site-01, site-02 in step"):
            call(name(3))


@pytest.mark.parametrize(
    ("field", "text"),
    [
        (None, "expected 'box_key' in a message of a secure sum, found none"),
        (np.zeros(31, np.uint8), "expected 'box_key' of 32 bytes, found 31"),
        (np.zeros(32, np.float32), "expected 'box_key' as bytes, found float32"),
        (np.zeros((1, 32), np.uint8), r"expected 'box_key' as bytes, found uint8 of shape \(1, 32"),
        (np.zeros(1 << 17, np.uint8), "expected 'box_key' as bytes, found uint8 of shape"),
    ],
)
def test_fields_that_are_none(tmp_path, field, text):
    made = Sum(tmp_path, 4)
    reply = made.answer(1)
    if field is None:
        del reply["box_key"]
    else:
        reply["box_key"] = field
    with pytest.raises(ValueError, match=text):
        made.server.receive(name(1), reply)
    assert name(1) in made.server.awaited and made.server.step == KEYS
