"""The folder of a consortium at its coordinator: ``brainjepa server init`` makes and renews it.

pki/ca.key, ca.crt           the authority; lost, the consortium has to begin anew
pki/server.key, server.crt   what the server shows; made again at any time
kit                          for sites
admitted/NAME.pub            sites' keys: the truth about who takes part
revoked/                     keys that no longer do
pki/loopback.key, .crt       what the SuperLink shows to this machine; made by ``server start``
studies/NAME                 a study that ran here
running/                     see `deploying.running`
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PrivateFormat

from brainjepa_core.consortium.certificates import (
    common_name,
    read_authority,
    read_certificate,
    require_in_force,
)
from brainjepa_core.consortium.keys import load_key, make_key
from brainjepa_core.consortium.kit import Kit, read_kit
from brainjepa_core.consortium.names import require_consortium_name, require_host
from brainjepa_core.files import atomic_path, lone_writer
from brainjepa_core.problems import plainly
from brainjepa_server.consortium.certificates import (
    hosts_of,
    make_authority,
    make_server_certificate,
    why_renewed,
)

PORT = 443
_RESTORE = "restore it from your copy; without it a consortium begins anew, in another folder"


@dataclass(frozen=True)
class ConsortiumFolder:
    """Where things are in a consortium's folder."""

    path: Path

    @property
    def authority_key(self) -> Path:
        return self.path / "pki" / "ca.key"

    @property
    def authority(self) -> Path:
        return self.path / "pki" / "ca.crt"

    @property
    def server_key(self) -> Path:
        return self.path / "pki" / "server.key"

    @property
    def server_certificate(self) -> Path:
        return self.path / "pki" / "server.crt"

    @property
    def kit(self) -> Path:
        return self.path / "kit"

    @property
    def admitted(self) -> Path:
        return self.path / "admitted"

    @property
    def revoked(self) -> Path:
        return self.path / "revoked"

    @property
    def loopback_key(self) -> Path:
        return self.path / "pki" / "loopback.key"

    @property
    def loopback_certificate(self) -> Path:
        return self.path / "pki" / "loopback.crt"

    @property
    def studies(self) -> Path:
        return self.path / "studies"

    @contextmanager
    def writing(self) -> Iterator[None]:
        """One command at a time writes here.

        Raises
        ------
        BlockingIOError
        """
        with lone_writer(self.path / "lock", "into the consortium's folder", wait=False):
            yield

    @classmethod
    def open(cls, path: Path) -> ConsortiumFolder:
        """The folder of a consortium that there is.

        Raises
        ------
        ValueError
        """
        folder = cls(path)
        try:
            if folder.authority.is_file():
                return folder
            words = "another folder" if path.is_dir() else "a file"
            found = words if path.exists() else "no such folder"
        except OSError as error:
            found = plainly(error)
        raise ValueError(
            f"expected the folder of a consortium, found '{path}', {found}; give the one that "
            "'brainjepa server init' made, as the user who made it"
        )


@dataclass(frozen=True)
class SetUp:
    """What a consortium has, and what was made just now.

    Attributes
    ----------
    kit : Kit
    hosts : tuple of str
        Of the server's certificate; the first is the kit's.
    ends : datetime
        Of the server's certificate.
    made : tuple of str
        A line for each thing that was made.
    """

    kit: Kit
    hosts: tuple[str, ...]
    ends: datetime
    made: tuple[str, ...]


def set_up(
    path: Path, hosts: Sequence[str], *, name: str | None, port: int | None, now: datetime
) -> SetUp:
    """Make a consortium's folder, or what it lacks; what is there and in force stays.

    Parameters
    ----------
    path : Path
    hosts : sequence of str
        Names and addresses under which sites reach the coordinator, the kit's first; without any,
        those that the server's certificate has.
    name : str, optional
        Of the consortium; by default its first host. It never changes.
    port : int, optional
        By default the one that the kit has, or 443.
    now : datetime
        With its time zone.

    Raises
    ------
    ValueError
    OSError
    """
    folder = ConsortiumFolder(path)
    made: list[str] = []
    _require_room(path)
    chosen = tuple(dict.fromkeys(require_host(host) for host in hosts)) or _former_hosts(folder)
    called = chosen[0] if name is None else name
    if not folder.authority.exists():
        require_consortium_name(called)
    (path / "pki").mkdir(parents=True, exist_ok=True, mode=0o700)
    with folder.writing():
        authority, key = _authority(folder, called, now, made, fixed=name is not None)
        ends = _server_certificate(folder, authority, key, chosen, now, made)
        former = _former_kit(folder)
        known = former.port if former is not None else PORT
        kit = Kit(chosen[0], port or known, authority)
        if former != kit:
            with atomic_path(folder.kit) as temporary:
                temporary.write_text(kit.text(), encoding="utf-8")
            made.append(f"kit for {kit.address}" + ("" if former is None else _instead_of(former)))
        folder.admitted.mkdir(exist_ok=True)
    return SetUp(kit, chosen, ends, tuple(made))


