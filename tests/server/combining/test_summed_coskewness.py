"""Sites' sums of co-skewness come to that of their people pooled, without garbage and lies."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from brainjepa_core.gradients import ConnectivitySum
from brainjepa_core.pretraining.settings import BasisSettings
from brainjepa_core.sums.coskewness import CoskewnessSum
from brainjepa_core.wire.messages import Reply
from brainjepa_core.wire.summed_people import connectivity_layout, decode_people, encode_people
from brainjepa_server.combining.consensus import Consensus, build_consensus, check_sums
from brainjepa_server.combining.coskewness import directions_of, loudness
from brainjepa_server.combining.validation import RejectedReply
from brainjepa_server.settings import FloorSettings
from brainjepa_server.study_folder import COSKEWNESS_FILE

R = 12
ROIS = tuple(f"area {i}" for i in range(R))
FLOORS = FloorSettings(sites=2, subjects_per_site=4, subjects=12)
BASIS = BasisSettings(components=4, sparsity=0.5)
MIXING = np.random.default_rng(0).standard_normal((R, 5))
SITES = {"north": range(0, 5), "east": range(5, 12), "south": range(12, 18), "west": range(18, 24)}


def person(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Signals of skewed sources, and which ROIs are there."""
    rng = np.random.default_rng(seed)
    sources = rng.exponential(size=(5, 80)) - 1
    mixing = MIXING + 0.2 * rng.standard_normal((R, 5))
    return mixing @ sources + rng.standard_normal((R, 80)), rng.random(R) > 0.05


def sums_of(people) -> tuple[ConnectivitySum, CoskewnessSum]:
    plain, third = ConnectivitySum(ROIS), CoskewnessSum(ROIS)
    for seed in people:
        series, known = person(seed)
        plain.add_scan(series, ~known)
        third.add_subject([series], known)
    return plain, third


def reply_of(people, **arrays) -> Reply:
    plain, third = sums_of(people)
    sent = {
        "z_sum": plain.z_sum,
        "pair_count": plain.pair_count,
        "coskewness.products": third.products,
        "coskewness.pair_count": third.pair_count,
    }
    return Reply({"subjects": plain.subjects}, sent | arrays)


REPLIES = {site: reply_of(people) for site, people in SITES.items()}
POOLED = sums_of(range(24))[1]


def consensus(replies: dict[str, Reply], floors: FloorSettings = FLOORS) -> Consensus:
    return build_consensus(replies.items(), ROIS, floors, BASIS, {}, coskewness=True)


def subspace(total: CoskewnessSum) -> np.ndarray:
    directions = total.directions(5)
    return directions @ directions.T


def test_the_sum_and_its_subspace_are_those_of_pooled_people():
    found = consensus(REPLIES).coskewness
    assert found is not None and found.left_out == {}
    assert_allclose(found.total.products, POOLED.products, rtol=1e-12)
    assert np.array_equal(found.total.pair_count, POOLED.pair_count)
    assert found.total.subjects == 24
    assert_allclose(subspace(found.total), subspace(POOLED), rtol=1e-9, atol=1e-9)


def test_one_site_is_that_site():
    alone = FloorSettings(sites=1, subjects_per_site=4, subjects=4)
    found = consensus({"east": REPLIES["east"]}, alone).coskewness
    assert np.array_equal(found.total.products, sums_of(SITES["east"])[1].products)


def test_the_order_of_replies_does_not_show():
    one, other = consensus(REPLIES), consensus(dict(reversed(REPLIES.items())))
    assert np.array_equal(one.coskewness.total.products, other.coskewness.total.products)


def test_a_study_that_does_not_ask_for_it_refuses_it_and_has_none():
    plain = {
        site: Reply(r.metrics, {n: r.arrays[n] for n in ("z_sum", "pair_count")})
        for site, r in REPLIES.items()
    }
    assert build_consensus(plain.items(), ROIS, FLOORS, BASIS, {}).coskewness is None
    with pytest.raises(RejectedReply, match=r"expected 2 arrays, .* 2 unknown \(coskewness\."):
        check_sums(REPLIES["east"], ROIS, 4)
    with pytest.raises(RejectedReply, match=r"expected 4 arrays, found 2 of them missing"):
        check_sums(plain["east"], ROIS, 4, coskewness=True)


def test_a_site_that_is_far_too_large_is_left_out_of_this_sum_alone():
    products = REPLIES["west"].arrays["coskewness.products"]
    lie = {**REPLIES, "west": reply_of(SITES["west"], **{"coskewness.products": 900 * products})}
    found = consensus(lie)
    assert found.sites == ("east", "north", "south", "west") and found.left_out == {}
    assert list(found.coskewness.left_out) == ["west"]
    sizes = {site: loudness(sums_of(people)[1]) for site, people in SITES.items()}
    others = sorted([*(sizes[site] for site in SITES if site != "west"), 30 * sizes["west"]])
    times = 30 * sizes["west"] / np.mean(others[1:3])
    assert found.coskewness.left_out["west"] == (
        "expected third moments of a root mean square of at most 5 times the sites' median, found "
        f"{times:.3g} times; look at how its scans were cleaned"
    )
    honest = sums_of(range(18))[1]
    assert_allclose(found.coskewness.total.products, honest.products, rtol=1e-12)


def test_too_few_sites_without_the_loud_one_end_it():
    products = REPLIES["west"].arrays["coskewness.products"]
    lie = {**REPLIES, "west": reply_of(SITES["west"], **{"coskewness.products": 900 * products})}
    few = FloorSettings(sites=4, subjects_per_site=4, subjects=12)
    with pytest.raises(ValueError, match=r"of at least 4 sites .* west was left out: expected thi"):
        consensus(lie, few)


