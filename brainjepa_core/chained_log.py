"""A log that only grows, of which each line vouches for the one before it.

A line is a JSON object with the SHA-256 of the line before (``previous``) and the time. Whoever
changes, removes or inserts a line has to write anew all lines after it; whoever has noted the hash
of a later line (`ChainedLog.head`), such as the other side of a message, sees that. What is cut off
at the end is seen by such a note alone.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections import deque
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import IO, Any

from brainjepa_core.files import room_for
from brainjepa_core.problems import counted

BEGIN = "0" * 64  # before the first line
TAIL = 4096  # bytes read at once from the end


class ChainedLog:
    """A log in a file; many processes may write to it, one at a time.

    Parameters
    ----------
    path : Path
        It may not exist yet.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def append(self, facts: Mapping[str, Any]) -> str:
        """Add a line; it is on disk when this returns.

        A last line that a kill has torn is cut off: what it would have told of was never done.

        Parameters
        ----------
        facts : mapping
            JSON can hold it.

        Returns
        -------
        str
            SHA-256 (hex) of the line.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with room_for(self.path), self.path.open("a+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            last = _last_line(file)
            now = datetime.now().astimezone().isoformat(timespec="seconds")
            content = {"previous": _digest(last) if last else BEGIN, "time": now, **facts}
            line = json.dumps(content, ensure_ascii=False).encode()
            file.write(line + b"\n")
            file.flush()
            os.fsync(file.fileno())
        return _digest(line)

    def lines(self) -> Iterator[dict[str, Any]]:
        """All lines, oldest first.

        Raises
        ------
        ValueError
            Naming the first line that is no longer what was written.
        """
        expected = BEGIN
        for number, line in enumerate(self._complete_lines(), start=1):
            try:
                content = dict(json.loads(line))
                previous = content["previous"]
            except (ValueError, TypeError, KeyError, RecursionError) as error:
                raise self._broken(f"damage in line {number}", number - 1) from error
            if previous != expected:
                which = f"line {number - 1} or {number}" if number > 1 else "line 1"
                raise self._broken(f"that {which} is not", max(0, number - 2))
            expected = _digest(line)
            yield content

    @property
    def head(self) -> str:
        """SHA-256 (hex) of the last line: whoever notes it vouches for all before it."""
        last = deque(self._complete_lines(), maxlen=1)
        return _digest(last[0]) if last else BEGIN

    def _complete_lines(self) -> Iterator[bytes]:
        if not self.path.exists():
            return
        with self.path.open("rb") as file:
            for line in file:
                if line.endswith(b"\n"):
                    yield line[:-1]

    def _broken(self, found: str, sound: int) -> ValueError:
        before = f"{counted(sound, 'line')} before did not change; " if sound else ""
        return ValueError(
            f"expected lines of '{self.path}' as they were written, found {found}; {before}restore "
            "the file from a backup, and ask who changed it"
        )


def _digest(line: bytes) -> str:
    return hashlib.sha256(line).hexdigest()


def _last_line(file: IO[bytes]) -> bytes:
    """The last complete line; cuts off what follows it."""
    end = file.seek(0, os.SEEK_END)
    tail, start = b"", end
    while start and tail.count(b"\n") < 2:
        start = max(0, start - TAIL)
        file.seek(start)
        tail = file.read(end - start)
    whole = tail.rfind(b"\n") + 1
    if start + whole < end:
        file.truncate(start + whole)
    return tail[:whole].rstrip(b"\n").rsplit(b"\n", 1)[-1]
