"""Private keys that never leave the machine that made them, and public ones that do."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_ssh_private_key,
    load_ssh_public_key,
)

from brainjepa_core.files import atomic_path
from brainjepa_core.problems import plainly

_OPENSSH = b"-----BEGIN OPENSSH PRIVATE KEY-----"


def make_key(path: Path, form: PrivateFormat) -> ec.EllipticCurvePrivateKey:
    """Draw a key on the curve P-384 and write it for its owner's eyes only (mode 0600).

    Parameters
    ----------
    path : Path
        A file that is there is replaced.
    form : PrivateFormat
        ``OpenSSH``, which Flower's SuperNode reads, or ``PKCS8``, which web servers read.
    """
    key = ec.generate_private_key(ec.SECP384R1())
    content = key.private_bytes(Encoding.PEM, form, NoEncryption())
    with atomic_path(path) as temporary:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            _require_secret(file.fileno(), path, "choose a folder on a local disk")
    return key


def load_key(path: Path, mend: str) -> ec.EllipticCurvePrivateKey:
    """Read a key that `make_key` wrote.

    Parameters
    ----------
    path : Path
    mend : str
        What to do about a file that is not that key.

    Raises
    ------
    ValueError
        If it cannot be read, is damaged or of another kind, or if others can read it.
    """
    expected = f"expected a private key (ECDSA, P-384, no password) in '{path}'"
    try:
        with path.open("rb") as file:
            content = file.read()
            _require_secret(
                file.fileno(), path, f"'chmod 600 {path}'; if others may have read it: {mend}"
            )
    except OSError as error:
        raise ValueError(f"{expected}, found {plainly(error)}; {mend}") from error
    load = load_ssh_private_key if content.lstrip().startswith(_OPENSSH) else load_pem_private_key
    try:
        key = load(content, None)
    except TypeError as error:
        raise ValueError(f"{expected}, found one with a password; {mend}") from error
    except Exception as error:  # cryptography has a class of its own for each kind of damage
        found = "a public key" if content.startswith(b"ecdsa-") else plainly(error)
        raise ValueError(f"{expected}, found {found}; {mend}") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not _is_ours(key.curve):
        raise ValueError(f"{expected}, found a key of another kind; {mend}")
    return key


def public_text(key: ec.EllipticCurvePublicKey) -> str:
    """OpenSSH's one line for a public key, without a comment."""
    return key.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()


def public_key(text: str) -> ec.EllipticCurvePublicKey:
    """Read what `public_text` writes.

    Raises
    ------
    ValueError
        Saying what was found, as the middle of ``"expected …, found …; …"``.
    """
    try:
        key = load_ssh_public_key(text.encode())
    except Exception as error:  # as above
        raise ValueError("no public key, or a damaged one") from error
    if not isinstance(key, ec.EllipticCurvePublicKey) or not _is_ours(key.curve):
        raise ValueError("a key of another kind")
    if public_text(key) != text:
        raise ValueError("a key with more than itself on its line")
    return key


def _is_ours(curve: ec.EllipticCurve) -> bool:
    return isinstance(curve, ec.SECP384R1)


def _require_secret(descriptor: int, path: Path, mend: str) -> None:
    mode = stat.S_IMODE(os.fstat(descriptor).st_mode)
    if mode & 0o077:
        raise ValueError(
            f"expected a key that its owner alone can read (mode 600), found mode {mode:o} of "
            f"'{path}'; {mend}"
        )
