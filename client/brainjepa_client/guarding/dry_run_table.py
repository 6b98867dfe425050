"""A dry run for people (tables) and for the record (TSV)."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from itertools import groupby
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from brainjepa_client.guarding.dry_run import DryRun
from brainjepa_client.guarding.dry_run_rows import ReplyPart
from brainjepa_client.guarding.policy_lines import PolicyLine
from brainjepa_core.files import atomic_path, require_own_table

COLUMNS = ("message", "name", "what", "dtype", "shape", "bytes", "value", "policy", "floors")
LEGEND = (
    "Bytes: the buffer of an array, 8 for a number, UTF-8 for a text; names and Flower's envelope "
    "(node, run, time) come on top. Every round asks for one train and may ask for one evaluate; "
    "describe and gradients are asked for once. Values without a number here vary by round."
)

MASKED = (
    "Masked: integers under the masks of a secure sum, uniformly random to whoever has this site's "
    "answer alone; the coordinator learns their sum over the sites. The steps before and after it "
    "are keys, shares and signatures, which tell nothing of people."
)


def print_dry_run(run: DryRun, console: Console, *, summary: bool = False) -> None:
    """Print the totals, policy lines by number, and a table a message that names them.

    Parameters
    ----------
    run : DryRun
    console : Console
    summary : bool
        One row for all arrays whose names differ in numbers only (blocks, folds).
    """
    named = numbered(run.rows)
    console.print(totals_table(run))
    console.print("Policy lines, by the numbers that tables name them with:")
    for line, number in named.items():
        console.print(f"  {number}  {escape(str(line))}", soft_wrap=True)
    for message, rows in groupby(run.rows, key=lambda row: row.message):
        console.print(message_table(message, list(rows), named, summary=summary))
    for message, error in run.errors.items():
        console.print(
            f"[red]{message}[/red] failed here, which no policy asks for: {escape(error)}"
        )
    console.print(LEGEND)
    if any(row.what == "masked" for row in run.rows):
        console.print(MASKED)


def numbered(rows: Sequence[ReplyPart]) -> dict[PolicyLine, int]:
    """Policy lines that rows name, numbered from 1 in the order in which they come up."""
    lines = dict.fromkeys(line for row in rows for line in row.policy)
    return {line: number for number, line in enumerate(lines, start=1)}


def message_table(
    message: str,
    rows: Sequence[ReplyPart],
    named: Mapping[PolicyLine, int],
    *,
    summary: bool = False,
) -> Table:
    """Everything that a reply to one message holds, a row each; policy lines by number."""
    table = Table(title=message)
    table.add_column("name", overflow="fold")
    table.add_column("what")
    table.add_column("shape", overflow="fold")
    table.add_column("bytes", justify="right")
    table.add_column("value", overflow="fold", max_width=24)
    table.add_column("policy")
    for row in summarised(rows) if summary else rows:
        what = row.what if row.what == "refused" else f"{row.dtype} {row.what}"
        value = " ".join(row.value.split())
        policy = " ".join(str(named[line]) for line in row.policy)
        cells = (row.name, what, _shape(row), f"{row.bytes:,}", value, policy)
        table.add_row(*(escape(cell) for cell in cells))
    return table


def totals_table(run: DryRun) -> Table:
    """How many arrays, numbers, texts and bytes a reply to each message holds."""
    table = Table(title=f"What would leave {escape(run.site)}, by message (wire {run.wire})")
    for heading in ("message", "arrays", "numbers", "texts", "bytes"):
        table.add_column(heading, justify="left" if heading == "message" else "right")
    for message, rows in groupby(run.rows, key=lambda row: row.message):
        found = list(rows)
        kinds = (("array", "masked"), ("number",), ("text",))
        counts = [str(sum(row.what in kind for row in found)) for kind in kinds]
        if found[0].what == "refused":
            counts = ["refused", "", ""]
        table.add_row(message, *counts, f"{sum(row.bytes for row in found):,}")
    return table


def summarised(rows: Sequence[ReplyPart]) -> list[ReplyPart]:
    """One row for those of a message that differ only in the numbers within their names.

    Its name has ``*`` for a number that differs and says how many there are; its bytes are those
    of all.
    """
    groups: dict[tuple[object, ...], list[ReplyPart]] = {}
    for row in rows:
        pattern = re.sub(r"(?<=\.)\d+(?=\.)", "*", row.name)
        key = (row.message, pattern, row.what, row.dtype, row.shape, row.value, row.policy)
        groups.setdefault(key, []).append(row)
    return [
        rows[0]
        if len(rows) == 1
        else replace(rows[0], name=f"{key[1]} ({len(rows)})", bytes=sum(r.bytes for r in rows))
        for key, rows in groups.items()
    ]


def rows_as_told(run: DryRun, *, summary: bool = False) -> dict[str, Any]:
    """Every row, or those that `summarised` makes of them, for programs: policy lines as texts."""
    found = summarised(run.rows) if summary else run.rows
    rows = [{**asdict(row), "policy": [str(line) for line in row.policy]} for row in found]
    return {"site": run.site, "wire": run.wire, "rows": rows, "errors": run.errors}


def write_dry_run(run: DryRun, path: Path) -> None:
    """Write a TSV of all rows; texts are in JSON's quotes, so that a line stays a line.

    Raises
    ------
    FileExistsError
        If the file is there, and no such table.
    """
    require_own_table(path, COLUMNS)
    with (
        atomic_path(path) as temporary,
        temporary.open("w", encoding="utf-8", newline="") as file,
    ):
        writer = csv.writer(file, delimiter="\t", lineterminator="\n", quoting=csv.QUOTE_NONE,
                            quotechar=None)  # fmt: skip
        writer.writerow(COLUMNS)
        for row in run.rows:
            text = row.what in ("text", "refused") and row.value
            value = json.dumps(row.value, ensure_ascii=False) if text else row.value
            policy, *floors = [str(line) for line in row.policy] or [""]
            cells = (row.message, row.name, row.what, row.dtype, _shape(row), row.bytes, value)
            writer.writerow((*cells, policy, "; ".join(floors)))


def _shape(row: ReplyPart) -> str:
    return "" if row.shape is None else str(list(row.shape))
