"""Crash-safe writing: everything goes to a temporary name beside its target, then is renamed."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import re
import shutil
import socket
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from io import FileIO
from pathlib import Path
from typing import Any

from brainjepa_core.problems import is_disk_full, plainly

LARGEST_LOG = 10_000_000  # bytes


@contextmanager
def room_for(path: Path) -> Iterator[None]:
    """Say of a write that found the disk full which file it was, and what is kept."""
    try:
        yield
    except Exception as error:
        if not is_disk_full(error):
            raise
        raise OSError(
            errno.ENOSPC,
            f"expected room for '{path}', found a full disk (or a quota); what was finished "
            "before it is kept: make room, and run the same command again",
        ) from error


def read_json(path: Path) -> Any:
    """Read what a program of ours wrote as JSON.

    Raises
    ------
    ValueError
        Naming the file, where it is not there or damaged.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ValueError(
            f"expected intact JSON in '{path}', found {plainly(error)}; restore the file, or make "
            "it anew with the command that wrote it"
        ) from error


def clear_leftovers(folder: str | Path) -> None:
    """Remove what a kill left half-written in a folder that has one writer at a time."""
    for path in Path(folder).glob(".*.tmp"):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def append_line(path: Path, line: str) -> None:
    """Add a line in one piece, on disk when this returns; cuts off one that a kill has torn.

    Under a lock, so that what is cut off is no other process' line.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with room_for(path), path.open("a+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        if file.tell():
            file.seek(-1, os.SEEK_END)
            if file.read() != b"\n":
                file.truncate(complete_lines(path.read_bytes()))
        file.write(line.encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())


def complete_lines(content: bytes) -> int:
    """Bytes up to the end of the last complete line."""
    return content.rfind(b"\n") + 1


@contextmanager
def lone_writer(lock: Path, what: str, *, wait: bool) -> Iterator[None]:
    """Hold a lock file, which no two processes (or threads that open it anew) hold at once.

    Parameters
    ----------
    lock : Path
        The file; it stays, and says who holds it. A process that ends, however it does, lets go.
    what : str
        For the error: "into the store".
    wait : bool
        Until the other one is done; else that there is another one is an error.

    Raises
    ------
    BlockingIOError
    """
    with lock.open("ab+", buffering=0) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError as error:
            file.seek(0)
            holder = file.read(200).decode(errors="replace")
            raise BlockingIOError(
                error.errno,
                f"expected to be alone in writing {what} '{lock.parent}', found another command at "
                f"work there{holder}; wait until it has ended, and run this one again",
            ) from error
        _note_holder(file)
        try:
            yield
        finally:
            with suppress(OSError):
                file.truncate(0)


def _note_holder(file: FileIO) -> None:
    """Write who holds it into a lock file; on a full disk it is held all the same."""
    with suppress(OSError):
        file.truncate(0)  # what one that was killed has left
        file.write(f" (process {os.getpid()} of {socket.gethostname()})".encode())


def state_of_file(path: Path) -> tuple[int, ...] | None:
    """What shows that a file is another one than before, the times of change last; None of none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def temporary_name(path: Path) -> Path:
    """A name beside a file, by which nothing reads it; `clear_leftovers` removes such files."""
    return path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")


def final_name(path: str | Path) -> Path:
    """What a file or folder that is half-written will be called."""
    path = Path(path)
    name = re.sub(r"^\.(.+)\.[0-9a-f]{8}\.tmp$", r"\1", path.name)
    return path.with_name(name) if path.name else path


def sync(path: Path) -> None:
    """Ask the disk to hold `path` before a rename makes it visible."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Yield a temporary file name; on success it replaces `path`, on failure it is removed.

    Parameters
    ----------
    path : str or Path
        Final name of the file. An existing file is replaced in one step.

    Yields
    ------
    Path
        Name to write to, in the same folder (so that the rename stays on one file system).
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_name(path)
    try:
        with room_for(path):
            yield temporary
            sync(temporary)
        os.replace(temporary, path)
        sync(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def bound_log(log: Path, largest: int = LARGEST_LOG) -> bool:
    """Begin a log anew that has grown too long, and keep what it held; whether it was begun anew.

    The program that writes it goes on doing so, as with ``copytruncate`` of logrotate: it has the
    file open for appending.

    Parameters
    ----------
    log : Path
    largest : int
        Bytes. What was kept before goes: at most twice as much lies on the disk.
    """
    try:
        if log.stat().st_size <= largest:
            return False
        shutil.copyfile(log, log.with_name(f"{log.name}.old"))
        os.truncate(log, 0)
    except OSError:  # not there yet; or a full disk, on which it is not the log that matters
        return False
    return True


def write_private(path: Path, content: bytes) -> None:
    """Write a file for its owner's eyes only (mode 0600), in one step."""
    with atomic_path(path) as temporary:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)


def require_outside(path: Path, scans: Path) -> None:
    """Refuse to write into a folder of scans, which is read only and searched again.

    Raises
    ------
    ValueError
    """
    path, inner = path.resolve(), scans.resolve()
    if inner.is_dir() and inner in (path, *path.parents):
        raise ValueError(
            f"expected a place outside the scans' folder '{scans}', found '{path}' within it, "
            "where what is written would be taken for scans; choose another place"
        )


def require_new(folder: Path) -> None:
    """Refuse the name of a folder that exists; asked before long work, and again at its end.

    Raises
    ------
    FileExistsError
    """
    if folder.exists():
        raise FileExistsError(
            f"expected a new folder name, found that '{folder.name}' exists; "
            "choose another name or remove the old folder first"
        )


def require_own_table(path: Path, columns: Sequence[str]) -> None:
    """Refuse to replace a file that is no table with these columns, which are the command's own.

    Raises
    ------
    FileExistsError
    """
    if not path.exists():
        return
    try:
        with path.open(encoding="utf-8") as file:
            first = file.readline().rstrip("\n")
    except (OSError, UnicodeError):
        first = ""
    if first != "\t".join(columns):
        raise FileExistsError(
            f"expected a new file, or the table that this command wrote before, found another "
            f"'{path.name}'; give another --out"
        )


@contextmanager
def atomic_folder(path: str | Path) -> Iterator[Path]:
    """Yield a temporary folder; on success it becomes `path`, on failure it is removed.

    Parameters
    ----------
    path : str or Path
        Final name of the folder. It must not exist yet: a folder cannot be replaced in one
        step, so states that follow one another get names of their own (``step-00000100``).

    Raises
    ------
    FileExistsError
        If `path` exists.
    """
    path = Path(path)
    require_new(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_name(path)
    with room_for(path):
        temporary.mkdir()
    try:
        with room_for(path):
            yield temporary
            for file in temporary.rglob("*"):
                sync(file)
            sync(temporary)
        os.rename(temporary, path)
        sync(path.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
