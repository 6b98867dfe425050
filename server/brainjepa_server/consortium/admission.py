"""Which sites take part: a name is bound to a key, and ``admitted/NAME.pub`` is the truth."""

from __future__ import annotations

import difflib
import os
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec

from brainjepa_core.consortium.fingerprints import of_key
from brainjepa_core.consortium.keys import public_key, public_text
from brainjepa_core.consortium.names import SITE_NAME
from brainjepa_core.consortium.request import JoinRequest, read_request
from brainjepa_core.files import atomic_path
from brainjepa_core.problems import plainly
from brainjepa_server.consortium.consortium_folder import ConsortiumFolder

Keys = dict[str, ec.EllipticCurvePublicKey]


@dataclass(frozen=True)
class Admission:
    """A request that holds.

    Attributes
    ----------
    request : JoinRequest
    new : bool
        False where the site was admitted with this key before.
    """

    request: JoinRequest
    new: bool


def admitted_sites(folder: ConsortiumFolder) -> Keys:
    """The key of each admitted site, in order of name.

    Raises
    ------
    ValueError
        If a file is no site's key, or two have the same one.
    """
    sites: Keys = {}
    for path in sorted(folder.admitted.glob("*.pub")):
        key = _read_key(path)
        if not SITE_NAME.fullmatch(path.stem):
            raise ValueError(
                f"expected files named after sites (letters, digits, '-', '_'), found '{path}'; "
                "remove it, and admit the site's request"
            )
        twin = next((name for name, other in sites.items() if other == key), None)
        if twin is not None:
            raise ValueError(
                f"expected a key of its own for each site, found that of '{twin}' in '{path}' "
                "too; remove the wrong one of the two"
            )
        sites[path.stem] = key
    return sites


def admit(folder: ConsortiumFolder, path: Path) -> Admission:
    """Admit the site whose request a file holds; nothing changes for one that is admitted.

    Raises
    ------
    ValueError
        If the file is no request, or its name or key is another site's or was revoked.
    """
    request = read_request(path)
    with folder.writing():
        sites = admitted_sites(folder)
        if sites.get(request.site) == request.key:
            return Admission(request, new=False)
        _require_free(request, sites)
        _require_not_revoked(folder, request)
        with atomic_path(folder.admitted / f"{request.site}.pub") as temporary:
            temporary.write_text(f"{public_text(request.key)} {request.site}\n")
    return Admission(request, new=True)


def revoke(folder: ConsortiumFolder, site: str) -> None:
    """Take a site out; its key is kept among those that are not admitted again.

    Raises
    ------
    ValueError
        If no such site is admitted.
    """
    with folder.writing():
        sites = admitted_sites(folder)
        if site not in sites:
            near = difflib.get_close_matches(site, sites)
            known = ", ".join(near or sites) or "none"
            raise ValueError(
                f"expected the name of an admitted site ({known}), found '{site}'; "
                "'brainjepa server sites DIR' lists them"
            )
        folder.revoked.mkdir(exist_ok=True)
        short = of_key(sites[site]).replace(" ", "")[:16]
        os.replace(folder.admitted / f"{site}.pub", folder.revoked / f"{site}.{short}.pub")


def _require_free(request: JoinRequest, sites: Keys) -> None:
    site = request.site
    if site in sites:
        raise ValueError(
            f"expected the key that site '{site}' was admitted with ({of_key(sites[site])}), found "
            f"another ({request.fingerprint}); call the site: if it made a new key, "
            f"'brainjepa server revoke {site}' first"
        )
    for name, key in sites.items():
        if key == request.key:
            raise ValueError(
                f"expected a key of its own for site '{site}', found that of site '{name}'; each "
                "site makes its own: have it remove the key in its state folder and join again, "
                "and revoke the former name if it only has a new one"
            )
        if name.lower() == site.lower():
            raise ValueError(
                f"expected a name that people can tell from that of site '{name}', found '{site}'; "
                "have the site choose another in its YAML and join again"
            )


def _require_not_revoked(folder: ConsortiumFolder, request: JoinRequest) -> None:
    for path in sorted(folder.revoked.glob("*.pub")):
        if _read_key(path) == request.key:
            raise ValueError(
                f"expected a key that was never revoked, found that of 'revoked/{path.name}' in "
                f"the request of site '{request.site}'; have the site remove its key and join "
                "again, or remove that file if the key is to be trusted again"
            )


def _read_key(path: Path) -> ec.EllipticCurvePublicKey:
    expected = f"expected a site's public key (ECDSA, P-384) in '{path}'"
    mend = "remove it, and admit the site's request again"
    try:
        line = path.read_text(encoding="utf-8")
    except (OSError, UnicodeError) as error:
        raise ValueError(f"{expected}, found {plainly(error)}; {mend}") from error
    try:
        return public_key(" ".join(line.split()[:2]))
    except ValueError as error:
        raise ValueError(f"{expected}, found {error}; {mend}") from error
