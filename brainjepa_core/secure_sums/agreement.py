"""Keys of one sum: a site's own, what two sites agree on (X25519, HKDF), and boxes between them."""

from __future__ import annotations

from dataclasses import dataclass

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from brainjepa_core.secure_sums.terms import statement

KEY = 32  # bytes of a key, private, public or of a cipher
TAG = 16  # bytes by which a box is longer than what is in it
# A key of a box seals one content only: shares are functions of the dealer's secret, the sum and
# the receiver alone, and the key is derived from the sum and the receiver too.
_NONCE = bytes(12)


@dataclass(frozen=True)
class OwnKeys:
    """What a site draws for one sum: the same again, whenever it is asked.

    Attributes
    ----------
    box : bytes
        Private X25519 key, for boxes of shares.
    mask : bytes
        Private X25519 key, for masks that cancel in pairs. Other sites hold its shares.
    seed : bytes
        Of the mask of its own. Other sites hold its shares.
    """

    box: bytes
    mask: bytes
    seed: bytes


def derive(secret: bytes, about: str, *parts: bytes) -> bytes:
    """32 bytes of a secret, for one purpose (HKDF-SHA256, RFC 5869)."""
    return HKDF(SHA256(), KEY, None, statement(about, *parts)).derive(secret)


def own_keys(secret: bytes, terms_hash: bytes) -> OwnKeys:
    """Keys of a site for one sum, by its secret."""
    box, mask, seed = (derive(secret, about, terms_hash) for about in ("box", "mask", "self seed"))
    return OwnKeys(box, mask, seed)


def public_of(private: bytes) -> bytes:
    """The public key (32 bytes) of a private one."""
    return X25519PrivateKey.from_private_bytes(private).public_key().public_bytes_raw()


def pair_key(private: bytes, public: bytes, about: str, *parts: bytes) -> bytes:
    """What two sites alone can compute, for one purpose.

    Parameters
    ----------
    private, public : bytes
        Of the one and of the other site.
    about : str
    *parts : bytes
        All that both have to agree on, in the same order.

    Raises
    ------
    ValueError
        If `sound` does not hold of the public key.
    """
    shared = X25519PrivateKey.from_private_bytes(private).exchange(
        X25519PublicKey.from_public_bytes(public)
    )
    return derive(shared, about, *parts)


def sound(public: bytes) -> bool:
    """Whether this is none of the few public keys with which everybody knows what is agreed on."""
    try:
        X25519PrivateKey.generate().exchange(X25519PublicKey.from_public_bytes(public))
    except ValueError:
        return False
    return True


def seal(key: bytes, content: bytes, about: bytes) -> bytes:
    """A box (AES-256-GCM) that vouches for its content and for what stands beside it."""
    return AESGCM(key).encrypt(_NONCE, content, about)


def unseal(key: bytes, box: bytes, about: bytes) -> bytes | None:
    """The content of a box; none where it was sealed for another receiver or sum, or altered."""
    try:
        return AESGCM(key).decrypt(_NONCE, box, about)
    except InvalidTag:
        return None
