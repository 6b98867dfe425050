"""Elements of a MATLAB file before version 7.3, walked before scipy reads them.

scipy looks a number's type up in a table without asking whether it is there, so that one damaged
byte ends the process. The layout is that of "MAT-File Format" (MathWorks), level 5: elements of a
type, a length and their bytes, filled up to eight; matrices hold elements.
"""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

from scipy.io.matlab import matfile_version

HEADER = 128  # bytes of text, version and byte order
MATRIX, COMPRESSED = 14, 15
TYPES = {1, 2, 3, 4, 5, 6, 7, 9, 12, 13, MATRIX, COMPRESSED, 16, 17, 18}


def require_known_types(file: Path) -> None:
    """Refuse a file of level 5 with an element of a type that there is not, or that is cut short.

    Raises
    ------
    ValueError
    """
    if matfile_version(str(file))[0] != 1:
        return
    content = memoryview(file.read_bytes())
    order = "<" if bytes(content[HEADER - 2 : HEADER]) == b"IM" else ">"
    _walk(content[HEADER:], order)


def _walk(content: memoryview, order: str) -> None:
    place = 0
    while place < len(content):
        kind, size, start = _tag(content, place, order)
        if kind not in TYPES:
            raise ValueError(f"an element of type {kind}, which there is not")
        if start + size > len(content):
            raise ValueError("an element that is cut short")
        own = content[start : start + size]
        if kind == COMPRESSED:
            try:
                own = memoryview(zlib.decompress(own))
            except zlib.error as error:
                raise ValueError("a compressed element that is damaged") from error
        if kind in (MATRIX, COMPRESSED):
            _walk(own, order)
        # What is compressed, and what stands in the tag itself, is not filled up.
        fill = 0 if kind == COMPRESSED else -size % 8
        place = start + size + fill if start == place + 8 else place + 8


def _tag(content: memoryview, place: int, order: str) -> tuple[int, int, int]:
    """Type, bytes, and where they start: after the tag, or in it where they are four at most."""
    if place + 8 > len(content):
        raise ValueError("an element that is cut short")
    kind, size = struct.unpack_from(f"{order}II", content, place)
    if kind >> 16:
        return kind & 0xFFFF, kind >> 16, place + 4
    return kind, size, place + 8
