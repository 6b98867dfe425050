"""What was found where reading failed, in words rather than by the name of a Python class."""

from __future__ import annotations

import errno
import json
import zipfile
import zlib

DISK_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
_OF_CLASSES: tuple[tuple[type[BaseException] | tuple[type[BaseException], ...], str], ...] = (
    (FileNotFoundError, "no such file"),
    (IsADirectoryError, "a folder"),
    (NotADirectoryError, "a file where a folder should be"),
    (PermissionError, "that it may not be opened (permission denied)"),
    (FileExistsError, "that it is there already"),
    (UnicodeError, "bytes that are not text in UTF-8"),
    ((zipfile.BadZipFile, zlib.error), "a damaged archive, or something else"),
    (EOFError, "a file that ends too early"),
    (KeyError, "a part missing"),
    (MemoryError, "more than fits into memory"),
    (RecursionError, "brackets nested too deeply"),
)


def plainly(error: BaseException) -> str:
    """What was found, as the middle of ``"expected …, found …; …"``.

    Names no file, path or value, for the text may be read by others than who holds the file.
    """
    if isinstance(error, json.JSONDecodeError):
        return f"damaged JSON (line {error.lineno})"
    if isinstance(error, OSError) and error.errno in DISK_FULL:
        return "that the disk is full"
    for kinds, words in _OF_CLASSES:
        if isinstance(error, kinds):
            return words
    if isinstance(error, OSError) and error.strerror:
        return f"that it cannot be opened ({error.strerror[0].lower()}{error.strerror[1:]})"
    return "damage, or something else"
