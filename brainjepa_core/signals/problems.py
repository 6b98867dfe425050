"""What keeps a scan from being used, said so that a data manager can mend it."""

from __future__ import annotations

import os
from pathlib import Path

from brainjepa_core.problems import plainly
from brainjepa_core.usable import UnusableScan

# What git-annex (unlocked files) and Git LFS leave where the content was not fetched.
POINTERS = (b"/annex/objects/", b"version https://git-lfs.github.com/")
POINTER_BYTES = 1024


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
        If its content was not fetched (git-annex, DataLad, Git LFS), which is not the same as
        none: a link to nowhere, or a short text that stands for the content.
    """
    if not file.exists():
        if os.path.lexists(file):
            raise _not_fetched(file, "a link to a file that is not there")
        return False
    if file.is_file() and file.stat().st_size < POINTER_BYTES:
        try:
            with file.open("rb") as stream:
                start = stream.read(POINTER_BYTES)
        except OSError:
            return True  # and whoever reads it says why it cannot be read
        if start.startswith(POINTERS):
            raise _not_fetched(file, "a text that stands for content not fetched")
    return True


def unreadable(error: OSError) -> ScanProblem:
    """The problem of a folder that the disk does not list."""
    mend = "give whoever prepares the right to read it"
    return ScanProblem(error.filename or "", "a folder that can be listed", plainly(error), mend)


def is_folder(path: Path, problems: list[ScanProblem]) -> bool:
    """Whether there is such a folder; one that is a link to nowhere is added to the problems.

    A name with a dot is taken for a file's, and so is what links into an annex.
    """
    if "." in path.name or (path.is_symlink() and "annex/objects" in os.readlink(path)):
        return False
    try:
        return is_there(path) and path.is_dir()
    except ScanProblem as problem:
        problems.append(problem)
        return False


def require_there(file: Path) -> None:
    """Refuse what `is_there` refuses, and a file that is not there at all.

    Raises
    ------
    ScanProblem
    """
    if not is_there(file):
        raise ScanProblem(file, "a file", "none of that name", "restore it")


def _not_fetched(file: Path, found: str) -> ScanProblem:
    mend = "fetch its content (datalad get), or remove it"
    return ScanProblem(file, "a file, or none", found, mend)
