"""What was found where reading or writing failed, in words rather than by a Python class."""

from __future__ import annotations

import errno
import json
import os
import re
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:  # a command's help needs no numpy
    import numpy as np
    from numpy.typing import NDArray

Count = TypeVar("Count", int, "NDArray[np.int64]")
FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
# numpy and safetensors raise errors of their own, without a number, when a write is cut short.
_CUT_SHORT = re.compile(r"\d+ requested and \d+ written|\(os error (28|122|27)\)")
_OF_CLASSES: tuple[tuple[type[BaseException], str], ...] = (
    (FileNotFoundError, "no such file"),
    (IsADirectoryError, "a folder"),
    (NotADirectoryError, "a file where a folder should be"),
    (PermissionError, "no permission to open it"),
    (FileExistsError, "something of that name already"),
    (UnicodeError, "bytes that are not text in UTF-8"),
    (ConnectionError, "a connection that failed"),
    (TimeoutError, "no answer in time"),
    (zipfile.BadZipFile, "no zip archive, or a damaged one"),
    (EOFError, "a file that ends too early"),
    (KeyError, "a part missing"),
    (MemoryError, "more than fits into memory"),
    (RecursionError, "brackets nested too deeply"),
)
_OF_VALUES: dict[type, str] = {
    dict: "fields with values",
    list: "a list",
    str: "a text",
    bool: "true or false",
    int: "a number",
    float: "a number",
    type(None): "nothing",
}


def plainly(error: BaseException, otherwise: str = "damage, or another format") -> str:
    """What was found, as the middle of ``"expected …, found …; …"``.

    Names no file, path or value, for the text may be read by others than who holds the file.
    """
    if isinstance(error, json.JSONDecodeError):
        return f"damaged JSON (line {error.lineno})"
    if is_disk_full(error):
        return "a full disk"
    if isinstance(error, FileNotFoundError) and os.path.lexists(error.filename or ""):
        return "a link to a file that is not there (datalad get fetches its content)"
    for kind, words in _OF_CLASSES:
        if isinstance(error, kind):
            return words
    if isinstance(error, OSError) and error.strerror:
        return f"that the disk does not give it ({error.strerror[0].lower()}{error.strerror[1:]})"
    return otherwise


def is_disk_full(error: BaseException) -> bool:
    """Whether a write failed for want of room: a full disk, a quota, a limit on files' sizes."""
    told = isinstance(error, OSError) and error.errno in FULL
    return told or _CUT_SHORT.search(str(error)) is not None


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory of this machine or of its GPU was not enough."""
    told = "out of memory" in str(error) or "can't allocate memory" in str(error)
    return isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and told)


def found_value(value: Any) -> str:
    """A value of a JSON or YAML file as it may be written there."""
    if isinstance(value, (str, int, float)) and not isinstance(value, bool):
        return repr(value)
    if isinstance(value, bool):
        return str(value).lower()
    return f"'{value}'" if isinstance(value, Path) else value_in_words(value)


def value_in_words(value: Any) -> str:
    """What kind of value a JSON or YAML file holds."""
    return _OF_VALUES.get(type(value), "something else")


def counted(number: int, one: str, many: str = "") -> str:
    """``1 scan``, ``2 scans``, ``3 people``: a number with its noun."""
    return f"{number} {one if number == 1 else many or one + 's'}"


def size_in_words(count: float) -> str:
    """A number of bytes: ``1.2 GB``, ``0.3 MB``."""
    return f"{count / 1e9:.1f} GB" if count >= 1e8 else f"{count / 1e6:.1f} MB"


def rounded_down(count: Count, to: int) -> Count:
    """A number of people or scans, or an array of such, as it may be told."""
    return count // to * to


def listed(names: Iterable[str], most: int = 10) -> str:
    """Names in order, with commas; of more than `most` the first ones, and how many others."""
    known = sorted(names)
    rest = len(known) - most
    told = ", ".join(known[:most])
    return f"{told} and {rest} more" if rest > 0 else told


def reasons_after(reasons: Mapping[str, str], most: int = 10) -> str:
    """``; a: why; b: why``, for the end of an error; of more than `most`, how many others."""
    told = "".join(f"; {name}: {why}" for name, why in list(reasons.items())[:most])
    rest = len(reasons) - most
    return f"{told}; and {rest} more" if rest > 0 else told