def _instead_of(former: Kit) -> str:
    return f": sites that joined with the former one, for {former.address}, join again with it"


def _require_room(path: Path) -> None:
    if path.is_dir() and not (path / "pki").is_dir() and any(path.iterdir()):
        raise ValueError(
            f"expected a new or empty folder, or a consortium's, found other files in '{path}'; "
            "choose another folder"
        )


def _former_hosts(folder: ConsortiumFolder) -> tuple[str, ...]:
    try:
        return hosts_of(read_certificate(folder.server_certificate.read_bytes()))
    except (FileNotFoundError, ValueError, x509.ExtensionNotFound) as error:
        raise ValueError(
            "expected the names under which sites reach the coordinator, found none; say them with "
            "--host, the one for the kit first"
        ) from error


def _former_kit(folder: ConsortiumFolder) -> Kit | None:
    if not folder.kit.exists():
        return None
    try:
        return read_kit(folder.kit)
    except ValueError as error:
        raise ValueError(
            f"expected the consortium's own kit in '{folder.kit}', found another file, or a "
            f"damaged one; remove it, and call this again (with --port, if it is not {PORT})"
        ) from error


def _authority(
    folder: ConsortiumFolder, name: str, now: datetime, made: list[str], *, fixed: bool
) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    if folder.authority.exists():
        key = load_key(folder.authority_key, _RESTORE)
        authority = _read_authority(folder, key)
        mend = "begin a consortium anew, in another folder: its sites join again"
        require_in_force(authority, now, "the authority's certificate", mend)
        known = common_name(authority)
        if fixed and name != known:
            raise ValueError(
                f"expected the consortium's name '{known}', found '{name}'; leave --name "
                "out, or choose another folder for another consortium"
            )
        return authority, key
    if folder.kit.exists() or folder.server_certificate.exists():
        raise ValueError(
            f"expected the authority's certificate in '{folder.authority}', found no such file; "
            f"{_RESTORE}"
        )
    key = _key(folder.authority_key, "see whose it is, and choose another folder")
    authority = make_authority(key, name, now)
    _write_certificate(folder.authority, authority)
    made.append("authority of its own")
    return authority, key


def _read_authority(folder: ConsortiumFolder, key: ec.EllipticCurvePrivateKey) -> x509.Certificate:
    expected = f"expected the authority's certificate in '{folder.authority}'"
    try:
        authority = read_authority(folder.authority.read_bytes())
    except ValueError as error:
        raise ValueError(f"{expected}, found {error}; {_RESTORE}") from error
    if authority.public_key() != key.public_key():
        raise ValueError(f"{expected} to be of ca.key, found that of another key; {_RESTORE}")
    return authority


def _server_certificate(
    folder: ConsortiumFolder,
    authority: x509.Certificate,
    authority_key: ec.EllipticCurvePrivateKey,
    hosts: tuple[str, ...],
    now: datetime,
    made: list[str],
) -> datetime:
    """Make what the server shows, where it has none that sites would take; returns its end."""
    key = _key(folder.server_key, "remove it, and call this again: it is made anew")
    why: str | None = ""
    try:
        certificate = read_certificate(folder.server_certificate.read_bytes())
        why = why_renewed(certificate, authority, key.public_key(), hosts, now)
    except FileNotFoundError:
        pass
    except ValueError:
        why = "the former one was damaged"
    if why is None:
        require_in_force(certificate, now, "the server's certificate", "call this again")
        return certificate.not_valid_after_utc
    certificate = make_server_certificate(authority, authority_key, key.public_key(), hosts, now)
    _write_certificate(folder.server_certificate, certificate)
    made.append(f"server certificate for {', '.join(hosts)}" + (f": {why}" if why else ""))
    return certificate.not_valid_after_utc


def _key(path: Path, mend: str) -> ec.EllipticCurvePrivateKey:
    """A key that is there, perhaps since a kill; nothing replaces it. Else a new one."""
    return load_key(path, mend) if path.exists() else make_key(path, PrivateFormat.PKCS8)


def _write_certificate(path: Path, certificate: x509.Certificate) -> None:
    with atomic_path(path) as temporary:
        temporary.write_bytes(certificate.public_bytes(Encoding.PEM))
