"""How a site joins: it checks the kit, makes its key where the key stays, and writes a request."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import PrivateFormat

from brainjepa_client.approving.membership import KEY, KIT, begin_anew, has_left
from brainjepa_core.consortium.certificates import require_in_force
from brainjepa_core.consortium.keys import load_key, make_key
from brainjepa_core.consortium.kit import Kit, read_kit
from brainjepa_core.consortium.request import JoinRequest, request_text
from brainjepa_core.files import atomic_path, lone_writer
from brainjepa_core.version import VERSION

LOCK = "join.lock"  # a study's folder has no dot in its name: it never meets one
_NEW_KEY = (
    "remove it and join again: the coordinator revokes the old key and admits the new request"
)


@dataclass(frozen=True)
class Joined:
    """What joining wrote.

    Attributes
    ----------
    request : JoinRequest
    path : Path
        File of the request.
    new_key : bool
        False where the site had its key before.
    """

    request: JoinRequest
    path: Path
    new_key: bool


def was_compared(kit: Kit, state: Path, now: datetime) -> bool:
    """Whether a site has compared the fingerprint of a kit's authority before.

    Parameters
    ----------
    kit : Kit
    state : Path
        The site's state folder.
    now : datetime
        With its time zone.

    Raises
    ------
    ValueError
        If the kit is not in force, or the site has joined another consortium.
    """
    mend = "ask the coordinator: a consortium begins anew when its authority has ended"
    require_in_force(kit.authority, now, "the kit's certificate", mend)
    if not (state / KIT).exists() or has_left(state):
        return False
    former = read_kit(state / KIT)
    if former.authority != kit.authority:
        raise ValueError(
            f"expected a kit of the consortium that this site has joined ('{former.consortium}', "
            f"{former.fingerprint}), found one of another authority ('{kit.consortium}', "
            f"{kit.fingerprint}); a site has a state folder for each consortium: name another in "
            f"its YAML, or remove '{state / KIT}' to leave the former one"
        )
    return True


def join(kit: Kit, name: str, state: Path, folder: Path) -> Joined:
    """Keep the kit, make the site's key or keep the one there is, and write the request.

    A site that has withdrawn from a consortium begins anew, with another key.

    Parameters
    ----------
    kit : Kit
        Whose fingerprint was compared.
    name : str
        Of the site.
    state : Path
        The site's state folder; the key stays there.
    folder : Path
        Where ``NAME.request`` is written.

    Raises
    ------
    ValueError
        If a key is there that is damaged or that others can read.
    OSError
    """
    state.mkdir(parents=True, exist_ok=True)
    with lone_writer(state / LOCK, "into the site's state folder", wait=False):
        if has_left(state):
            begin_anew(state)
        key, new = _site_key(state / KEY)
        with atomic_path(state / KIT) as temporary:
            temporary.write_text(kit.text(), encoding="utf-8")
    path = folder / f"{name}.request"
    with atomic_path(path) as temporary:
        temporary.write_text(request_text(name, VERSION, key), encoding="utf-8")
    return Joined(JoinRequest(name, VERSION, key.public_key()), path, new)


def _site_key(path: Path) -> tuple[ec.EllipticCurvePrivateKey, bool]:
    if path.exists():
        return load_key(path, _NEW_KEY), False
    return make_key(path, PrivateFormat.OpenSSH), True
