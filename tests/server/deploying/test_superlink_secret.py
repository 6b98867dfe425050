"""Who may tell the SuperLink what to do, and by what it knows the sites."""

from __future__ import annotations

import subprocess
import sys

import pytest
from child_process import environment
from cryptography.hazmat.primitives.asymmetric import ec
from flwr.common.constant import ACCESS_TOKEN_KEY
from flwr.proto.node_pb2 import NodeInfo
from flwr.supercore.constant import NodeStatus
from flwr.supercore.error import FlowerError
from flwr.supercore.primitives.asymmetric import public_key_to_bytes
from made_consortium import consortium

from brainjepa_core.consortium.fingerprints import of_key
from brainjepa_server.deploying.superlink import PROGRAM, SuperLink
from brainjepa_server.deploying.superlink_program import SecretAccount

SECRET = b"5f" * 32


@pytest.mark.parametrize(
    ("shown", "let_in"),
    [
        ([(ACCESS_TOKEN_KEY, SECRET.decode())], True),
        ([(ACCESS_TOKEN_KEY, SECRET)], True),
        ([], False),
        ([(ACCESS_TOKEN_KEY, "")], False),
        ([(ACCESS_TOKEN_KEY, SECRET[:-1])], False),
        ([(ACCESS_TOKEN_KEY, "é" * 32)], False),
        ([("another", SECRET.decode())], False),
    ],
)
def test_who_shows_the_secret_is_let_in_and_nobody_else(shown, let_in):
    found, account = SecretAccount(SECRET).validate_tokens_in_metadata(shown)
    assert (found, account is not None) == (let_in, let_in)


def test_nobody_can_log_in():
    account = SecretAccount(SECRET)
    assert account.get_login_details() is None
    for ask in (account.get_auth_tokens, account.refresh_tokens):
        with pytest.raises(FlowerError, match="nobody can log in here"):
            ask("")


def test_a_superlink_without_a_secret_does_not_start():
    done = subprocess.run(
        [sys.executable, "-m", PROGRAM, "--insecure", "--isolation", "process"],
        env=environment(FLWR_TELEMETRY_ENABLED="0", FLWR_DISABLE_UPDATE_CHECK="1"),
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 1
    assert "expected --superexec-auth-secret-file, found none; start by 'brainjepa" in done.stderr


def test_a_node_is_who_its_key_says_whatever_the_superlink_calls_it(tmp_path, monkeypatch):
    consortium(tmp_path / "c", "127.0.0.1")
    keys = {name: ec.generate_private_key(ec.SECP384R1()).public_key() for name in ("a", "b", "x")}
    told = [
        NodeInfo(node_id=number, name=name, public_key=public_key_to_bytes(key), status=status)
        for number, name, key, status in (
            (1, "b", keys["a"], NodeStatus.ONLINE),
            (2, "a", keys["x"], NodeStatus.ONLINE),  # under a's name, with a key of its own
            (3, "b", keys["b"], NodeStatus.OFFLINE),
        )
    ]
    link = SuperLink(1, tmp_path / "c" / "pki" / "ca.crt", SECRET)
    monkeypatch.setattr(link, "_known", lambda: told)
    roster = {name: of_key(keys[name]) for name in ("a", "b")}
    assert link.names(roster) == {1: "a", 3: "b"}
    assert [(node.number, node.connected) for node in link.nodes()] == [
        (1, True), (2, True), (3, False),
    ]  # fmt: skip
    link.close()
