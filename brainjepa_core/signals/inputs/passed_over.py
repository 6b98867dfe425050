"""What lies among the scans and is not taken: never a problem, and never in silence."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple


class PassedOver(NamedTuple):
    """A file or folder that looks like a scan and is not taken as one.

    Attributes
    ----------
    file : Path
    why : str
        A phrase after "passed over": the same words for files of one kind.
    """

    file: Path
    why: str


def in_words(passed: Iterable[PassedOver]) -> list[str]:
    """A sentence a kind, with a count and one example; for the site's own eyes."""
    by_kind: dict[str, list[Path]] = defaultdict(list)
    for file, why in passed:
        by_kind[why].append(file)
    return [
        f"{len(files)} passed over, such as {min(files).name}: {why}"
        for why, files in by_kind.items()
    ]
