"""A consortium in a folder, its kit, and a site's key and request."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from cryptography.hazmat.primitives.serialization import PrivateFormat

from brainjepa_core.consortium.keys import load_key, make_key
from brainjepa_core.consortium.kit import Kit
from brainjepa_core.consortium.request import request_text
from brainjepa_server.consortium.consortium_folder import set_up

NOW = datetime.now(UTC)
HOST = "brain.example.org"
NOBODY = 65534


def consortium(folder: Path, *hosts: str, name: str | None = "Three hospitals") -> Kit:
    """Set one up and return its kit, which is in ``folder/kit``."""
    return set_up(folder, hosts or (HOST,), name=name, port=None, now=NOW).kit


def request(folder: Path, site: str = "Lyon", key: str = "", version: str = "0.1.0") -> Path:
    """A request's file, of a key that lies beside it and stays the same."""
    secret = folder / f"{key or site}.key"
    made = load_key(secret, "") if secret.exists() else make_key(secret, PrivateFormat.OpenSSH)
    path = folder / f"{site}.request"
    path.write_text(request_text(site, version, made))
    return path


def altered(path: Path, old: str, new: str) -> Path:
    """The same file with one text in place of another, which it has to have."""
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    return path


@contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """A folder that this process may not write, whoever runs the tests."""
    mode, user = folder.stat().st_mode, os.geteuid()
    folder.chmod(0o555)
    if user == 0:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(user)
        folder.chmod(mode)
