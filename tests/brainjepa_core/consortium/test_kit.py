"""A kit is read as it was made, after any mail; anything else is told in one line."""

from __future__ import annotations

import base64
import os
import re
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509 import load_pem_x509_certificate
from hypothesis import given
from hypothesis import strategies as st
from made_consortium import HOST, NOW, altered, consortium, request

from brainjepa_core.consortium.certificates import read_authority, require_in_force
from brainjepa_core.consortium.document import LARGEST
from brainjepa_core.consortium.keys import load_key
from brainjepa_core.consortium.kit import Kit, read_kit
from brainjepa_server.consortium.certificates import (
    AUTHORITY_DAYS,
    make_authority,
    make_server_certificate,
)

AGAIN = r"ask again for the file that the coordinator made \(brainjepa server init\)"
GIVE = r"give the file that the coordinator made \(brainjepa server init\)"


@pytest.fixture
def path(tmp_path) -> Path:
    consortium(tmp_path / "c")
    return tmp_path / "c" / "kit"


def test_what_was_written_is_read(path):
    kit = read_kit(path)
    assert (kit.consortium, kit.address) == ("Three hospitals", f"{HOST}:443")
    assert kit.text() == path.read_text()
    assert Kit("::1", 8443, kit.authority).address == "[::1]:8443"


def test_it_holds_no_secret_path_or_date(path, tmp_path):
    secrets = b"".join((tmp_path / "c" / "pki" / name).read_bytes() for name in
                       ("ca.key", "server.key"))  # fmt: skip
    text = path.read_text()
    lines = [line for line in secrets.decode().splitlines() if len(line) > 30]
    assert lines and not [line for line in lines if line in text]
    assert "PRIVATE" not in text and str(tmp_path) not in text and "/" not in text.split("-----")[0]
    # The certificate has to say how long it holds; nothing else is a date. Four digits of the
    # fingerprint, which is the certificate's, may look like a year.
    told = text.split("-----BEGIN")[0].replace(read_kit(path).fingerprint, "")
    assert not re.search(r"\b(19|20)\d\d\b", told)


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace("\n", "\r\n"),
        lambda text: "\ufeff" + text,
        lambda text: text.replace("\n", "  \n"),
        lambda text: "\n" + text.replace("\n", "\n\n"),
        lambda text: text.rstrip("\n"),
    ],
    ids=["Windows", "byte order mark", "blanks", "empty lines", "no last line end"],
)
def test_mail_and_editors_leave_it_readable(path, change):
    kit = read_kit(path)
    path.write_bytes(change(path.read_text()).encode())
    assert read_kit(path) == kit


@pytest.mark.parametrize(
    ("old", "new", "text"),
    [
        ("format: 1", "format: 2", "kit line 3: format: expected 1, found '2'; a newer version "
         "made it: update brainjepa-federated here"),
        ("format: 1", "format: one", f"line 3: format: expected 1, found 'one'; {AGAIN}"),
        ("format: 1\n", "", f"line 1: format: expected 1, found 'none'; {AGAIN}"),
        (f"host: {HOST}\n", "", f"kit: expected a whole kit, found it without 'host'; {AGAIN}"),
        (f"host: {HOST}", "host: a b", "line 5: host: expected a host name or an IP address, "
         "found 'a b'; ask again"),
        ("port: 443", "port: 0", f"line 6: port: expected a port from 1 to 65535, found "
         f"'0'; {AGAIN}"),
        ("port: 443", "port: 65536", "expected a port from 1 to 65535, found 65536"),
        ("port: 443", "port: 443\nport: 444", r"line 7: expected each field once, found 'port' a "
         r"second time \(first in line 6\)"),
        ("port: 443", "port: 443\nstate: x", "line 7: state: expected no such field in a kit of "
         f"format 1, found it; {AGAIN}"),
        ("port: 443", "port 443", "line 6: expected a kit's 'field: value', found another "
         f"text; {GIVE}"),
        ("consortium: Three", "consortium: Four", "line 4: consortium: expected that of the kit's "
         f"certificate, found another; {AGAIN}"),
        ("consortium: Three", "consortium: \x1b[2J", "line 4: consortium: expected a name of "
         "printable characters, found"),
        ("port: 443", "> port: 443", "line 6: expected a kit's 'field: value'"),
        ("fingerprint: ", "fingerprint: 00", "line 7: fingerprint: expected that of the kit's "
         f"certificate, found another; {AGAIN}"),
        ("-----END", "", "found it without one certificate from its first line to its last"),
        ("MII", "AAA", "expected the certificate of the consortium's authority, found a damaged "
         "certificate; ask the coordinator for the kit again"),
        ("brainjepa: kit", "brainjepa: study", f"kit: expected a kit, found another file; {GIVE}"),
    ],
)  # fmt: skip
def test_what_was_damaged_is_said(path, old, new, text):
    with pytest.raises(ValueError, match=text):
        read_kit(altered(path, old, new))


