"""Fingerprints that people read out on the telephone: SHA-256 in sixteen groups of four."""

from __future__ import annotations

import hashlib
import re

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from brainjepa_core.consortium.names import shown

GROUPS, DIGITS = 16, 4
# What `openssl x509 -fingerprint -sha256` puts before its digits.
_BEFORE = re.compile(r"\s*sha-?256\W*(fingerprint\W*)?", re.IGNORECASE)


def of_certificate(certificate: x509.Certificate) -> str:
    """Groups of a certificate, the digits that ``openssl x509 -fingerprint -sha256`` prints."""
    return _groups(certificate.public_bytes(Encoding.DER))


def of_key(key: ec.EllipticCurvePublicKey) -> str:
    """Groups of a public key, as of `openssl pkey -pubin -outform DER | sha256sum`."""
    return _groups(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))


def _groups(content: bytes) -> str:
    digits = hashlib.sha256(content).hexdigest()
    return " ".join(digits[at : at + DIGITS] for at in range(0, GROUPS * DIGITS, DIGITS))


def compare(told: str, found: str) -> None:
    """Compare what was told on the telephone with what a file has.

    Parameters
    ----------
    told : str
        Sixteen groups, in upper or lower case, with any blanks, colons or dashes between them.
    found : str
        As `of_certificate` and `of_key` give it.

    Raises
    ------
    ValueError
        Naming the groups that are no digits, are missing or differ.
    """
    digits = re.sub(r"[\s:.,-]", "", _BEFORE.sub("", told, count=1)).lower()
    strange = re.search(r"[^0-9a-f]", digits)
    if strange:
        raise ValueError(
            f"expected a fingerprint of digits 0-9 and letters a-f, found {shown(strange[0])} in "
            f"group {strange.start() // DIGITS + 1}; have that group read out again"
        )
    if len(digits) != GROUPS * DIGITS:
        raise ValueError(
            f"expected a fingerprint of {GROUPS} groups of {DIGITS}, found {len(digits)} digits "
            f"rather than {GROUPS * DIGITS}; have all groups read out again"
        )
    own = found.split()
    groups = [digits[at : at + DIGITS] for at in range(0, len(digits), DIGITS)]
    differing = [number for number in range(GROUPS) if groups[number] != own[number]]
    if differing:
        first, others = differing[0], len(differing) - 1
        more = f", and {others} more of {GROUPS}" if others else ""
        raise ValueError(
            f"expected the fingerprint that was told, found another in group {first + 1} (told "
            f"'{groups[first]}', here '{own[first]}'){more}; have it read out again, and if it "
            "still differs do not go on: the file is not from whom you talked to"
        )
