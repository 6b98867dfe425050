"""A site whose connectivity is no brain's is left out, and honest ones never are."""

from __future__ import annotations

import re
import tempfile

import numpy as np
import pytest
from four_sites import BASIS, FLOORS, LIAR, PEOPLE, consensus, four_sites, likeness, reply_of, sent
from shared_data import shared

from brainjepa_core.gradients import ConnectivitySum
from brainjepa_core.pretraining.site_sums.basis import connectivity_sum
from brainjepa_core.signals.storing.store import ScanStore
from brainjepa_core.signals.windows import Windows
from brainjepa_core.wire.messages import Reply
from brainjepa_server.combining import agreement as agreement_module
from brainjepa_server.combining.agreement import _mean_z, _Means, odd_ones
from brainjepa_server.combining.consensus import build_consensus
from brainjepa_simulations.engines.virtual_sites import open_data


@pytest.fixture(scope="module")
def honest(tmp_path_factory) -> dict[str, ConnectivitySum]:
    return four_sites(tmp_path_factory.mktemp("cohort"))


def square(values: np.ndarray, size: int) -> np.ndarray:
    found = np.zeros((size, size))
    found[np.triu_indices(size, 1)] = values
    return found + found.T


def lies(honest, rng: np.random.Generator) -> dict[str, Reply]:
    """Sums that no honest site would send, of a site that knows what the others look like."""
    rois = len(honest[LIAR].rois)
    own = honest[LIAR].z_sum / np.maximum(honest[LIAR].pair_count, 1)
    noise, spread = rng.standard_normal(own.shape), own.std()
    order = rng.permutation(rois)
    shuffled = square(own, rois)[np.ix_(order, order)][np.triu_indices(rois, 1)]
    part = rng.uniform(0, 1)
    far = rng.uniform(0, 3)
    row = square(own, rois)
    row[0], row[:, 0] = 8, 8
    return {
        "the largest of random signs": sent(np.sign(noise) * 8.9),
        "noise": sent(0.3 * noise),
        "the other sign": sent(-own),
        "nothing": sent(0 * own),
        "ROIs in another order": sent(shuffled),
        "a constant": sent(np.full(own.shape, 5.0)),
        "half noise": sent(part * own + (1 - part) * spread * noise),
        "as far away as passes, or farther": sent(own + far * spread * noise),
        "more people than there are": sent(own + far * spread * noise, 2 * PEOPLE - 1),
        "a larger scale": sent(own * (1 + 8 * far)),
        "shifted": sent(own + far * spread),
        "one ROI": sent(row[np.triu_indices(rois, 1)]),
    }


def test_sites_of_a_cohort_agree(honest):
    assert odd_ones(honest) == {}
    found = consensus(honest)
    assert found.compared and found.left_out == found.capped == {} and found.people == 4 * PEOPLE


@pytest.mark.parametrize("seed", range(10))
def test_no_lie_of_one_of_four_turns_the_basis(honest, seed):
    expected = consensus(honest)
    for name, reply in lies(honest, np.random.default_rng(seed)).items():
        found = consensus(honest, {LIAR: reply})
        assert likeness(found, expected) >= 0.9, name
        assert set(found.left_out) <= {LIAR}, name


@pytest.mark.parametrize("people", [600, 10**9])
def test_a_claim_of_very_many_people_is_left_out(honest, people):
    one = honest[LIAR]
    own = one.z_sum / np.maximum(one.pair_count, 1)
    found = consensus(honest, {LIAR: sent(own, people)})
    assert found.left_out[LIAR].startswith("expected the 20 people that the site told of when it")


@pytest.mark.parametrize("far", [0.0, 0.4, 1.0, 3.0])
def test_a_site_that_claimed_them_when_it_joined_too_has_twice_an_even_part(honest, far):
    """Half of the whole, of four."""
    own = honest[LIAR].z_sum / np.maximum(honest[LIAR].pair_count, 1)
    noise = np.random.default_rng(0).standard_normal(own.shape)
    lie = sent(own + far * own.std() * noise, 10**9)
    found = consensus(honest, {LIAR: lie}, told=10**9)
    assert likeness(found, consensus(honest)) >= 0.9
    if far < 1:
        assert found.capped == {
            LIAR: "expected at most 50% of the people (twice an even part), found 1000000000; it "
            "counts for 60"
        }
        assert found.total.subjects == 6 * PEOPLE and found.people == 3 * PEOPLE + 10**9
    else:
        assert list(found.left_out) == [LIAR]


