"""What sites sign: the keys of a sum, and the story of who took part in it.

They sign with the key of the consortium that they joined with. Its fingerprint is in the roster of
the contract, which every site's manager has approved: so a coordinator that hands on a key of its
own as if it were a site's is found out, and no second key has to be exchanged. Every signature
begins with words that nothing else signed by that key begins with.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from numpy.typing import NDArray

from brainjepa_core.consortium import fingerprints
from brainjepa_core.consortium.keys import public_key, public_text
from brainjepa_core.secure_sums.agreement import KEY, OwnKeys, public_of, sound
from brainjepa_core.secure_sums.messages import Message, as_field, of_sum, take
from brainjepa_core.secure_sums.terms import SumTerms, names_text, statement

# By RFC 6979, so that a repeated answer has the same bytes.
_SIGNATURE = ec.ECDSA(hashes.SHA384(), deterministic_signing=True)
_MAN_IN_THE_MIDDLE = (
    "do not go on with this study: somebody between the sites changes what they send; ask the "
    "coordinator, and compare fingerprints on the telephone"
)


@dataclass(frozen=True)
class SiteKeys:
    """What a site tells of its keys for one sum.

    Attributes
    ----------
    identity : bytes
        Public key of the consortium, OpenSSH's line.
    box, mask : bytes
        Public X25519 keys.
    seed_hash : bytes
        SHA-256 of the seed of its own mask: shows whether shares gave that seed.
    """

    identity: bytes
    box: bytes
    mask: bytes
    seed_hash: bytes

    def parts(self, name: str) -> tuple[bytes, ...]:
        """For a statement."""
        return (name.encode(), self.identity, self.box, self.mask, self.seed_hash)


def hash_of_seed(seed: bytes) -> bytes:
    """SHA-256 (32 bytes) of the seed of a site's own mask."""
    return hashlib.sha256(statement("hash of self seed", seed)).digest()


def signed_keys(
    name: str, key: ec.EllipticCurvePrivateKey, terms: SumTerms, own: OwnKeys
) -> Message:
    """A site's public keys for one sum, signed."""
    identity = public_text(key.public_key()).encode()
    told = SiteKeys(identity, public_of(own.box), public_of(own.mask), hash_of_seed(own.seed))
    signature = key.sign(statement("keys", terms.hash, *told.parts(name)), _SIGNATURE)
    fields = {
        "identity": told.identity,
        "box_key": told.box,
        "mask_key": told.mask,
        "seed_hash": told.seed_hash,
        "signature": signature,
    }
    return of_sum(terms, {field: as_field(value) for field, value in fields.items()})


def read_keys(name: str, message: Mapping[str, NDArray[Any]], terms: SumTerms) -> SiteKeys:
    """What `signed_keys` gave at site `name`, verified.

    Raises
    ------
    ValueError
        If the site is not in the roster, has another key there, did not sign this, or made keys
        that keep no secret.
    """
    told = parsed_keys(message)
    about = statement("keys", terms.hash, *told.parts(name))
    _verify(name, told.identity, take(message, "signature"), about, terms, "keys")
    if not (sound(told.box) and sound(told.mask)):
        raise ValueError(
            f"expected keys of '{name}' that keep a secret, found one with which everybody knows "
            "it; leave it out, and ask its manager"
        )
    return told


def parsed_keys(message: Mapping[str, NDArray[Any]]) -> SiteKeys:
    """Fields of a message that `read_keys` verified before."""
    return SiteKeys(
        take(message, "identity"),
        take(message, "box_key", KEY),
        take(message, "mask_key", KEY),
        take(message, "seed_hash", KEY),
    )


def hash_of_keys(terms: SumTerms, keys: Mapping[str, SiteKeys]) -> bytes:
    """SHA-256 (32 bytes) of the whole set of keys of a sum."""
    parts = [part for name in sorted(keys) for part in keys[name].parts(name)]
    return hashlib.sha256(statement("all keys", terms.hash, *parts)).digest()


@dataclass(frozen=True)
class Story:
    """Who took part in a sum, as one site was told.

    Attributes
    ----------
    keys : bytes
        `hash_of_keys`.
    masked : tuple of str
        Sites whose boxes came: those that masks are between.
    alive : tuple of str
        Sites whose vectors came: those that the sum is of.
    """

    keys: bytes
    masked: tuple[str, ...]
    alive: tuple[str, ...]

    def statement(self, terms: SumTerms) -> bytes:
        """What sites sign before anything is unmasked."""
        told = (self.keys, names_text(self.masked), names_text(self.alive))
        return statement("story", terms.hash, *told)

    def sign(self, key: ec.EllipticCurvePrivateKey, terms: SumTerms) -> bytes:
        """A site's signature on the story."""
        return key.sign(self.statement(terms), _SIGNATURE)

    def verify(self, name: str, keys: SiteKeys, signature: bytes, terms: SumTerms) -> None:
        """Refuse another story, or another signature, than that of a site.

        Raises
        ------
        ValueError
        """
        _verify(
            name, keys.identity, signature, self.statement(terms), terms, "story of who took part"
        )


def _verify(
    name: str, identity: bytes, signature: bytes, about: bytes, terms: SumTerms, what: str
) -> None:
    if name not in terms.roster:
        raise ValueError(
            f"expected sites of the roster of {terms}, found '{name}'; propose the study again, "
            "with all of its sites"
        )
    try:
        key = public_key(identity.decode("ascii", "replace"))
    except ValueError as error:
        raise ValueError(
            f"expected the consortium key of '{name}', found {error}; {_MAN_IN_THE_MIDDLE}"
        ) from error
    if fingerprints.of_key(key) != terms.roster[name]:
        raise ValueError(
            f"expected the key of '{name}' that the contract's roster has, found another; "
            f"{_MAN_IN_THE_MIDDLE}"
        )
    try:
        key.verify(signature, about, _SIGNATURE)
    except InvalidSignature as error:
        raise ValueError(
            f"expected the {what} as '{name}' signed it for {terms}, found something else; "
            f"{_MAN_IN_THE_MIDDLE}"
        ) from error
