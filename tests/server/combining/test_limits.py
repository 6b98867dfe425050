"""How far a reply may pull a round: nothing of honest ones is taken, and liars pull no further."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brainjepa_server.combining.limits import Pull, largest_share, limits_of
from brainjepa_server.combining.validation import Counts
from brainjepa_server.settings import AggregationSettings

MEAN = AggregationSettings()


def pulls(norms: list[float], shares: list[float] | None = None) -> dict[str, Pull]:
    shares = shares or [1.0] * len(norms)
    return {f"s{i}": Pull(*pull) for i, pull in enumerate(zip(norms, shares, strict=True))}


@pytest.mark.parametrize(
    "norms",
    [[0.1], [0.1, 9.0], [0.3] * 4, [0.97, 1.0, 1.02, 1.04, 0.98], [0.0, 0.0, 0.0], [0.0, 1.0, 1.1]],
)
def test_nothing_is_taken_from_few_or_like_replies(norms):
    found = limits_of(pulls(norms), MEAN)
    assert set(found.scales.values()) == {1.0} and set(found.shares.values()) == {1.0}
    assert found.rejected == found.clipped == found.capped == {}


def test_where_most_sites_send_no_difference_none_counts():
    found = limits_of(pulls([0.0, 0.0, 0.0, 1e-3]), MEAN)
    assert found.rejected == {
        "s3": "expected a difference of at most 3 times the round's median norm "
        "(aggregation.max_norm), found one where most sites sent none; look at the site's loss "
        "and learning rate"
    }


def test_what_is_left_out_does_not_judge_the_rest():
    """With the longest gone two are left, of which neither is the odd one out."""
    found = limits_of(pulls([1.0, 1.2, 50.0]), MEAN)
    assert list(found.rejected) == ["s2"] and found.scales == {"s0": 1.0, "s1": 1.0}


def test_a_site_that_told_of_fewer_people_counts_by_those():
    site = Pull(1.0, 500.0, Counts(20, 30))
    for shares, most in (("scans", 30.0), ("subjects", 20.0)):
        found = limits_of({"a": site}, AggregationSettings(shares=shares))
        assert (
            found.shares == {"a": most}
            and f"of at most {most:g}, the {shares} that" in (found.capped["a"])
        )
    robust = limits_of({"a": site}, AggregationSettings(combine="median"))
    assert robust.shares == {"a": 30.0}
    equal = Pull(1.0, 1.0, Counts(0, 0))
    assert limits_of({"a": equal}, AggregationSettings(shares="equal")).capped == {}


SHARES = st.lists(st.floats(1e-9, 1e9), min_size=3, max_size=40)


@given(SHARES)
def test_no_share_is_above_twice_an_even_part_and_no_more_are_lowered_than_must_be(shares):
    most = largest_share(shares)
    lowered = [min(share, most) for share in shares]
    even = math.fsum(lowered) / len(shares)
    assert max(lowered) <= 2 * even * (1 + 1e-9)
    if most < math.inf:
        assert max(lowered) == most == pytest.approx(2 * even, rel=1e-9)
        assert max(shares) > 2 * math.fsum(shares) / len(shares) * (1 - 1e-9)


@given(
    st.lists(st.floats(0, 1e6), min_size=2, max_size=30),
    st.floats(0, 1e30),
    st.floats(1e-9, 1e9),
)
def test_a_single_liar_pulls_no_further_than_an_honest_site_could(honest, lie, share):
    """No further than 1.1 times the longest honest difference, at twice an even part."""
    found = limits_of(pulls([*honest, lie], [1.0] * len(honest) + [share]), MEAN)
    liar = f"s{len(honest)}"
    if liar in found.rejected:
        return
    assert lie * found.scales[liar] <= 1.1 * max(honest) * (1 + 1e-9)
    whole = sum(found.shares.values())
    assert found.shares[liar] <= 2 * whole / len(found.shares) * (1 + 1e-9)