def test_a_format_of_later_says_so_whatever_it_holds(path):
    altered(path, "format: 1", "format: 12")
    altered(path, "port: 443", "addresses:\n  - one\nport: 443\nport: 444")
    with pytest.raises(
        ValueError, match=r"line 3: format: expected 1, found '12'; a newer version"
    ):
        read_kit(path)


def test_a_truncated_kit_is_no_kit(path):
    whole = path.read_bytes()
    for length in range(0, len(whole.rstrip()), 7):
        path.write_bytes(whole[:length])
        with pytest.raises(ValueError, match=r"^kit.*: expected .*, found .*; ") as error:
            read_kit(path)
        assert "\n" not in str(error.value)


def test_each_altered_letter_is_found(path):
    """Of the certificate and its fingerprint; who alters the address finds nobody there."""
    whole = path.read_text()
    begin = whole.index("fingerprint: ")
    for place in range(begin, len(whole.rstrip()), 11):
        new = "A" if whole[place] != "A" else "B"
        path.write_text(whole[:place] + new + whole[place + 1 :])
        with pytest.raises(ValueError, match=r"^kit"):
            read_kit(path)


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"", f"expected a kit, found an empty file; {AGAIN}"),
        (b"ssh-ed25519 AAAA x", f"found a public key alone; {GIVE}"),
        (b"PK\x03\x04rest", "found a zip archive"),
        (b"%PDF-1.7", "found a PDF"),
        (b"<!doctype html>", "found a web page"),
        ("brainjepa: kit\n".encode("utf-16"), "found bytes that are not text in UTF-8"),
        (b"name: Lyon\nstore: store\n", f"expected a kit, found another file; {GIVE}"),
        (b"a: b\n" * LARGEST, f"expected a kit of at most {LARGEST} bytes, found more"),
        (b"PuTTY-User-Key-File-3: ecdsa", "found a private key in it"),
        ("-----BEGIN EC PRIVATE KEY-----".encode("utf-16"), "found a private key in it"),
    ],
)
def test_other_files_are_told_what_they_are(tmp_path, content, text):
    path = tmp_path / "kit"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=text):
        read_kit(path)


def test_what_is_no_file_is_told_so(tmp_path, path):
    for given_path, found in (
        (tmp_path, f"expected a kit, found a folder; {GIVE}"),
        (tmp_path / "no", "no: expected a kit, found no such file; correct the path"),
        (tmp_path / ("x" * 300), "expected a kit, found that the disk does not give it"),
    ):
        with pytest.raises(ValueError, match=found):
            read_kit(given_path)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ValueError, match="expected a kit, found no ordinary file"):
        read_kit(tmp_path / "pipe")


def test_a_request_or_a_certificate_alone_is_no_kit(tmp_path):
    consortium(tmp_path / "c")
    with pytest.raises(ValueError, match=f"expected a kit, found a request; {GIVE}"):
        read_kit(request(tmp_path))
    with pytest.raises(ValueError, match=f"expected a kit, found a certificate alone; {GIVE}"):
        read_kit(tmp_path / "c" / "pki" / "ca.crt")
    with pytest.raises(ValueError, match="found a private key in it; delete the file wherever"):
        read_kit(tmp_path / "c" / "pki" / "ca.key")


