"""A kit: what a site needs to know of a consortium before it joins. Nothing in it is secret."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from brainjepa_core.consortium import fingerprints
from brainjepa_core.consortium.certificates import common_name, read_authority
from brainjepa_core.consortium.document import document_text, read_document
from brainjepa_core.consortium.names import require_consortium_name, require_host, shown

_ABOUT = "Nothing here is secret. Compare the fingerprint on the telephone before you join."
_FIELDS = ("consortium", "host", "port", "fingerprint")


@dataclass(frozen=True)
class Kit:
    """A consortium as its sites see it.

    Attributes
    ----------
    host : str
        Where sites reach the coordinator: a DNS name or an IP address.
    port : int
    authority : x509.Certificate
        Of the consortium's certification authority, which signs the coordinator's certificates.
    """

    host: str
    port: int
    authority: x509.Certificate

    @property
    def consortium(self) -> str:
        """Its name, which the fingerprint covers."""
        return common_name(self.authority)

    @property
    def address(self) -> str:
        """Host and port, as programs take them."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    @property
    def fingerprint(self) -> str:
        """Of the authority, in groups to read out."""
        return fingerprints.of_certificate(self.authority)

    def text(self) -> str:
        """What the kit's file holds; OpenSSL reads its certificate as it is."""
        fields: dict[str, str | int] = {
            "consortium": self.consortium,
            "host": self.host,
            "port": self.port,
            "fingerprint": self.fingerprint,
        }
        certificate = self.authority.public_bytes(Encoding.PEM).decode()
        return document_text("kit", _ABOUT, fields, certificate)


def read_kit(path: Path) -> Kit:
    """Read a kit; whether its certificate is in force is another question.

    Raises
    ------
    ValueError
        In one line: the file, what was expected and found, and whom to ask for what.
    """
    document = read_document(path, "kit", _FIELDS, certified=True)
    for field, require, expected in (
        ("consortium", require_consortium_name, "a name of printable characters"),
        ("host", require_host, "a host name or an IP address"),
    ):
        try:
            require(document[field])
        except ValueError as error:
            raise document.wrong(field, expected, shown(document[field])) from error
    port = int(document.matching("port", "[1-9][0-9]{0,4}", "a port from 1 to 65535"))
    if port > 65535:
        raise document.wrong("port", "a port from 1 to 65535", str(port))
    try:
        kit = Kit(require_host(document["host"]), port, read_authority(document.certificate))
    except ValueError as error:
        found = f"expected the certificate of the consortium's authority, found {error}"
        raise ValueError(f"{path.name}: {found}; ask the coordinator for the kit again") from error
    for field, own in (("consortium", kit.consortium), ("fingerprint", kit.fingerprint)):
        if document[field] != own:
            raise document.wrong(field, "that of the kit's certificate", "another")
    return kit
