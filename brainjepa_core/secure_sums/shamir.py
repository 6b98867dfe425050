"""Shamir's shares of 32 bytes (doi:10.1145/359168.359176): fewer than the threshold tell nothing.

Over the field of the prime 2^521 - 1. The share of place x (from 1) is the value there of a
polynomial of degree threshold - 1, whose value at 0 is the secret.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

PRIME = 2**521 - 1
SECRET, SHARE = 32, 66  # bytes
_DRAWN = 82  # bytes a coefficient: 128 bits more than the prime has, so that none is likelier


def split(secret: bytes, threshold: int, places: int, drawn_from: bytes) -> list[bytes]:
    """Shares of a secret.

    Parameters
    ----------
    secret : bytes
        32 of them.
    threshold : int
        How many shares give the secret back.
    places : int
        How many there are.
    drawn_from : bytes
        Secret, of 32 bytes and used for nothing else: the coefficients are drawn from it.

    Returns
    -------
    list of bytes
        66 of them for each place from 1.
    """
    drawn = hashlib.shake_256(drawn_from).digest(_DRAWN * (threshold - 1))
    coefficients = [
        int.from_bytes(drawn[at : at + _DRAWN], "big") % PRIME
        for at in range(0, len(drawn), _DRAWN)
    ]
    return [
        _value([int.from_bytes(secret, "big"), *coefficients], x).to_bytes(SHARE, "big")
        for x in range(1, places + 1)
    ]


def join(shares: Mapping[int, bytes], threshold: int) -> bytes:
    """The secret of which these are shares.

    Parameters
    ----------
    shares : mapping of int to bytes
        By place; of more than `threshold`, the first ones are taken.
    threshold : int

    Raises
    ------
    ValueError
        If there are too few, or they are no shares of 32 bytes. That they are shares of one
        secret is for the caller to see, by what was told of it.
    """
    if len(shares) < threshold:
        raise ValueError(
            f"expected {threshold} shares of a secret, found {len(shares)}; wait for more"
        )
    places = sorted(shares)[:threshold]
    total = 0
    for x in places:
        above = below = 1
        for other in places:
            if other != x:
                above = above * other % PRIME
                below = below * (other - x) % PRIME
        total += int.from_bytes(shares[x], "big") * above * pow(below, -1, PRIME)
    secret = total % PRIME
    if secret >> (8 * SECRET):
        raise ValueError("expected shares of one secret, found some of different ones; drop them")
    return secret.to_bytes(SECRET, "big")


def _value(coefficients: list[int], x: int) -> int:
    value = 0
    for coefficient in reversed(coefficients):
        value = (value * x + coefficient) % PRIME
    return value
