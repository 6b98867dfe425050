"""What a coordinator may try by asking again, or out of order, and what is answered."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from made_sums import Sum, name, terms, vector, without

from brainjepa_core.secure_sums.memory import SumMemory
from brainjepa_core.secure_sums.messages import (
    ALIVE,
    MASKED,
    SHARES,
    UNMASK,
    as_field,
    by_site,
    of_sites,
    of_sum,
)
from brainjepa_core.secure_sums.shamir import SHARE
from brainjepa_core.secure_sums.terms import names_text


def test_a_second_unmasking(tmp_path):
    made = Sum(tmp_path, 4)
    made.until(UNMASK)
    request = made.server.request(name(0))
    first = made.answer(0, request)
    np.testing.assert_equal(made.answer(0, request), first)
    fewer = names_text(tuple(name(n) for n in range(3)))
    with pytest.raises(
        ValueError, match=r"expected what step 'alive' of .* was answered for, found"
    ):
        made.site(0).alive(of_sum(made.terms, {"alive": as_field(fewer)}))
    for changed in ({"attempt": 1}, {"request": "f" * 64}, {"attempt": 5, "request": "f" * 64}):
        again = terms(4, **changed)
        with pytest.raises(
            ValueError,
            match="expected no other sum than the one that was unmasked, found the secure sum of "
            r"'train', round 3, attempt \d: the difference of two would be one site's part; go on "
            "with the next round",
        ):
            made.site(0, terms=again).keys(of_sum(again, {}))
    smaller = replace(made.terms, roster=terms(3).roster, attempt=1)
    with pytest.raises(ValueError, match="expected no other sum than the one that was unmasked"):
        made.site(0, terms=smaller).keys(of_sum(smaller, {}))


def test_an_attempt_that_is_over_is_not_unmasked(tmp_path):
    """Else both attempts would be, and their difference is one site's part."""
    made = Sum(tmp_path, 4)
    made.until(UNMASK)
    request = made.server.request(name(0))
    again = terms(4, attempt=1)
    made.site(0, terms=again).keys(of_sum(again, {}))
    with pytest.raises(
        ValueError, match="expected a step of the sum that has begun last, found on"
    ):
        made.answer(0, request)
    with pytest.raises(ValueError, match=r"attempt 2 of this round began .* begin attempt 3"):
        made.site(0).keys(of_sum(made.terms, {}))


def test_another_attempt_has_other_masks(tmp_path):
    """So that two masked vectors of one site tell nothing by their difference."""
    first, second = Sum(tmp_path, 4), Sum(tmp_path, 4, attempt=1)
    first.until(MASKED)
    one = first.answer(0)
    second.until(MASKED)
    other = second.answer(0)
    assert (one["vector.weights"] != other["vector.weights"]).all()
    with pytest.raises(ValueError, match="found one of another study, round, attempt"):
        second.server.receive(name(0), one)


@pytest.mark.parametrize(
    "changed", [{"attempt": 1}, {"round": 3}, {"request": "f" * 64}, {"question": "evaluate"}]
)
def test_each_sum_has_keys_of_its_own(tmp_path, changed):
    """Shares of a mask key that are told in one sum open nothing of another."""
    told = []
    for folder, terms_ in (("a", terms(4)), ("b", terms(4, **changed))):
        memory = tmp_path / folder / name(0)
        memory.mkdir(parents=True)
        (memory / "secret").write_bytes(b"s" * 32)
        made = Sum(tmp_path / folder, 4)
        told.append(made.site(0, terms=terms_).keys(of_sum(terms_, {})))
    for field in ("box_key", "mask_key", "seed_hash"):
        assert (told[0][field] != told[1][field]).any()
    np.testing.assert_array_equal(told[0]["identity"], told[1]["identity"])


def test_no_two_boxes_have_one_key(tmp_path):
    """Of two contents under one key and nonce the difference could be read in the boxes."""
    made = Sum(tmp_path, 4)
    made.until(MASKED)
    boxes, contents = {}, {}
    for receiver, dealer in ((0, 1), (1, 0), (0, 0), (0, 2)):
        request, site = made.server.request(name(receiver)), made.site(receiver)
        box = of_sites(request)[name(dealer)]
        shares = site._opened(by_site({name(dealer): box}), site._keys())[name(dealer)]
        contents[receiver, dealer] = np.frombuffer(shares.seed + shares.mask, np.uint8)
        boxes[receiver, dealer] = box["box"][: 2 * SHARE]
    streams = {pair: boxes[pair] ^ contents[pair] for pair in boxes}
    assert len({stream.tobytes() for stream in streams.values()}) == 4


