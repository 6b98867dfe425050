"""A site's request to be admitted: its name and its public key, signed by the private one."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from brainjepa_core.consortium import fingerprints
from brainjepa_core.consortium.document import FORMAT, document_text, read_document
from brainjepa_core.consortium.keys import public_key, public_text
from brainjepa_core.consortium.names import SITE_NAME

_ABOUT = "Nothing here is secret. Compare the key's fingerprint on the telephone."
_FIELDS = ("site", "version", "key", "signature")
_VERSION = r"[0-9A-Za-z.+!_-]{1,64}"
_SIGNATURE = ec.ECDSA(hashes.SHA384())


@dataclass(frozen=True)
class JoinRequest:
    """What a site tells of itself.

    Attributes
    ----------
    site : str
    version : str
        Of brainjepa-federated at the site.
    key : ec.EllipticCurvePublicKey
        With whose private half the site will sign what it sends.
    """

    site: str
    version: str
    key: ec.EllipticCurvePublicKey

    @property
    def fingerprint(self) -> str:
        """Of the key, in groups to read out."""
        return fingerprints.of_key(self.key)


def request_text(site: str, version: str, key: ec.EllipticCurvePrivateKey) -> str:
    """What a request's file holds."""
    fields = {"site": site, "version": version, "key": public_text(key.public_key())}
    signature = base64.b64encode(key.sign(_signed(fields), _SIGNATURE)).decode()
    return document_text("request", _ABOUT, {**fields, "signature": signature})


def read_request(path: Path) -> JoinRequest:
    """Read a request and verify that who wrote it has the private key.

    Raises
    ------
    ValueError
        In one line: the file, what was expected and found, and whom to ask for what.
    """
    document = read_document(path, "request", _FIELDS, certified=False)
    fields = {
        "site": document.matching("site", SITE_NAME.pattern, "1 to 40 letters, digits, '-' or '_'"),
        "version": document.matching("version", _VERSION, "a version of brainjepa-federated"),
        "key": document["key"],
    }
    try:
        key = public_key(document["key"])
    except ValueError as error:
        raise document.wrong("key", "a public key (ECDSA, P-384)", str(error)) from error
    try:
        signature = base64.b64decode(document["signature"], validate=True)
        key.verify(signature, _signed(fields), _SIGNATURE)
    except (InvalidSignature, binascii.Error, ValueError) as error:
        raise document.wrong(
            "signature", "that of the request's own key", "another: the request was altered"
        ) from error
    return JoinRequest(fields["site"], fields["version"], key)


def _signed(fields: dict[str, str]) -> bytes:
    return "\n".join(["brainjepa request", str(FORMAT), *fields.values()]).encode()
