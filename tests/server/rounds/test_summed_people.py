"""A site that lies about its people within a secure sum: where the sum shows it, and how far it
gets where it does not."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from group_sites import Consortium, study_of, trained
from hypothesis import given
from hypothesis import strategies as st
from made_sums import name

from brainjepa_core.secure_sums.encoding.fixed_point import OutOfRange
from brainjepa_core.secure_sums.messages import UNMASK
from brainjepa_core.sums.histogram import BINS
from brainjepa_core.wire.groups import groups_of
from brainjepa_core.wire.summed_people import (
    connectivity_layout,
    counts_layout,
    encode_people,
    task_layout,
)
from brainjepa_server.combining.summed_counts import counted_people
from brainjepa_server.combining.validation import Counts
from brainjepa_server.rounds.one_sum import Summed
from brainjepa_server.rounds.summed import summed_consensus
from brainjepa_server.rounds.summed_people import summed_people

ROIS, PAIRS, ROUNDED = 4, 6, 10
LAYOUTS = {
    "connectivity": connectivity_layout(ROIS),
    "mean": task_layout({"mean": 3}, 0, folds=2),
    "scores of mean": counts_layout(["mean"]),
}


def numbers(of: str, people: int) -> dict[str, np.ndarray]:
    """What a site of so many people adds to the sum."""
    if of == "connectivity":
        count = np.full(PAIRS, people, np.int64)
        return {"z_sum": 0.3 * count, "pair_count": count, "subjects": np.array(people)}
    if of == "scores of mean":
        counts = np.zeros((1, 2, BINS), np.int64)
        counts[0, :, 3] = people // 2, people - people // 2
        return {"probe.mean.histogram": counts}
    return {f"moments.mean.{fold}.n": np.array(n) for fold, n in enumerate((people // 2,) * 2)}


def summed(of: str, told: list[int], people: list[int]):
    """Sums of sites that told some numbers when they joined, and have others."""
    names = [f"site-{n}" for n in range(len(told))]
    counts = {site: Counts(n, n) for site, n in zip(names, told, strict=True)}
    contract = SimpleNamespace(roster=dict.fromkeys(names))
    layout, size = LAYOUTS[of], len(names)
    vectors = [encode_people(numbers(of, n), layout, size, bytes(32)) for n in people]
    total = {field: sum((v[field] for v in vectors[1:]), vectors[0][field]) for field in layout}
    found = Summed(0, tuple(names), total, tuple(names))
    return summed_people(SimpleNamespace(counts=counts, contract=contract), found, layout)


@given(st.lists(st.integers(ROUNDED, 5000), min_size=3, max_size=12), st.sampled_from([*LAYOUTS]))
def test_sites_that_tell_the_truth_rounded_down_are_summed(people, of):
    assert summed(of, [n // ROUNDED * ROUNDED for n in people], people)


@pytest.mark.parametrize("of", LAYOUTS)
def test_a_site_that_adds_more_people_than_it_told_of_is_refused(of):
    """The largest of twelve sites of 26 told of 20; the rounding of the others hides 11 of them."""
    most = 12 * 39
    honest = [26] * 11
    assert summed(of, [20] * 12, [*honest, most - 11 * 26])
    with pytest.raises(OutOfRange) as refused:
        summed(of, [20] * 12, [*honest, most - 11 * 26 + 2])
    assert str(refused.value) == (
        f"expected at most {most} subjects in a secure sum ({of}), by what its 12 sites told when "
        "they joined (rounded down: each has fewer than twice as many), found 470: a site sent "
        "what it must not; drop the round"
    )
    with pytest.raises(OutOfRange, match="a site sent what it must not"):
        summed(of, [20] * 12, [*honest, 10**6])


def test_a_site_that_told_of_nobody_adds_one_at_most():
    assert summed("connectivity", [20, 20, 0], [20, 20, 1])
    with pytest.raises(OutOfRange, match="expected at most 79 subjects"):
        summed("connectivity", [20, 20, 0], [39, 39, 2])


def test_a_share_that_a_site_does_not_have_drops_its_sum(tmp_path):
    """Of one group of three; the largest share of a contract is far above what sites told."""
    study = study_of(12)
    consortium = Consortium(tmp_path, study, 12)
    liar = groups_of(consortium.nodes, consortium.contract.hash, 0, 3)[0][0]
    honest = consortium.update

    def update(site):
        moved, _, loss = honest(site)
        return moved, 1000.0 if site == liar else 50.0, loss

    consortium.update = update
    _, record, _ = trained(consortium, study)
    assert record.rejected[liar] == (
        "the sum of its group was left out: expected at most 396 scans in a secure sum (shares), "
        "by what its 4 sites told when they joined (rounded down: each has fewer than twice as "
        "many), found 1150: a site sent what it must not; drop the round"
    )
    assert [bool(group.left_out) for group in record.summed.groups] == [True, False, False]


@given(st.lists(st.integers(1, 100), min_size=2, max_size=11), st.integers(0, 10**6))
def test_whatever_one_site_claims_most_of_a_floor_is_other_sites_people(others, claimed):
    told = [*others, claimed]
    floor = counted_people(sum(told), told)
    assert sum(others) >= (1 - 2 / len(told)) * floor - 1  # whole people
    assert floor <= sum(told)


def test_equal_sites_count_whole_and_a_sum_of_few_counts_nothing():
    assert counted_people(78, [20, 20, 20]) == 78
    assert counted_people(60 + 1000, [20, 20, 20, 1000]) == 120
    assert counted_people(0, []) == 0


def test_a_claim_of_one_site_does_not_meet_the_floor_of_a_group(tmp_path):
    study = study_of(12)
    consortium = Consortium(tmp_path, study, 12)
    group = groups_of(consortium.nodes, consortium.contract.hash, 0, 3)[0]
    for site in group:
        consortium.counts[site] = Counts(20, 20)
    consortium.counts[group[0]] = Counts(10_000, 10_000)
    _, record, _ = trained(consortium, study)
    assert record.summed.groups[0].left_out == (
        "expected at least 150 people in the secure sum of train (floors.subjects), found 120 by "
        "what its sites told, rounded down, when they joined (no site counts for more than twice "
        "an even part); take fewer groups, or agree on a lower floor"
    )
    assert not [s for s, step in consortium.asked if step == UNMASK and s in group]


@pytest.mark.parametrize(
    ("told", "people", "reason"),
    [
        ([20] * 3 + [1000], 1060, "found 120 of 1060 (no site counts for more than twice an even "
         "part) in all; wait"),
        ([20] * 6, 6 * 39, "found 120 in all, by what sites told when they joined, rounded down; "
         "wait"),
    ],
)  # fmt: skip
def test_a_claim_of_one_site_does_not_meet_the_floor_of_a_study(monkeypatch, told, people, reason):
    counts = {name(n): Counts(one, one) for n, one in enumerate(told)}
    study = study_of(12).model_copy(update={"protect": "secure_sum"})
    sites = SimpleNamespace(counts=counts)
    summed = numbers("connectivity", people)
    found = SimpleNamespace(total={}, alive=tuple(counts), gone={})
    monkeypatch.setattr("brainjepa_server.rounds.summed.secure_sums", lambda *_: [found])
    monkeypatch.setattr("brainjepa_server.rounds.summed.summed_people", lambda *_: summed)
    monkeypatch.setattr(type(study), "sums", None)
    with pytest.raises(ValueError) as refused:
        summed_consensus(sites, study, [f"roi {n}" for n in range(ROIS)])
    assert str(refused.value) == (
        f"expected at least 150 subjects over all sites (floors.subjects), {reason} for more sites"
    )
