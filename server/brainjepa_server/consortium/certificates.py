"""The certificates that a coordinator makes: an authority's, and the server's that it signs."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

AUTHORITY_DAYS = 20 * 365  # kits hold it: it outlives the consortium
SERVER_DAYS = 2 * 365
RENEWED_BEFORE = timedelta(days=60)
# Sites whose clocks are a little behind take a new certificate at once.
_BACKDATED = timedelta(days=1)


def make_authority(
    key: ec.EllipticCurvePrivateKey, consortium: str, now: datetime
) -> x509.Certificate:
    """A certification authority's certificate, signed by itself.

    Parameters
    ----------
    key : ec.EllipticCurvePrivateKey
    consortium : str
        Becomes its common name.
    now : datetime
        With its time zone.
    """
    own = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    name = _name(consortium)
    return (
        _builder(name, name, key.public_key(), now, now + timedelta(days=AUTHORITY_DAYS))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .add_extension(own, critical=False)
        .sign(key, hashes.SHA384())
    )


def make_server_certificate(
    authority: x509.Certificate,
    authority_key: ec.EllipticCurvePrivateKey,
    server_key: ec.EllipticCurvePublicKey,
    hosts: Sequence[str],
    now: datetime,
) -> x509.Certificate:
    """A server's certificate for DNS names and IP addresses, which never outlives its authority."""
    names = [_general_name(host) for host in hosts]
    ends = min(now + timedelta(days=SERVER_DAYS), authority.not_valid_after_utc)
    signer = x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key())
    own = x509.SubjectKeyIdentifier.from_public_key(server_key)
    return (
        # Clients look at the names below; a common name has no room for long ones.
        _builder(_name("brainjepa server"), authority.subject, server_key, now, ends)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(own, critical=False)
        .add_extension(signer, critical=False)
        .sign(authority_key, hashes.SHA384())
    )


def make_loopback_certificate(key: ec.EllipticCurvePrivateKey, now: datetime) -> x509.Certificate:
    """What a program on 127.0.0.1 shows to others on this machine, signed by itself."""
    name = _name("brainjepa loopback")
    return (
        _builder(name, name, key.public_key(), now, now + timedelta(days=AUTHORITY_DAYS))
        .add_extension(x509.SubjectAlternativeName([_general_name("127.0.0.1")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(key, hashes.SHA384())
    )


def hosts_of(certificate: x509.Certificate) -> tuple[str, ...]:
    """The hosts that `make_server_certificate` made a certificate for, in their order."""
    found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    return tuple(str(name.value) for name in found.value)


def why_renewed(
    certificate: x509.Certificate,
    authority: x509.Certificate,
    server_key: ec.EllipticCurvePublicKey,
    hosts: Sequence[str],
    now: datetime,
) -> str | None:
    """Why a server needs another certificate than it has, or None."""
    try:
        certificate.verify_directly_issued_by(authority)
    except Exception:  # whatever else signed it, sites do not trust it
        return "the former one was signed by another authority"
    if certificate.public_key() != server_key:
        return "the former one was for another key"
    if hosts_of(certificate) != tuple(hosts):
        return f"the former one was for {', '.join(hosts_of(certificate))}"
    if now > certificate.not_valid_after_utc:
        return "the former one has ended"
    if now > certificate.not_valid_after_utc - RENEWED_BEFORE:
        return "the former one was about to end"
    return None


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePublicKey,
    now: datetime,
    ends: datetime,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _BACKDATED)
        .not_valid_after(ends)
    )


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)
