"""Shares of a site's self seed and mask key, in sealed boxes, with a hash of each share beside it.

The hashes let the coordinator see which site told a wrong share, and the receiver whether it was
dealt one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

from brainjepa_core.secure_sums.agreement import TAG, OwnKeys, derive, pair_key, seal, unseal
from brainjepa_core.secure_sums.messages import Message, as_field, take
from brainjepa_core.secure_sums.shamir import SHARE, split
from brainjepa_core.secure_sums.signing import SiteKeys
from brainjepa_core.secure_sums.terms import SumTerms, statement

HASH = 32
BOX = 2 * SHARE + TAG
KINDS = ("self seed", "mask key")


@dataclass(frozen=True)
class Shares:
    """What one site holds of another's two secrets."""

    seed: bytes
    mask: bytes


def deal(
    name: str, secret: bytes, own: OwnKeys, keys: Mapping[str, SiteKeys], terms: SumTerms
) -> dict[str, Message]:
    """Boxes that a site seals, one for each that sent keys, itself among them.

    Parameters
    ----------
    name : str
        The dealer.
    secret : bytes
        Of the dealer, from which the shares are drawn.
    own : OwnKeys
    keys : mapping of str to SiteKeys
    terms : SumTerms

    Returns
    -------
    dict of str to Message
        By receiver: ``box``, and ``hashes`` [2 * 32] of the two shares in it.
    """
    places = terms.sites
    seeds, masks = (
        split(value, terms.threshold, len(places), derive(secret, f"shares of {kind}", terms.hash))
        for kind, value in zip(KINDS, (own.seed, own.mask), strict=True)
    )
    dealt = {}
    for receiver, told in keys.items():
        place = places.index(receiver)
        shares = Shares(seeds[place], masks[place])
        hashes = hashes_of(shares, name, receiver, terms)
        key = _box_key(own.box, told.box, name, receiver, terms)
        box = seal(key, shares.seed + shares.mask, hashes)
        dealt[receiver] = {"box": as_field(box), "hashes": as_field(hashes)}
    return dealt


def open_box(
    dealer: str, message: Message, receiver: str, own: OwnKeys, keys: SiteKeys, terms: SumTerms
) -> Shares:
    """What a dealer sealed for a receiver.

    Parameters
    ----------
    dealer : str
    message : Message
        ``box`` and ``hashes``.
    receiver : str
    own : OwnKeys
        Of the receiver.
    keys : SiteKeys
        Of the dealer.
    terms : SumTerms

    Raises
    ------
    ValueError
        If it was sealed for another site or sum, or was altered, or its shares are wrong.
    """
    hashes = take(message, "hashes", len(KINDS) * HASH)
    key = _box_key(own.box, keys.box, dealer, receiver, terms)
    content = unseal(key, take(message, "box", BOX), hashes)
    if content is None:
        raise ValueError(
            f"expected a box that '{dealer}' sealed for '{receiver}' in {terms}, found another or "
            "an altered one; begin another attempt, and ask the coordinator who changed it"
        )
    shares = Shares(content[:SHARE], content[SHARE:])
    if hashes_of(shares, dealer, receiver, terms) != hashes:
        raise ValueError(
            f"expected shares that '{dealer}' vouches for, found others in its box; begin another "
            "attempt without that site"
        )
    return shares


def hashes_of(shares: Shares, dealer: str, receiver: str, terms: SumTerms) -> bytes:
    """SHA-256 of both shares of a box, in the order of `KINDS`."""
    values = zip(KINDS, (shares.seed, shares.mask), strict=True)
    return b"".join(hash_of_share(kind, value, dealer, receiver, terms) for kind, value in values)


def hash_of_share(kind: str, share: bytes, dealer: str, receiver: str, terms: SumTerms) -> bytes:
    """SHA-256 (32 bytes) of one share; a share has too many values for it to be guessed."""
    parts = (terms.hash, dealer.encode(), receiver.encode(), share)
    return hashlib.sha256(statement(f"share of {kind}", *parts)).digest()


def _box_key(private: bytes, public: bytes, dealer: str, receiver: str, terms: SumTerms) -> bytes:
    return pair_key(private, public, "box", terms.hash, dealer.encode(), receiver.encode())