def test_the_server_s_certificate_is_no_authority(path, tmp_path):
    """Whoever has a certificate of the consortium cannot make a kit of it."""
    kit = read_kit(path)
    server = load_pem_x509_certificate((tmp_path / "c" / "pki" / "server.crt").read_bytes())
    path.write_text(Kit(kit.host, kit.port, server).text())
    with pytest.raises(ValueError, match="found a certificate that no authority signed for itself"):
        read_kit(path)


def test_a_server_that_signs_for_itself_is_no_authority(path):
    """As most tutorials make it: what it signs, clients refuse."""
    key = ec.generate_private_key(ec.SECP384R1())
    authority = make_authority(key, "brainjepa server", NOW)
    server = make_server_certificate(authority, key, key.public_key(), [HOST], NOW)
    path.write_text(Kit(HOST, 443, server).text())
    with pytest.raises(ValueError, match="found a certificate that is no authority's; ask the"):
        read_kit(path)


def der(tag: int, content: bytes) -> bytes:
    length = len(content).to_bytes(2, "big").lstrip(b"\0")
    long_form = bytes([0x80 + len(length)]) if len(content) > 127 else b""
    return bytes([tag]) + long_form + length + content


def signed_anew(path: Path, old: bytes, new: bytes) -> bytes:
    """The authority's certificate with other bytes in it, and a signature that fits them."""
    key = load_key(path.parent / "pki" / "ca.key", "")
    inside = read_kit(path).authority.tbs_certificate_bytes
    assert old in inside
    content = inside.replace(old, new)
    ecdsa_with_sha384 = bytes.fromhex("300a06082a8648ce3d040303")
    signature = der(0x03, b"\0" + key.sign(content, ec.ECDSA(hashes.SHA384())))
    text = base64.encodebytes(der(0x30, content + ecdsa_with_sha384 + signature)).decode()
    return f"-----BEGIN CERTIFICATE-----\n{text}-----END CERTIFICATE-----\n".encode()


def test_an_authority_s_strange_certificate_is_refused_too(path):
    """A signature shows who made it, not that it can be read."""
    name = b"\x0fThree hospitals"
    assert read_authority(signed_anew(path, name, name))
    for old, new in (
        (b"\x0c" + name, b"\x03" + name),  # a name of bits
        (b"\x0c" + name, b"\x1e" + name),  # of two bytes a letter
        (b"\x17\x0d", b"\x18\x0d"),  # a year of four digits
    ):
        with pytest.raises(ValueError, match=r"^a damaged cert|^a certificate that no authority"):
            read_authority(signed_anew(path, old, new))


def test_a_certificate_holds_between_its_two_ends():
    key = ec.generate_private_key(ec.SECP384R1())
    authority = make_authority(key, "x", NOW)
    ends = NOW + timedelta(days=AUTHORITY_DAYS)
    for now in (NOW, NOW - timedelta(hours=23), ends - timedelta(hours=1)):
        require_in_force(authority, now, "it", "ask")
    for now, text in (
        (NOW - timedelta(days=4, hours=1), "expected it to be in force, found that by this "
         r"machine's clock it begins in 3 days; set the clock of this machine \(NTP\), and if"),
        (NOW - timedelta(hours=24, minutes=10), "begins in 1[01] minutes"),
        (ends + timedelta(days=9, hours=1), "found that by this machine's clock it ended 9 days "
         "ago; see whether the clock of this machine is right, and if it is, ask"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=text):
            require_in_force(authority, now, "it", "ask")


@given(st.binary(max_size=400), st.integers(0, 900))
def test_any_bytes_are_refused_in_one_line(tmp_path_factory, content, place):
    """Alone, and within a kit that was whole."""
    folder = tmp_path_factory.getbasetemp() / "any-kit"
    if not (folder / "kit").exists():
        consortium(folder)
    whole = (folder / "kit").read_bytes()
    for altered_kit in (content, whole[:place] + content + whole[place:]):
        path = folder / "altered"
        path.write_bytes(altered_kit)
        try:
            read_kit(path)
        except ValueError as error:
            assert str(error).startswith("altered") and "\n" not in str(error)
        else:
            assert read_kit(path).authority == read_kit(folder / "kit").authority
