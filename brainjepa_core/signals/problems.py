"""What keeps a scan from being used, said so that a data manager can mend it."""

from __future__ import annotations

import os
from pathlib import Path

from brainjepa_core.usable import UnusableScan


class ScanProblem(ValueError):
    """One file's problem; other scans go on.

    Its text names the file, which may hold a subject id: it is for the site's own eyes, and
    `brainjepa_client.answering.site.Site` lets no text of an error out.

    Parameters
    ----------
    file : path
        The file that must be mended.
    expected, found, mend : str
        Phrases that make up ``"<name>: expected <expected>, found <found>; <mend>"``.
    """

    def __init__(self, file: str | Path, expected: str, found: str, mend: str) -> None:
        super().__init__(file, expected, found, mend)  # what pickling hands on between processes
        self.file, self.expected, self.found, self.mend = Path(file), expected, found, mend

    def __str__(self) -> str:
        return f"{self.file.name}: expected {self.expected}, found {self.found}; {self.mend}"


class UnusableProblem(ScanProblem, UnusableScan):
    """A scan that is whole, and yet nothing can be learned from it."""


def is_there(file: Path) -> bool:
    """Whether there is such a file.

    Raises
    ------
    ScanProblem
        If it is a link to nowhere: a file whose content was not fetched (git-annex, DataLad) is
        not the same as none.
    """
    if file.exists():
        return True
    if os.path.lexists(file):
        raise ScanProblem(
            file,
            "a file, or none",
            "a link to a file that is not there",
            "fetch its content (datalad get), or remove the link",
        )
    return False
