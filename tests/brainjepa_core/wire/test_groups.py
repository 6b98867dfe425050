from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brainjepa_core.consortium.summing import threshold
from brainjepa_core.wire.groups import groups_in_words, groups_of

CONTRACT = "ab" * 32


@given(st.integers(12, 60), st.integers(0, 50), st.sampled_from([3, 5, 7]))
def test_groups_part_the_sites(sites, number, groups):
    names = [f"s{n}" for n in range(sites)]
    if sites < 4 * groups:
        with pytest.raises(ValueError, match=f"expected at least {4 * groups} sites for {groups}"):
            groups_of(names, CONTRACT, number, groups)
        return
    found = groups_of(names, CONTRACT, number, groups)
    assert sorted(name for group in found for name in group) == sorted(names)
    sizes = [len(group) for group in found]
    assert len(sizes) == groups and max(sizes) - min(sizes) <= 1
    assert all(threshold(size) < size for size in sizes)  # one may be gone
    assert groups_of(reversed(names), CONTRACT, number, groups) == found


def test_groups_change_from_round_to_round():
    names = [f"s{n:02d}" for n in range(12)]
    together = Counter(
        pair
        for number in range(600)
        for group in groups_of(names, CONTRACT, number, 3)
        for pair in [(a, b) for a in group for b in group if a < b]
    )
    # Two sites are together with probability 3 / 11; five standard errors of 600 draws.
    assert len(together) == 66
    assert all(abs(count / 600 - 3 / 11) < 5 * 0.0182 for count in together.values())
    assert groups_of(names, CONTRACT, 0, 3) != groups_of(names, "cd" * 32, 0, 3)


def test_groups_that_cannot_be():
    with pytest.raises(ValueError, match=r"expected at least 12 sites for 3 groups .*, found 11"):
        groups_of([f"s{n}" for n in range(11)], CONTRACT, 0, 3)
    for groups in (0, 1, 4):
        with pytest.raises(ValueError, match=f"expected an odd number of groups.*found {groups}"):
            groups_of([f"s{n}" for n in range(40)], CONTRACT, 0, groups)


def test_the_threshold_that_people_read_is_the_protocols():
    assert [threshold(sites) for sites in (4, 5)] == [3, 4]
    told = groups_in_words(13, 3)
    assert "3 sums (protect.groups), over groups of 4 or 5 sites" in told
    assert "over at least 3 sites" in told and "groups of 4 sites" in groups_in_words(12, 3)
