from __future__ import annotations

from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brainjepa_core.secure_sums.shamir import PRIME, SHARE, join, split

SECRETS = st.binary(min_size=32, max_size=32)


@given(SECRETS, SECRETS, st.integers(2, 9), st.data())
def test_any_shares_of_the_threshold_give_the_secret(secret, drawn_from, threshold, data):
    places = data.draw(st.integers(threshold, 12))
    shares = dict(enumerate(split(secret, threshold, places, drawn_from), start=1))
    assert {len(share) for share in shares.values()} == {SHARE}
    chosen = data.draw(st.permutations(sorted(shares)))[:threshold]
    assert join({place: shares[place] for place in chosen}, threshold) == secret


def test_two_shares_lie_on_a_line_through_the_secret():
    """The oracle: with a threshold of two the polynomial is a line."""
    secret = bytes(range(32))
    first, second, third = (
        int.from_bytes(share, "big") for share in split(secret, 2, 3, b"drawn" * 8)
    )
    assert (second - first) % PRIME == (third - second) % PRIME
    assert (2 * first - second) % PRIME == int.from_bytes(secret, "big")


def test_fewer_than_the_threshold_fit_every_secret():
    """For each secret there is one polynomial through two shares of three: they tell nothing."""
    shares = [int.from_bytes(share, "big") for share in split(bytes(32), 3, 5, b"x" * 32)]
    for one, two in combinations(range(5), 2):
        for other_secret in (1, 2**255 + 17):
            third = (3, other_secret)
            points = [(one + 1, shares[one]), (two + 1, shares[two]), (0, third[1])]
            value = {x: y for x, y in points}
            # Lagrange at a place that nobody has: some value, so no contradiction.
            at, total = 99, 0
            for x in value:
                above = below = 1
                for other in value:
                    if other != x:
                        above, below = above * (at - other) % PRIME, below * (x - other) % PRIME
                total += value[x] * above * pow(below, -1, PRIME)
            made = {99: (total % PRIME).to_bytes(SHARE, "big")}
            made |= {x: y.to_bytes(SHARE, "big") for x, y in points[:2]}
            assert int.from_bytes(join(made, 3), "big") == other_secret


def test_a_wrong_share_gives_another_secret_or_none():
    shares = dict(enumerate(split(bytes(32), 3, 4, b"x" * 32), start=1))
    second = int.from_bytes(shares[2], "big")
    assert join({**shares, 2: ((second - 1) % PRIME).to_bytes(SHARE, "big")}, 3) != bytes(32)
    shares[2] = ((second + 2**400) % PRIME).to_bytes(SHARE, "big")
    with pytest.raises(ValueError, match="expected shares of one secret, found some of different"):
        join(shares, 3)


def test_too_few_shares():
    shares = dict(enumerate(split(bytes(32), 3, 4, b"x" * 32)[:2], start=1))
    with pytest.raises(ValueError, match="expected 3 shares of a secret, found 2; wait for more"):
        join(shares, 3)
