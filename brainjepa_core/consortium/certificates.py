"""Certificates as both rooms judge them: whole, an authority's, in force by this clock."""

from __future__ import annotations

from datetime import datetime, timedelta

from cryptography import x509
from cryptography.x509.oid import NameOID

from brainjepa_core.problems import counted


def read_certificate(content: bytes) -> x509.Certificate:
    """A certificate of anybody, in PEM; text before it is passed over.

    Raises
    ------
    ValueError
        Saying what was found, as the middle of ``"expected …, found …; …"``.
    """
    try:
        return x509.load_pem_x509_certificate(content)
    except Exception as error:  # cryptography has a class of its own for each kind of damage
        raise ValueError("a damaged certificate") from error


def read_authority(content: bytes) -> x509.Certificate:
    """A certification authority's own certificate; as `read_certificate`."""
    certificate = read_certificate(content)
    try:
        constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints)
        is_authority = constraints.value.ca
        certificate.verify_directly_issued_by(certificate)
        # Read here for the first time, so that a strange one is refused here too.
        common_name(certificate), certificate.not_valid_before_utc, certificate.not_valid_after_utc
    except Exception as error:  # as above
        raise ValueError("a certificate that no authority signed for itself") from error
    if not is_authority:
        raise ValueError("a certificate that is no authority's")
    return certificate


def common_name(certificate: x509.Certificate) -> str:
    """Name of whom a certificate is for: an authority's is its consortium's; or empty."""
    found = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(found[0].value) if found else ""


def require_in_force(certificate: x509.Certificate, now: datetime, what: str, mend: str) -> None:
    """Refuse a certificate that has ended, or has not begun where a clock is wrong.

    Parameters
    ----------
    certificate : Certificate
    now : datetime
        With its time zone.
    what : str
        Whose certificate it is.
    mend : str
        What to do where it has ended.

    Raises
    ------
    ValueError
    """
    begins, ends = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    if now < begins:
        raise ValueError(
            f"expected {what} to be in force, found that by this machine's clock it begins in "
            f"{_span(begins - now)}; set the clock of this machine (NTP), and if it is right, "
            "ask after the clock of the machine that made the certificate"
        )
    if now > ends:
        raise ValueError(
            f"expected {what} to be in force, found that by this machine's clock it ended "
            f"{_span(now - ends)} ago; see whether the clock of this machine is right, and if it "
            f"is, {mend}"
        )


def _span(time: timedelta) -> str:
    if time.days:
        return counted(time.days, "day")
    return counted(time.seconds // 60 + 1, "minute")
