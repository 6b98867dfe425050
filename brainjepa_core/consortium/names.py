"""Names that travel: of sites, of consortia, and of the coordinator's machine."""

from __future__ import annotations

import ipaddress
import re

SITE_NAME = re.compile(r"[A-Za-z0-9_-]{1,40}")
_LONGEST = 64  # bytes of a certificate's common name
_LABEL = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?")


def shown(text: str) -> str:
    """Foreign text for an error: in quotes, on one line, not endless."""
    return repr(text if len(text) <= 40 else f"{text[:40]}…")


def require_consortium_name(name: str) -> str:
    """Refuse what a certificate cannot hold, or what could deceive on a terminal.

    Raises
    ------
    ValueError
    """
    fits = name.isprintable() and name == name.strip() and 0 < len(name.encode()) <= _LONGEST
    if not fits:
        raise ValueError(
            f"expected a consortium's name of 1 to {_LONGEST} printable characters (of two bytes "
            f"each, half as many), found {shown(name)}; choose another name"
        )
    return name


def require_host(text: str) -> str:
    """The name or address of a machine, in the form that certificates hold: lower case.

    Parameters
    ----------
    text : str
        ``brain.example.org`` or an IP address; no URL and no port.

    Raises
    ------
    ValueError
    """
    expected = "expected the coordinator's host name or IP address as sites reach it"
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        host = text.lower().removesuffix(".")
        labels = host.split(".")
        if any(sign in text for sign in "/:[]@ "):
            mend = "write the name alone; a port has an option of its own (--port)"
        elif not text.isascii():
            mend = "write it in ASCII as DNS does (xn--...)"
        elif "*" in text:
            mend = "write every name that sites use, each with its own --host"
        elif len(host) > 253 or not all(_LABEL.fullmatch(label) for label in labels):
            mend = "use letters, digits and '-' between single dots"
        elif labels[-1].isdecimal():
            mend = "an IP address has four numbers from 0 to 255"
        else:
            return host
        raise ValueError(f"{expected}, found {shown(text)}; {mend}") from None
    if address.is_unspecified or address.is_multicast or "%" in text:
        raise ValueError(
            f"{expected}, found '{address}', which no site can connect to; write the address that "
            "other machines use"
        )
    return str(address)
