"""What a coordinator may try, between the sites, and what is answered."""

from __future__ import annotations

import pytest
from made_sums import Sum, key, name, without

from brainjepa_core.secure_sums.agreement import own_keys
from brainjepa_core.secure_sums.cancelling import masks_of_site
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


def test_a_key_of_the_coordinators_in_a_sites_place(tmp_path):
    """It draws keys of its own and signs them with a key of its own."""
    made = Sum(tmp_path, 4)
    made.until(SHARES)
    forged = signed_keys(name(1), key(100), made.terms, own_keys(bytes(32), made.terms.hash))
    del forged["sum"]
    request = {**without(made.server.request(name(0)), 1), **by_site({name(1): forged})}
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
    made.answer(0, without(made.server.request(name(0)), 3))
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
    """And are two stories, even if the same sites are alive."""
    made = Sum(tmp_path, 4)
    made.until(SHARES)
    whole = made.server.request(name(0))
    keys = {site: parsed_keys(told) for site, told in of_sites(whole).items()}
    fewer = {site: told for site, told in keys.items() if site != name(3)}
    hashes = [hash_of_keys(made.terms, some) for some in (keys, fewer)]
    own = own_keys(SumMemory(tmp_path / name(0)).secret, made.terms.hash)
    masks = [masks_of_site(name(0), own, keys, told, tuple(fewer)) for told in hashes]
    assert len(masks[0]) == len(masks[1]) == 3
    assert len({mask.key for mask in (*masks[0], *masks[1])}) == 6
    stories = [Story(told, tuple(fewer), tuple(fewer)).statement(made.terms) for told in hashes]
    assert stories[0] != stories[1]


def test_boxes_and_signatures_of_strangers(tmp_path):
    """Of a site whose keys were not handed on, or whose vector did not come."""
    made = Sum(tmp_path, 5)
    made.step(0, 1, 2, 3)
    made.until(MASKED)
    request = made.server.request(name(0))
    strange = {f"site-04.{f}": v for f, v in of_sites(request)[name(1)].items()}
    with pytest.raises(ValueError, match="boxes of sites whose keys came, found one of 'site-04'"):
        made.answer(0, {**request, **strange})
    made.until(UNMASK)
    request = made.server.request(name(0))
    strange = {"site-04.signature": request["site-01.signature"]}
    with pytest.raises(ValueError, match="sites whose vectors came, found one of 'site-04'; begin"):
        made.answer(0, {**request, **strange})
