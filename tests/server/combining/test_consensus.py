"""The sites' sums make the basis that their people pooled would have made."""

from __future__ import annotations

import re
import tracemalloc
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from brainjepa_core.gradients import ConnectivitySum, ConsensusBasis
from brainjepa_core.pretraining.settings import BasisSettings
from brainjepa_core.wire.messages import Reply
from brainjepa_server.combining.consensus import build_consensus, check_sums
from brainjepa_server.combining.validation import Counts, RejectedReply
from brainjepa_server.settings import FloorSettings

R = 30
ROIS = tuple(f"area {i}" for i in range(R))
FLOORS = FloorSettings(sites=2, subjects_per_site=4, subjects=12)
BASIS = BasisSettings(components=6, sparsity=0.7)
MIXING = np.random.default_rng(0).standard_normal((R, 8)) * np.linspace(2, 0.5, 8)


def person(seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    mixing = MIXING + 0.3 * rng.standard_normal((R, 8))
    series = mixing @ rng.standard_normal((8, 90)) + rng.standard_normal((R, 90))
    return series, rng.random(R) < 0.04


def make_sum(people) -> ConnectivitySum:
    total = ConnectivitySum(ROIS)
    for seed in people:
        total.add_scan(*person(seed))
    return total


def make_reply(people, **changes) -> Reply:
    total = make_sum(people)
    metrics = {"subjects": total.subjects}
    arrays = {"z_sum": total.z_sum, "pair_count": total.pair_count}
    return Reply(
        metrics | changes.pop("metrics", {}), arrays | changes.pop("arrays", {}), **changes
    )


SITES = {"north": range(0, 5), "east": range(5, 12), "south": range(12, 16)}
REPLIES = {site: make_reply(people) for site, people in SITES.items()}


def test_it_is_the_basis_of_the_pooled_people():
    found = build_consensus(REPLIES.items(), ROIS, FLOORS, BASIS, {})
    pooled = make_sum(range(16))
    basis = ConsensusBasis.from_sum(pooled, 6, 0.7)
    np.testing.assert_allclose(found.basis.gradients, basis.gradients, atol=1e-6)
    np.testing.assert_allclose(found.mean_fc, pooled.mean_fc(), atol=1e-12)
    np.testing.assert_array_equal(found.total.pair_count, pooled.pair_count)
    assert found.total.subjects == 16
    assert found.sites == ("east", "north", "south") and found.left_out == {}


def test_the_order_of_replies_does_not_show():
    backwards = dict(reversed(REPLIES.items()))
    one, other = (build_consensus(r.items(), ROIS, FLOORS, BASIS, {}) for r in (REPLIES, backwards))
    assert one.basis.hash == other.basis.hash
    np.testing.assert_array_equal(one.mean_fc, other.mean_fc)


MANY_ROIS = tuple(f"area {i}" for i in range(150))
MEAN_Z = np.arctanh(
    np.corrcoef(np.random.default_rng(0).standard_normal((150, 20)))[np.triu_indices(150, 1)]
)


def many_replies(sites: int) -> Iterator[tuple[str, Reply]]:
    """Made as they are asked for, each of 180 kB."""
    for number in range(sites):
        away = 0.1 * np.random.default_rng(number).standard_normal(MEAN_Z.shape)
        counts = np.full(MEAN_Z.shape, 20)
        arrays = {"z_sum": 20 * (MEAN_Z + away), "pair_count": counts}
        yield f"site-{number:03d}", Reply({"subjects": 20}, arrays)


def test_memory_does_not_grow_with_sites_and_nothing_stays_on_disk(tmp_path):
    """Of 200 sites the sums are 36 MB, their means alone 18."""
    peaks = []
    for sites in (30, 200):
        tracemalloc.start()
        found = build_consensus(many_replies(sites), MANY_ROIS, FLOORS, BASIS, {}, tmp_path)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert len(found.sites) == sites
    assert peaks[1] < 1.1 * peaks[0] + 1e6 and peaks[1] < 18e6
    assert list(tmp_path.iterdir()) == []


GOOD = REPLIES["east"]
Z, COUNT = GOOD.arrays["z_sum"], GOOD.arrays["pair_count"]
PAIRS = R * (R - 1) // 2
WRONG = [
    (
        {"arrays": {"z_sum": Z[:-1]}},
        "'z_sum' as float64 with shape (435,), found float64 with",
    ),
    (
        {"arrays": {"z_sum": Z.astype("f4")}},
        "'z_sum' as float64 with shape (435,), found float32",
    ),
    ({"arrays": {"z_sum": Z * np.nan}}, "finite values in 'z_sum', found 435 of 435 NaN or infini"),
    ({"arrays": {"pair_count": COUNT.astype("i4")}}, "'pair_count' as int64 with shape (435,), f"),
    ({"arrays": {"pair_count": COUNT - 8}}, "expected counts in 'pair_count', found the negative"),
    ({"arrays": {"pair_count": COUNT + 1}}, "expected no pair in more than the 7 subjects, found"),
    ({"arrays": {"z_sum": Z + 64}}, "expected Fisher z of at most 9 a subject, found more in"),
    ({"arrays": {"pair_count": 0 * COUNT}}, "at most 9 a subject, found more in 435 of 435 pairs"),
    ({"arrays": {"scan": Z}}, "expected 2 arrays, found 0 of them missing and 1 unknown (scan)"),
    ({"metrics": {"subjects": 3}}, "expected at least 4 subjects, found 3; a basis of few people"),
    ({"metrics": {"subjects": -1}}, "expected subjects as an integer from 0 to 1e+12, found one o"),
    ({"metrics": {"subjects": 7.0}}, "expected subjects as an integer from 0 to 1e+12, found a fl"),
    ({"metrics": {"subjects": 10**30}}, "expected subjects as an integer from 0 to 1e+12, found o"),
    ({"refusal": "the policy says no\x1b"}, "no usable reply: the policy says no?"),
]


@pytest.mark.parametrize(("changes", "text"), WRONG)
def test_a_site_that_does_not_fit_is_left_out_with_the_reason(changes, text):
    replies = REPLIES | {"east": make_reply(SITES["east"], **changes)}
    floors = FloorSettings(sites=2, subjects_per_site=4, subjects=9)
    found = build_consensus(replies.items(), ROIS, floors, BASIS, {})
    assert found.sites == ("north", "south") and found.total.subjects == 9
    assert list(found.left_out) == ["east"] and text in found.left_out["east"]


def test_a_site_is_in_it_with_no_more_people_than_it_can_have():
    """What sites tell when they join is rounded down, so they have fewer than twice as many."""
    counts = {"north": Counts(3, 9), "east": Counts(3, 9), "south": Counts(4, 4)}
    floors = FloorSettings(sites=2, subjects_per_site=4, subjects=9)
    found = build_consensus(REPLIES.items(), ROIS, floors, BASIS, counts)
    assert found.sites == ("north", "south")
    text = "expected the 3 people that the site told of when it joined (rounded down: fewer than"
    assert found.left_out["east"].startswith(text) and "found 7;" in found.left_out["east"]


def test_too_few_sites_or_people_have_no_basis():
    few = FloorSettings(sites=4, subjects_per_site=4, subjects=1)
    text = (
        "expected usable connectivity of at least 4 sites (floors.sites), found 3; "
        "wait for more sites"
    )
    with pytest.raises(ValueError, match=f"^{re.escape(text)}$"):
        build_consensus(REPLIES.items(), ROIS, few, BASIS, {})
    small = FloorSettings(sites=2, subjects_per_site=5, subjects=13)
    text = (
        "expected at least 13 subjects over all sites (floors.subjects), found 12; wait for more "
        "sites; south was left out: expected at least 5 subjects, found 4; a basis of few people "
        "is about those people"
    )
    with pytest.raises(ValueError, match=f"^{re.escape(text)}$"):
        build_consensus(REPLIES.items(), ROIS, small, BASIS, {})
    with pytest.raises(ValueError, match="found 0; wait for more sites"):
        build_consensus([], ROIS, FLOORS, BASIS, {})


JUNK = st.one_of(
    st.none(), st.booleans(), st.integers(), st.just(10**400), st.floats(), st.text(max_size=5),
    st.sampled_from([Z, COUNT, Z[:3], Z.astype(object), Z * np.inf, -COUNT, np.zeros(0)]),
)  # fmt: skip
KEYS = st.sampled_from(["z_sum", "pair_count", "subjects", "scans", "frames"]) | st.text(max_size=2)


@settings(max_examples=300)
@given(
    metrics=st.dictionaries(KEYS, JUNK) | JUNK,
    arrays=st.dictionaries(KEYS | st.integers(), JUNK) | JUNK,
    spoilt=st.booleans(),
)
def test_no_garbage_raises_anything_else(metrics, arrays, spoilt):
    if spoilt and isinstance(metrics, dict) and isinstance(arrays, dict):
        metrics, arrays = GOOD.metrics | metrics, GOOD.arrays | arrays
        try:
            check_sums(Reply(metrics, arrays), ROIS, 4)
        except RejectedReply:
            return
    else:
        with pytest.raises(RejectedReply):
            check_sums(Reply(metrics, arrays), ROIS, 4)


def test_what_the_site_sent_is_not_changed():
    before = {name: value.copy() for name, value in GOOD.arrays.items()}
    build_consensus(REPLIES.items(), ROIS, FLOORS, BASIS, {})
    for name, value in before.items():
        np.testing.assert_array_equal(GOOD.arrays[name], value)
