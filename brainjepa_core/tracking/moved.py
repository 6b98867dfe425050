"""A database of MLflow whose folder was moved or copied: its artifacts are the ones beside it.

MLflow writes down where artifacts are as absolute addresses, which a folder that is moved leaves
behind.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

# Tables and columns of MLflow that hold addresses of artifacts.
ADDRESSES = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
)


def follow(database: Path, artifacts: Path) -> None:
    """Let a database's addresses begin at the folder of artifacts beside it.

    Parameters
    ----------
    database : Path
        A SQLite file of MLflow; nothing is done where there is none.
    artifacts : Path
        Where artifacts are now. Addresses that end elsewhere, as on a server, stay.
    """
    if not database.is_file():
        return
    here = artifacts.resolve().as_uri()
    with closing(sqlite3.connect(database)) as opened, opened:
        for old in _roots(opened, artifacts.name):
            if old != here:
                for table, column in ADDRESSES:
                    _move(opened, table, column, old, here)


def _roots(opened: sqlite3.Connection, name: str) -> list[str]:
    """Where experiments' artifacts are said to be, of those in a folder of this name."""
    if not _has(opened, *ADDRESSES[0]):
        return []
    rows = opened.execute("SELECT DISTINCT artifact_location FROM experiments").fetchall()
    return [at for (at,) in rows if at and at.startswith("file:") and at.endswith(f"/{name}")]


def _move(opened: sqlite3.Connection, table: str, column: str, old: str, new: str) -> None:
    if _has(opened, table, column):
        opened.execute(
            f"UPDATE {table} SET {column} = ? || substr({column}, ?) "
            f"WHERE {column} = ? OR substr({column}, 1, ?) = ?",
            (new, len(old) + 1, old, len(old) + 1, f"{old}/"),
        )


def _has(opened: sqlite3.Connection, table: str, column: str) -> bool:
    columns = opened.execute(f"PRAGMA table_info({table})").fetchall()
    return any(name == column for _, name, *_ in columns)
