"""A request holds a name and a public key, and shows that who wrote it has the private one."""

from __future__ import annotations

import re

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st
from made_consortium import altered, consortium, request

from brainjepa_core.consortium.keys import load_key, public_text
from brainjepa_core.consortium.request import read_request, request_text

AGAIN = r"ask again for the file that the site made \(brainjepa site join\)"


def openssh(key) -> str:
    return key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()


def test_what_was_written_is_read(tmp_path):
    path = request(tmp_path, "Lyon_2")
    found = read_request(path)
    key = load_key(tmp_path / "Lyon_2.key", "")
    assert (found.site, found.version, found.key) == ("Lyon_2", "0.1.0", key.public_key())
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n"))
    assert read_request(path) == found


def test_it_holds_no_secret_path_or_date(tmp_path):
    text = request(tmp_path).read_text()
    secret = (tmp_path / "Lyon.key").read_text().splitlines()[1:-1]
    assert len(secret) > 3 and not [line for line in secret if line in text]
    number = load_key(tmp_path / "Lyon.key", "").private_numbers().private_value
    assert f"{number:x}" not in text and "PRIVATE" not in text and str(tmp_path) not in text
    fields = dict(line.split(": ") for line in text.splitlines()[1:])
    assert set(fields) == {"brainjepa", "format", "site", "version", "key", "signature"}
    told = {name: fields[name] for name in fields if name not in ("key", "signature")}
    assert told == {"brainjepa": "request", "format": "1", "site": "Lyon", "version": "0.1.0"}
    named = text.replace(fields["key"], "").replace(fields["signature"], "")  # any letters, digits
    assert not re.search(r"\b(19|20)\d\d\b", named)


@pytest.mark.parametrize(
    ("old", "new"), [("site: Lyon", "site: Metz"), ("version: 0.1.0", "version: 0.1.1")]
)
def test_what_was_altered_has_another_signature(tmp_path, old, new):
    text = "Lyon.request line 7: signature: expected that of the request's own key, found another"
    with pytest.raises(ValueError, match=text):
        read_request(altered(request(tmp_path), old, new))


def test_another_s_key_cannot_be_asked_for(tmp_path):
    """Who sees a request cannot put its key under a name of their own."""
    theirs, own = request(tmp_path, "Lyon"), request(tmp_path, "Metz")
    key = read_request(theirs).key
    altered(own, public_text(read_request(own).key), public_text(key))
    with pytest.raises(ValueError, match=f"the request was altered; {AGAIN}"):
        read_request(own)


@pytest.mark.parametrize(
    ("key", "found"),
    [
        (openssh(ed25519.Ed25519PrivateKey.generate()), "a key of another kind"),
        (openssh(ec.generate_private_key(ec.SECP256R1())), "a key of another kind"),
        (openssh(ec.generate_private_key(ec.SECP384R1())) + " me@laptop", "more than itself"),
        ("ecdsa-sha2-nistp384 AAAA", "no public key, or a damaged one"),
    ],
    ids=["ed25519", "P-256", "with a comment", "damaged"],
)
def test_other_keys_are_refused(tmp_path, key, found):
    path = request(tmp_path)
    altered(path, public_text(read_request(path).key), key)
    text = rf"line 6: key: expected a public key \(ECDSA, P-384\), found .*{found}"
    with pytest.raises(ValueError, match=text):
        read_request(path)


@pytest.mark.parametrize(
    ("old", "new", "text"),
    [
        (
            "site: Lyon",
            "site: ../Lyon",
            "line 4: site: expected 1 to 40 letters, digits, '-' or '_'",
        ),
        ("site: Lyon", f"site: {'x' * 41}", "found 'x{40}…'"),
        ("version: 0.1.0", "version: [red]", "expected a version of brainjepa-federated, found"),
        ("signature: ", "signature: *", "expected that of the request's own key"),
        ("signature: ", "s: ", "expected a whole request, found it without 'signature'"),
        ("format: 1", "format: 7", "a newer version made it: update brainjepa-federated here"),
        ("format: 1", "format: 1\nstore: 40 people", "line 4: store: expected no such field"),
    ],
)
def test_what_was_damaged_is_said(tmp_path, old, new, text):
    with pytest.raises(ValueError, match=text):
        read_request(altered(request(tmp_path), old, new))


def test_a_private_key_is_found_wherever_it_is(tmp_path):
    path = request(tmp_path)
    secret = (tmp_path / "Lyon.key").read_text()
    bare = "x: " + "".join(secret.splitlines()[1:-1])
    for content in (secret, path.read_text() + secret, path.read_text() + bare):
        path.write_text(content)
        with pytest.raises(ValueError, match="found a private key in it; delete the file wherever"):
            read_request(path)


def test_a_kit_or_a_public_key_is_no_request(tmp_path):
    consortium(tmp_path / "c")
    give = r"give the file that the site made \(brainjepa site join\)"
    with pytest.raises(ValueError, match=f"kit: expected a request, found a kit; {give}"):
        read_request(tmp_path / "c" / "kit")
    path = request(tmp_path)
    path.write_text(public_text(read_request(path).key) + "\n")
    with pytest.raises(ValueError, match=f"expected a request, found a public key alone; {give}"):
        read_request(path)
    path.write_text(request_text("Lyon", "1", load_key(tmp_path / "Lyon.key", "")))
    path.write_text(path.read_text() + (tmp_path / "c" / "pki" / "ca.crt").read_text())
    with pytest.raises(ValueError, match="expected nothing but fields in a request, found a cert"):
        read_request(path)


@given(st.binary(max_size=400), st.integers(0, 600))
def test_any_bytes_are_refused_in_one_line(tmp_path_factory, content, place):
    folder = tmp_path_factory.getbasetemp() / "any-request"
    folder.mkdir(exist_ok=True)
    whole = request(folder).read_bytes()
    for altered_request in (content, whole[:place] + content + whole[place:]):
        path = folder / "altered"
        path.write_bytes(altered_request)
        try:
            found = read_request(path)
        except ValueError as error:
            assert str(error).startswith("altered") and "\n" not in str(error)
        else:
            assert found == read_request(folder / "Lyon.request")
