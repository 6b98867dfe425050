"""Messages of secure sums: named arrays, bytes as uint8, that `wire.packing` takes as they are.

Five steps, each a request of the coordinator and a reply of a site. Every message has ``sum``, the
hash of the `SumTerms`; what belongs to a site has its name before the field (``Lyon.box``), and
arrays of the sum have ``vector.`` before theirs.

======== ============================================ =========================================
step     request                                      reply
======== ============================================ =========================================
keys     nothing                                      public keys of this sum, signed
shares   keys of all that sent some                   a sealed box of shares for each of them
masked   the boxes that were sealed for the site      its vector, masked
alive    names of those whose vectors came            signature on this story
unmask   signatures of the others on the same story   shares: self seeds of the living, keys of
                                                      the gone, never both of one
======== ============================================ =========================================
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainjepa_core.consortium.names import SITE_NAME, shown
from brainjepa_core.secure_sums.terms import SumTerms

Message = dict[str, NDArray[Any]]

KEYS, SHARES, MASKED, ALIVE, UNMASK = "keys", "shares", "masked", "alive", "unmask"
STEPS = (KEYS, SHARES, MASKED, ALIVE, UNMASK)

SUM, VECTOR = "sum", "vector."
LONGEST = 1 << 16  # bytes of a field that is no vector
_MEND = "bring coordinator and site to one version"


def as_field(content: bytes) -> NDArray[np.uint8]:
    """Bytes as a field of a message."""
    return np.frombuffer(content, np.uint8)


def take(message: Mapping[str, NDArray[Any]], field: str, length: int | None = None) -> bytes:
    """Bytes of a field of a foreign message.

    Parameters
    ----------
    message : mapping
    field : str
    length : int, optional
        That it must have.

    Raises
    ------
    ValueError
    """
    found = message.get(field)
    if found is None:
        raise ValueError(f"expected '{field}' in a message of a secure sum, found none; {_MEND}")
    if found.dtype != np.uint8 or found.ndim != 1 or found.size > LONGEST:
        raise ValueError(
            f"expected '{field}' as bytes, found {found.dtype} of shape {found.shape[:8]}; {_MEND}"
        )
    if length is not None and found.size != length:
        raise ValueError(f"expected '{field}' of {length} bytes, found {found.size}; {_MEND}")
    return found.tobytes()


def of_sum(terms: SumTerms, fields: Mapping[str, NDArray[Any]]) -> Message:
    """A message of this sum."""
    return {SUM: as_field(terms.hash), **fields}


def require_of_sum(terms: SumTerms, message: Mapping[str, NDArray[Any]]) -> None:
    """Refuse a message of another sum: another study, round, attempt, request or roster.

    Raises
    ------
    ValueError
    """
    if take(message, SUM, 32) != terms.hash:
        raise ValueError(
            f"expected a message of {terms}, found one of another study, round, attempt, request "
            "or roster; answer what was asked"
        )


def by_site(fields: Mapping[str, Mapping[str, NDArray[Any]]]) -> Message:
    """Fields of several sites in one message."""
    return {f"{site}.{name}": value for site, own in fields.items() for name, value in own.items()}


def of_sites(message: Mapping[str, NDArray[Any]]) -> dict[str, Message]:
    """What `by_site` put together, by site, in order of their names.

    Raises
    ------
    ValueError
        If a field is of no site.
    """
    found: dict[str, Message] = {}
    for whole, value in message.items():
        if whole == SUM:
            continue
        site, dot, name = whole.partition(".")
        if not (dot and SITE_NAME.fullmatch(site)):
            raise ValueError(f"expected fields of sites, found {shown(whole)}; {_MEND}")
        found.setdefault(site, {})[name] = value
    return dict(sorted(found.items()))
