"""What a coordinator may try, between the sites and by asking again, and what is answered."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from made_sums import Sum, key, name, terms, vector

from brainjepa_core.secure_sums.agreement import own_keys
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
from brainjepa_core.secure_sums.server import SumServer
from brainjepa_core.secure_sums.signing import Story, hash_of_keys, parsed_keys, signed_keys
from brainjepa_core.secure_sums.terms import names_text

DO_NOT_GO_ON = "do not go on with this study: somebody between the sites changes what they send"


def without(message, site):
    return {field: value for field, value in message.items() if not field.startswith(site + ".")}


# A coordinator between the sites.


def test_a_key_of_the_coordinators_in_a_sites_place(tmp_path):
    """It draws keys of its own and signs them with a key of its own."""
    made = Sum(tmp_path, 4)
    made.until(SHARES)
    forged = signed_keys(name(1), key(100), made.terms, own_keys(bytes(32), made.terms.hash))
    del forged["sum"]
    request = {**without(made.server.request(name(0)), name(1)), **by_site({name(1): forged})}
    with pytest.raises(
        ValueError,
        match=f"expected the key of 'site-01' that the contract's roster has, found another; "
        f"{DO_NOT_GO_ON}",
    ):
        made.answer(0, request)
    with pytest.raises(ValueError, match="'site-01' that the contract's roster has"):
        SumServer(made.terms, {}).receive(name(1), of_sum(made.terms, forged))


@pytest.mark.parametrize("field", ["box_key", "mask_key", "seed_hash", "signature"])
def test_a_site_s_own_identity_over_other_keys(tmp_path, field):
    made = Sum(tmp_path, 4)
    made.until(SHARES)
    request = made.server.request(name(0))
    changed = request[f"site-01.{field}"].copy()
    changed[len(changed) // 2] ^= 1
    with pytest.raises(ValueError, match="expected the keys as 'site-01' signed it for the secure"):
        made.answer(0, {**request, f"site-01.{field}": changed})
    assert made.answer(0, request)  # what was refused left nothing behind


def test_keys_of_a_site_under_another_name(tmp_path):
    made = Sum(tmp_path, 4)
    made.until(SHARES)
    request = made.server.request(name(0))
    other = {f"site-01.{f}": v for f, v in of_sites(request)[name(2)].items()}
    with pytest.raises(ValueError, match="'site-01' that the contract's roster has, found another"):
        made.answer(0, {**request, **other})
    stranger = {f"Nice.{f}": v for f, v in of_sites(request)[name(2)].items()}
    with pytest.raises(ValueError, match=r"expected sites of the roster of .*, found 'Nice'"):
        made.answer(0, {**request, **stranger})


@pytest.mark.parametrize(
    "changed",
    [{"round": 1}, {"attempt": 1}, {"contract": "d" * 64}, {"request": "f" * 64},
     {"question": "evaluate"}, {"consortium": "Others"}],
    ids=lambda changed: next(iter(changed)),
)  # fmt: skip
def test_messages_of_another_sum(tmp_path, changed):
    """As they are, and with the mark of this sum."""
    made, other = Sum(tmp_path / "this", 4), Sum(tmp_path / "other", 4, **changed)
    made.until(SHARES)
    other.until(SHARES)
    replayed = other.server.request(name(0))
    with pytest.raises(ValueError, match="found one of another study, round, attempt, request or"):
        made.answer(0, replayed)
    with pytest.raises(ValueError, match="signed it for the secure sum of 'train', round 3, attem"):
        made.answer(0, {**replayed, "sum": as_field(made.terms.hash)})


def test_boxes_of_another_sum(tmp_path):
    made, other = Sum(tmp_path / "this", 4), Sum(tmp_path / "other", 4, round=1)
    made.until(MASKED)
    other.until(MASKED)
    request = other.server.request(name(0)) | {"sum": as_field(made.terms.hash)}
    with pytest.raises(ValueError, match="expected a box that 'site-00' sealed for 'site-00' in "):
        made.answer(0, request)


def test_a_box_for_another_receiver(tmp_path):
    made = Sum(tmp_path, 4)
    made.until(MASKED)
    for_0, for_1 = (made.server.request(name(n)) for n in (0, 1))
    swapped = {f"site-02.{f}": v for f, v in of_sites(for_1)[name(2)].items()}
    with pytest.raises(
        ValueError,
        match="expected a box that 'site-02' sealed for 'site-00' in the secure sum of 'train', "
        "round 3, attempt 1, found another or an altered one; begin another attempt",
    ):
        made.answer(0, {**for_0, **swapped})
    for field in ("box", "hashes"):
        altered = for_0[f"site-02.{field}"].copy()
        altered[7] ^= 1
        with pytest.raises(ValueError, match="found another or an altered one"):
            made.answer(0, {**for_0, f"site-02.{field}": altered})


def test_two_stories_about_who_is_alive(tmp_path):
    """Half of the sites are told that site 3 is alive, the others that it is gone."""
    made = Sum(tmp_path, 4)
    made.until(ALIVE)
    told = {True: names_text(tuple(name(n) for n in range(4))),
            False: names_text(tuple(name(n) for n in range(3)))}  # fmt: skip
    story = [True, False, True, True]
    signatures = {
        name(n): {
            "signature": made.answer(n, of_sum(made.terms, {"alive": as_field(told[story[n]])}))[
                "signature"
            ]
        }
        for n in range(4)
    }
    made.server._ended += 1
    request = of_sum(made.terms, by_site(signatures))
    for n in range(4):
        with pytest.raises(ValueError, match="expected the story of who took part as 'site-0"):
            made.answer(n, request)
    # Those of one story alone are too few: three of four are needed.
    one_side = of_sum(made.terms, by_site({name(1): signatures[name(1)]}))
    with pytest.raises(ValueError, match=r"expected signatures of at least 3 of 4 sites in .* fou"):
        made.answer(1, one_side)


def test_different_sets_of_boxes_are_two_stories_too(tmp_path):
    """Site 0 is told that masks are between three sites, the others that between four."""
    made = Sum(tmp_path, 4)
    made.until(MASKED)
    made.answer(0, without(made.server.request(name(0)), name(3)))
    for n in (1, 2, 3):
        made.server.receive(name(n), made.answer(n))
    made.server._told[MASKED][name(0)] = {}
    made.server.end_step()
    alive = of_sum(made.terms, {"alive": as_field(names_text(tuple(name(n) for n in range(3))))})
    signatures = {name(n): {"signature": made.answer(n, alive)["signature"]} for n in range(3)}
    made.server._ended += 1
    for n in range(3):
        with pytest.raises(ValueError, match="expected the story of who took part as 'site-0"):
            made.answer(n, of_sum(made.terms, by_site(signatures)))


def test_different_sets_of_keys_have_masks_that_do_not_cancel(tmp_path):
    made = Sum(tmp_path, 4)
    made.until(SHARES)
    whole = made.server.request(name(0))
    keys = {site: parsed_keys(told) for site, told in of_sites(whole).items()}
    fewer = {site: told for site, told in keys.items() if site != name(3)}
    assert hash_of_keys(made.terms, keys) != hash_of_keys(made.terms, fewer)
    stories = [
        Story(hash_of_keys(made.terms, some), tuple(fewer), tuple(fewer)) for some in (keys, fewer)
    ]
    assert stories[0].statement(made.terms) != stories[1].statement(made.terms)


# A coordinator that asks again.


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


def test_another_set_in_a_repetition(tmp_path):
    """At each step, asked for one site fewer than before."""
    made = Sum(tmp_path, 4)
    answered = "was answered for, found other sites or other content; a step is answered once"
    made.until(SHARES)
    request = made.server.request(name(0))
    made.answer(0, request)
    with pytest.raises(ValueError, match=f"what step 'shares' of .* {answered}"):
        made.answer(0, without(request, name(3)))
    made.until(MASKED)
    request = made.server.request(name(0))
    made.answer(0, request)
    with pytest.raises(ValueError, match=f"what step 'masked' of .* {answered}"):
        made.answer(0, without(request, name(3)))
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
        made.answer(0, without(without(request, name(3)), name(2)))
    with pytest.raises(ValueError, match="expected this site, 'site-00', in those whose keys came"):
        made.answer(0, without(request, name(0)))
    made.until(MASKED)
    request = made.server.request(name(0))
    with pytest.raises(
        ValueError, match=r"expected boxes of at least 3 of 4 sites .* found 2; begi"
    ):
        made.answer(0, without(without(request, name(3)), name(2)))
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
