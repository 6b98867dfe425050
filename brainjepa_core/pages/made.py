"""When, by what and of which version a page was made, and whom to cite."""

from __future__ import annotations

import shlex
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

from brainjepa_core.command.command_log import command_line
from brainjepa_core.version import VERSION, source_commit, versions

_BEGAN = time.monotonic()  # this file is imported where a command begins to work
SOFTWARE = f"brainjepa-federated, version {VERSION} [software]."
PAPER = (
    "Dong Z, Li R, Wu Y, Nguyen TT, Chong JSX, Ji F, Tong NR, Chen CLH, Zhou JH. Brain-JEPA: Brain "
    "Dynamics Foundation Model with Gradient Positioning and Spatiotemporal Masking. Advances in "
    "Neural Information Processing Systems, 2024. arXiv:2409.19407."
)


@dataclass(frozen=True)
class Made:
    """How a page came to be.

    Attributes
    ----------
    date : str
        To the minute, UTC.
    command : str
        As it was written, folders cut to their last name.
    versions : str
    commit : str
        Of the source; empty where it is not known.
    duration : str
        From the command's first step to the page.
    """

    date: str
    command: str
    versions: str
    commit: str
    duration: str

    @classmethod
    def now(cls) -> Self:
        """Of this process."""
        date = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
        took = duration(time.monotonic() - _BEGAN)
        return cls(date, without_folders(command_line()), versions(), source_commit(), took)


def without_folders(command: str) -> str:
    """A command whose paths are cut to their last name: pages are shown to others."""
    return shlex.join(_last_name(word) for word in shlex.split(command))


def _last_name(word: str) -> str:
    option, sign, value = word.partition("=") if word.startswith("-") else ("", "", word)
    return f"{option}{sign}{Path(value).name if '/' in value else value}"


def duration(seconds: float) -> str:
    """``45 s``, ``12 min``, ``3 h 20 min``."""
    minutes = round(seconds / 60)
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"
