"""The head of an HTTP/1.1 message, read so strictly that no two programs differ over it."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable
from dataclasses import dataclass

LONGEST_HEAD = 32 * 1024  # bytes
_NAME = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_LENGTH = re.compile(rb"[0-9]{1,15}")
# Of one connection, not of the message: each side of a proxy has its own.
_OF_A_CONNECTION = frozenset(
    b"connection keep-alive proxy-connection proxy-authenticate proxy-authorization te trailer "
    b"upgrade expect".split()
)


class BadHead(ValueError):
    """A head that is none, or that says two things at once."""


@dataclass(frozen=True)
class Head:
    """First line and fields of a request or a response.

    Attributes
    ----------
    first : bytes
        The line without its end.
    fields : tuple of (bytes, bytes)
        Names in lower case, values as they came.
    """

    first: bytes
    fields: tuple[tuple[bytes, bytes], ...]

    def values(self, name: bytes) -> list[bytes]:
        return [value for field, value in self.fields if field == name]

    @property
    def length(self) -> int | None:
        """Bytes of the body; None where the head does not say.

        Raises
        ------
        BadHead
            If it says so twice, or the body comes in chunks.
        """
        told = self.values(b"content-length")
        if self.values(b"transfer-encoding") or len(told) > 1:
            raise BadHead("one length of the body, and no chunks")
        if told and not _LENGTH.fullmatch(told[0]):
            raise BadHead("a length of digits")
        return int(told[0]) if told else None

    @property
    def closes(self) -> bool:
        """Whether the sender ends the connection after this message."""
        tokens = b",".join(self.values(b"connection")).lower()
        return b"close" in [token.strip() for token in tokens.split(b",")]

    def forwarded(self, *more: tuple[bytes, bytes]) -> bytes:
        """The head for the other side: without what was of this connection alone."""
        kept = [field for field in self.fields if field[0] not in _OF_A_CONNECTION]
        return head_bytes(self.first, [*kept, *more])


def head_bytes(first: bytes, fields: Iterable[tuple[bytes, bytes]]) -> bytes:
    """A head as it travels."""
    lines = [first, *(name + b": " + value for name, value in fields)]
    return b"\r\n".join(lines) + b"\r\n\r\n"


async def read_head(reader: asyncio.StreamReader) -> Head | None:
    """The next head of a connection; None where it ended before one began.

    Raises
    ------
    BadHead
        If it is no head of HTTP/1.1, or longer than `LONGEST_HEAD` or the reader's limit.
    """
    try:
        text = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError as error:
        if error.partial.strip():
            raise BadHead("a whole head") from error
        return None
    except asyncio.LimitOverrunError as error:
        raise BadHead(f"a head of at most {LONGEST_HEAD} bytes") from error
    if len(text) > LONGEST_HEAD:
        raise BadHead(f"a head of at most {LONGEST_HEAD} bytes")
    first, *lines = text[:-4].split(b"\r\n")
    fields = []
    for line in lines:
        name, colon, value = line.partition(b":")
        if not colon or not _NAME.fullmatch(name) or any(sign in value for sign in b"\r\n\0"):
            raise BadHead("fields of a name and a value")
        fields.append((name.lower(), value.strip()))
    if any(sign in first for sign in b"\r\n\0"):
        raise BadHead("one first line")
    return Head(first, tuple(fields))
