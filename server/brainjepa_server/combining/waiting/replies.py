"""Arrays of replies that wait on disk until all are there: one reply at a time is in memory."""

from __future__ import annotations

import tempfile
from pathlib import Path
from types import TracebackType
from typing import Self

from brainjepa_core.arrays import Arrays
from brainjepa_core.wire.packing import mapped_arrays, pack_arrays
from brainjepa_server.study_folder import SPOOL


class WaitingReplies:
    """Keeps arrays by site; a ``with`` block, after which nothing is on disk.

    Parameters
    ----------
    folder : Path, optional
        Where they wait; the system's place by default.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._waiting = tempfile.TemporaryDirectory(prefix=SPOOL, dir=folder)
        self._files: dict[str, Path] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        self._waiting.cleanup()

    def _keep(self, site: str, arrays: Arrays, buffer: Path | None = None) -> None:
        """Keep arrays; the file that they came in, where it is given, is taken instead."""
        path = Path(self._waiting.name) / f"{len(self._files):06d}"
        if buffer is not None:
            buffer.rename(path)
        else:
            pack_arrays(arrays).tofile(path)
        self._files[site] = path

    def _kept(self, site: str) -> Arrays:
        return mapped_arrays(self._files[site])