def test_a_large_site_counts_for_no_more_than_in_the_consensus():
    people = {"huge": range(30, 60), **SITES}
    found = consensus({site: reply_of(own) for site, own in people.items()})
    assert list(found.capped) == ["huge"]
    fewer = found.total.subjects - 24
    huge = sums_of(range(30, 60))[1].counting_as(fewer)
    assert fewer < 30
    assert_allclose(found.coskewness.total.products, (POOLED + huge).products, rtol=1e-12)


GOOD = REPLIES["east"]
PRODUCTS, COUNT = GOOD.arrays["coskewness.products"], GOOD.arrays["coskewness.pair_count"]


@pytest.mark.parametrize(
    ("name", "array", "text"),
    [
        ("products", PRODUCTS[:-1], "'products' as float64 with shape (78,), found float64 with"),
        ("products", -PRODUCTS, "some that no people's data have"),
        ("products", PRODUCTS * np.nan, "finite values in 'products', found 78 of 78 NaN"),
        ("products", PRODUCTS + 99 * (np.arange(78) == 1), "some that no people's data have"),
        ("pair_count", COUNT + 9, "no pair in more than the 7 people, found a pair_count of 1"),
        ("pair_count", COUNT - 8, "counts in 'pair_count', found the negative value"),
        ("pair_count", 0 * COUNT, "some that no people's data have"),
    ],
)
def test_a_site_that_does_not_fit_is_left_out_with_the_reason(name, array, text):
    wrong = reply_of(SITES["east"], **{f"coskewness.{name}": array})
    found = consensus({**REPLIES, "east": wrong})
    assert found.sites == ("north", "south", "west") and list(found.left_out) == ["east"]
    assert text in found.left_out["east"]
    assert found.coskewness.total.subjects == 17


JUNK = st.one_of(
    st.none(), st.integers(), st.floats(), st.text(max_size=5),
    st.sampled_from([PRODUCTS, COUNT, PRODUCTS[:3], PRODUCTS * np.inf, -COUNT, np.zeros(0)]),
)  # fmt: skip
NAMES = st.sampled_from(["coskewness.products", "coskewness.pair_count", "coskewness.scan"])


@settings(max_examples=200, deadline=None)
@given(arrays=st.dictionaries(NAMES, JUNK))
def test_no_garbage_raises_anything_else(arrays):
    try:
        check_sums(Reply(GOOD.metrics, GOOD.arrays | arrays), ROIS, 4, coskewness=True)
    except RejectedReply:
        return


@settings(max_examples=30, deadline=None)
@given(to=st.integers(1, 20), seed=st.integers(0, 1000), spike=st.booleans())
def test_what_a_site_rounds_is_possible(to, seed, spike):
    """Also where most co-skewness is one person's, and rounding takes more of some pairs."""
    third = CoskewnessSum(ROIS)
    rng = np.random.default_rng(seed)
    for number in range(int(rng.integers(1, 45))):
        series, _ = person(seed + number)
        if spike and number == 0:
            series[:, 7] += 300
        third.add_subject([series], rng.random(R) > 0.3)
    told = third.told(3).rounded(lambda count: count // to * to)
    again = CoskewnessSum.from_arrays(told.to_arrays())
    mean = third.products / np.maximum(third.pair_count, 1)
    shown = again.pair_count > 0
    assert_allclose((again.products[shown] / again.pair_count[shown]), mean[shown], rtol=1e-12)


def test_within_a_secure_sum_it_is_the_pooled_one_to_the_fixed_point():
    layout, size = connectivity_layout(R, coskewness=True), len(SITES)
    vectors = [
        encode_people({**r.arrays, "subjects": np.array(r.metrics["subjects"])}, layout, size, key)
        for r, key in zip(REPLIES.values(), (bytes([n] * 32) for n in range(size)), strict=True)
    ]
    total = {name: np.sum([v[name] for v in vectors], axis=0, dtype=np.uint64) for name in layout}
    found = decode_people(total, layout, size, size)
    assert_allclose(found["coskewness.products"], POOLED.products, atol=1e-9)
    assert np.array_equal(found["coskewness.pair_count"], POOLED.pair_count)
    own = CoskewnessSum(ROIS)._made_of(
        {
            "rois": np.array(ROIS),
            "products": found["coskewness.products"],
            "pair_count": found["coskewness.pair_count"],
            "subjects": 24,
        }
    )
    assert_allclose(subspace(own), subspace(POOLED), atol=1e-8)


def test_directions_of_a_study_are_read_from_its_sum(tmp_path):
    POOLED.save(tmp_path / COSKEWNESS_FILE)
    assert_allclose(directions_of(tmp_path), POOLED.directions(5), atol=1e-12)
    (tmp_path / COSKEWNESS_FILE).write_bytes(b"PK")
    for found in ("damaged", "none"):
        with pytest.raises(
            ValueError,
            match=r"^expected the sum of the sites' co-skewness in coskewness_sum.npz, found .*; "
            "put the study's own file back, or start in a new folder$",
        ):
            directions_of(tmp_path)
        if found == "damaged":
            (tmp_path / COSKEWNESS_FILE).unlink()


def test_loudness_is_the_root_mean_square_of_third_moments():
    third, squares, number = CoskewnessSum(ROIS), 0.0, 0
    for seed in range(3):
        series, known = person(seed)
        third.add_subject([series], known)
        z = series[known]
        z = (z - z.mean(1, keepdims=True)) / z.std(1, keepdims=True)
        t = np.einsum("if,kf,lf->ikl", z, z, z) / z.shape[1]
        squares += np.square(t).mean((1, 2)).sum()
        number += known.sum()
    assert loudness(third) == pytest.approx(np.sqrt(squares / number), rel=1e-10)
    assert loudness(CoskewnessSum(ROIS)) == 0
