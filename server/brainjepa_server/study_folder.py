"""The folder of a study: its names, for those who read it too, and its one coordinator."""

from __future__ import annotations

import fcntl
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from brainjepa_core.files import clear_leftovers

STUDY_FILE = "study.yaml"
BASIS_FILE, SUM_FILE = "basis.npz", "connectivity_sum.npz"
COSKEWNESS_FILE = "coskewness_sum.npz"  # of a study that asks for it
FINAL, BEST = "final", "best"
DAY_ONE = "day-one"  # the model before any training
LOCK = ".lock"
SUMS = "secure_sums"
SPOOL = ".replies-"  # start of the names of folders where replies wait


def clear_study(folder: Path) -> None:
    """Remove what a kill left: files half written, and replies of a round that did not end."""
    clear_leftovers(folder)
    for path in folder.glob(f"{SPOOL}*"):
        shutil.rmtree(path)


@contextmanager
def only_one(path: Path) -> Iterator[None]:
    """Hold a lock that the system frees when the process ends, however it ends.

    Raises
    ------
    ValueError
        If another process holds it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise ValueError(
                "expected to be the only coordinator of this folder, found another at work in it; "
                "wait for it, or stop it"
            ) from error
        yield


def task_report(folder: Path, task: str) -> Path:
    """Where the report of a task lies."""
    return folder / f"task-{task}.json"
