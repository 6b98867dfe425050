"""The folder of a study: its names, for those who read it too."""

from __future__ import annotations

import shutil
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


def task_report(folder: Path, task: str) -> Path:
    """Where the report of a task lies."""
    return folder / f"task-{task}.json"
