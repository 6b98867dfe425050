"""Private keys are for their owner alone, and of one kind."""

from __future__ import annotations

import os
import subprocess

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from made_consortium import NOBODY

from brainjepa_core.consortium import keys
from brainjepa_core.consortium.keys import load_key, make_key, public_key, public_text


@pytest.mark.parametrize("form", [PrivateFormat.OpenSSH, PrivateFormat.PKCS8])
def test_a_key_is_read_as_it_was_made(tmp_path, form):
    path = tmp_path / "key"
    former = os.umask(0)
    try:
        key = make_key(path, form)
    finally:
        os.umask(former)
    assert path.stat().st_mode & 0o777 == 0o600 and os.listdir(tmp_path) == ["key"]
    assert load_key(path, "").private_numbers() == key.private_numbers()
    assert public_key(public_text(key.public_key())) == key.public_key()


def test_flower_s_supernode_reads_a_site_s_key(tmp_path):
    from flwr.supernode.cli.flower_supernode import _try_setup_client_authentication as setup

    key = make_key(tmp_path / "key", PrivateFormat.OpenSSH)
    arguments = type("Arguments", (), {})()
    arguments.auth_supernode_private_key = str(tmp_path / "key")
    arguments.auth_supernode_public_key = None
    assert setup(arguments)[1] == key.public_key()


def test_openssh_and_openssl_read_them(tmp_path):
    make_key(tmp_path / "ssh", PrivateFormat.OpenSSH)
    key = make_key(tmp_path / "pem", PrivateFormat.PKCS8)
    call = ["openssl", "pkey", "-in", tmp_path / "pem", "-text_pub", "-noout"]
    assert "secp384r1" in subprocess.run(call, capture_output=True, text=True, check=True).stdout
    assert public_text(key.public_key()).startswith("ecdsa-sha2-nistp384 ")


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644, 0o610])
def test_a_key_that_others_can_read_is_refused(tmp_path, mode):
    path = tmp_path / "key"
    make_key(path, PrivateFormat.OpenSSH)
    path.chmod(mode)
    text = (
        rf"expected a key that its owner alone can read \(mode 600\), found mode {mode:o} of .*; "
        "'chmod 600 .*'; if others may have read it: make another$"
    )
    with pytest.raises(ValueError, match=text):
        load_key(path, "make another")


def test_a_disk_without_modes_is_no_place_for_a_key(tmp_path, monkeypatch):
    """Shares of Windows and sticks show each file to everybody, whatever it was made with."""
    opened = os.open
    monkeypatch.setattr(keys.os, "open", lambda path, flags, _: opened(path, flags, 0o755))
    with pytest.raises(ValueError, match=r"found mode 755 of .*; choose a folder on"):
        make_key(tmp_path / "key", PrivateFormat.OpenSSH)
    assert os.listdir(tmp_path) == []


def other_keys() -> dict[str, bytes]:
    p384, p256 = (ec.generate_private_key(curve()) for curve in (ec.SECP384R1, ec.SECP256R1))
    large = rsa.generate_private_key(65537, 2048)
    pem, form, plain = Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()
    whole = p384.private_bytes(pem, form, plain)
    return {
        "a key of another kind": p256.private_bytes(pem, form, plain),
        "a key of another kin": large.private_bytes(pem, PrivateFormat.TraditionalOpenSSL, plain),
        "one with a password": p384.private_bytes(
            pem, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret")
        ),
        "a public key": public_text(p384.public_key()).encode(),
        "damage, or another format": whole[: len(whole) // 2],
        "damage": b"",
    }


@pytest.mark.parametrize(("found", "content"), other_keys().items())
def test_another_file_is_told_what_it_is(tmp_path, found, content):
    path = tmp_path / "key"
    path.write_bytes(content)
    path.chmod(0o600)
    text = (
        rf"expected a private key \(ECDSA, P-384, no password\) in '.*key', found {found}.*; mend"
    )
    with pytest.raises(ValueError, match=text):
        load_key(path, "mend")


def test_a_key_that_is_not_there_or_not_ours(tmp_path):
    with pytest.raises(ValueError, match="found no such file; mend"):
        load_key(tmp_path / "key", "mend")
    with pytest.raises(ValueError, match="found a folder; mend"):
        load_key(tmp_path, "mend")
    make_key(tmp_path / "key", PrivateFormat.OpenSSH)
    (tmp_path / "key").chmod(0)
    if os.geteuid() == 0:
        os.seteuid(NOBODY)
    try:
        with pytest.raises(ValueError, match="found no permission to open it; mend"):
            load_key(tmp_path / "key", "mend")
    finally:
        os.seteuid(os.getuid())