def test_another_set_in_a_repetition(tmp_path):
    """At each step, asked for one site fewer than before."""
    made = Sum(tmp_path, 4)
    answered = "was answered for, found other sites or other content; a step is answered once"
    made.until(SHARES)
    request = made.server.request(name(0))
    made.answer(0, request)
    with pytest.raises(ValueError, match=f"what step 'shares' of .* {answered}"):
        made.answer(0, without(request, 3))
    made.until(MASKED)
    request = made.server.request(name(0))
    made.answer(0, request)
    with pytest.raises(ValueError, match=f"what step 'masked' of .* {answered}"):
        made.answer(0, without(request, 3))
    made.until(ALIVE)
    made.answer(0)
    fewer = as_field(names_text(tuple(name(n) for n in range(3))))
    with pytest.raises(ValueError, match=f"what step 'alive' of .* {answered}"):
        made.answer(0, of_sum(made.terms, {"alive": fewer}))


def test_another_vector_in_a_repetition(tmp_path):
    """The difference of two vectors under the same masks is no secret: it does not leave."""
    made = Sum(tmp_path, 4)
    made.until(MASKED)
    request = made.server.request(name(0))
    made.site(0).masked(request, vector(0))
    for other in (vector(1), {**vector(0), "more": np.zeros(1, np.uint32)}):
        with pytest.raises(ValueError, match=r"what step 'vector' of .* a step is answered once"):
            made.site(0).masked(request, other)


def test_steps_out_of_order(tmp_path):
    made = Sum(tmp_path, 4)
    made.until(UNMASK)
    fresh = Sum(tmp_path / "fresh", 4)
    late = made.server.request(name(0))
    with pytest.raises(
        ValueError, match="expected a step of the sum that has begun last, found on"
    ):
        fresh.site(0).unmask(late)
    fresh.site(0).keys(of_sum(fresh.terms, {}))
    with pytest.raises(ValueError, match=r"expected the steps of .* before 'shares' was answered"):
        fresh.site(0).unmask(late)
    with pytest.raises(ValueError, match=r"expected the steps of .* before 'vector' was answered"):
        fresh.site(0).alive(of_sum(made.terms, {"alive": as_field(names_text((name(0),)))}))


def test_too_few_or_without_oneself(tmp_path):
    made = Sum(tmp_path, 4)
    made.until(SHARES)
    request = made.server.request(name(0))
    with pytest.raises(
        ValueError, match=r"expected keys of at least 3 of 4 sites .* found 2; begin"
    ):
        made.answer(0, without(without(request, 3), 2))
    with pytest.raises(ValueError, match="expected this site, 'site-00', in those whose keys came"):
        made.answer(0, without(request, 0))
    made.until(MASKED)
    request = made.server.request(name(0))
    with pytest.raises(
        ValueError, match=r"expected boxes of at least 3 of 4 sites .* found 2; begi"
    ):
        made.answer(0, without(without(request, 3), 2))
    made.until(ALIVE)
    for names, text in (
        ((0, 1), "expected vectors of at least 3 of 4 sites .* found 2; begin another attempt"),
        ((1, 2, 3), "expected this site, 'site-00', in those whose vectors came"),
        ((0, 1, 2, 4), "expected vectors of sites that masks are between, found 'site-04' too"),
    ):
        told = as_field(names_text(tuple(name(n) for n in names)))
        with pytest.raises(ValueError, match=text):
            made.answer(0, of_sum(made.terms, {"alive": told}))
    told = as_field(b"site-01\nsite-00\nsite-00")
    with pytest.raises(ValueError, match="expected names of sites, each once and in order, found"):
        made.answer(0, of_sum(made.terms, {"alive": told}))


def test_nobody_tells_both_shares_of_one_site(tmp_path):
    """Seeds of the living, mask keys of the gone: against what was dealt."""
    made = Sum(tmp_path, 4)
    made.until(MASKED)
    made.step(0, 1, 2)
    made.until(UNMASK)
    for n in range(3):
        held = made.site(n)._opened(
            SumMemory(made.folder / name(n)).told(made.terms, MASKED), made.site(n)._keys()
        )
        told = of_sites(made.answer(n))
        assert set(told) == {name(n) for n in range(4)}
        for dealer, fields in told.items():
            kind = "mask" if dealer == name(3) else "seed"
            assert fields["share"].tobytes() == getattr(held[dealer], kind)