def test_the_odd_site_is_left_out_with_the_reason(honest):
    own = honest[LIAR].z_sum / np.maximum(honest[LIAR].pair_count, 1)
    found = consensus(honest, {LIAR: sent(-own)})
    text = found.left_out[LIAR]
    assert re.fullmatch(
        r"expected mean connectivity like the other sites' \(with their median a correlation of at "
        r"least 0\.5, in its spread a difference of at most 0\.\d\d and a shift of at most 3\), "
        r"found -0\.\d\d, \d\.\d\d and -?\d\.\d\d; look at the order of its ROIs and at how its "
        r"scans were prepared",
        text,
    )


def test_two_sites_cannot_be_compared(honest):
    names = list(honest)[2:]
    two = {name: honest[name] for name in names}
    own = honest[LIAR].z_sum / np.maximum(honest[LIAR].pair_count, 1)
    replies = {names[0]: reply_of(two[names[0]]), LIAR: sent(-own)}
    found = build_consensus(replies.items(), two[LIAR].rois, FLOORS, BASIS, {})
    assert not found.compared and found.left_out == {} and set(found.sites) == set(names)


def test_pairs_that_a_site_does_not_tell_are_not_held_against_it(honest):
    """Nor do they thin out what it does tell."""
    one = honest[LIAR]
    seen = np.arange(one.z_sum.size) % 3 == 0
    part = Reply(
        {"subjects": one.subjects},
        {"z_sum": np.where(seen, one.z_sum, 0), "pair_count": np.where(seen, one.pair_count, 0)},
    )
    assert consensus(honest, {LIAR: part}).left_out == {}
    few = np.where(np.arange(one.z_sum.size) < 9, 5.0 * PEOPLE, 0.0)
    wild = Reply({"subjects": PEOPLE}, {"z_sum": few, "pair_count": np.int64(few > 0) * PEOPLE})
    assert list(consensus(honest, {LIAR: wild}).left_out) == [LIAR]


def test_means_that_are_read_in_blocks_say_the_same_to_the_last_digit(honest, monkeypatch):
    """Of sites that each leave out some pairs, and none tells the first one."""
    told = np.random.default_rng(0).random((len(honest), honest[LIAR].z_sum.size)) < 0.8
    told[:, 0] = False
    sums = {
        site: ConnectivitySum.from_arrays(
            one.to_arrays() | {"z_sum": one.z_sum * seen, "pair_count": one.pair_count * seen}
        )
        for (site, one), seen in zip(honest.items(), told, strict=True)
    }
    sums[LIAR].z_sum *= -1
    whole = odd_ones(sums)
    monkeypatch.setattr(agreement_module, "BLOCK", 7 * len(sums))
    assert odd_ones(sums) == whole and list(whole) == [LIAR]
    means = np.stack([_mean_z(one) for one in sums.values()])
    with tempfile.TemporaryFile(buffering=0) as file:
        waiting = _Means(file)
        for site, mean in zip(sums, means, strict=True):
            waiting.take(site, mean)
        found = waiting.median(list(sums)[1:])
    known = (column[~np.isnan(column)] for column in means[1:].T)
    np.testing.assert_array_equal(found, [np.median(c) if len(c) else 0.0 for c in known])


def test_a_sum_may_count_for_fewer_people_of_the_same_connectivity(honest):
    one = honest[LIAR]
    fewer = one.counting_as(7)
    seen = one.pair_count > 0
    np.testing.assert_allclose(
        fewer.z_sum[seen] / fewer.pair_count[seen],
        one.z_sum[seen] / one.pair_count[seen],
        rtol=1e-12,
    )
    assert fewer.subjects == 7 and fewer.pair_count.max() <= 7 and fewer.pair_count[seen].min() >= 1
    assert one.counting_as(PEOPLE) is one
    ConnectivitySum.from_arrays(fewer.to_arrays())  # as possible as any


def test_the_sites_of_abide_agree(tmp_path):
    sums = {
        path.name: connectivity_sum(Windows([ScanStore.open(path)]))
        for path in open_data(shared("data", "abide"), tmp_path)
    }
    assert len(sums) == 12 and odd_ones(sums) == {}
