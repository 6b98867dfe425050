"""docs/learning.md, written from the cells of `scaling.py` and from figures measured elsewhere."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from statistics import mean
from typing import Any

Cell = dict[str, Any]

ELSEWHERE = Path(__file__).resolve().parent / "measured_elsewhere.json"
NOT_YET = "not measured yet"
HEAD = """# What learning makes of people, steps and choices

Written by `python benchmarks/learning/scaling.py`; do not edit it by hand. What one window of 128 s
tells of the other half of the same scan, at hospitals that nothing was learned from
([the other half](evaluation.md#the-other-half)): R², its ratio to that of the window's own
connectivity, and the difference from it with a 95 % interval over people, paired.

ABIDE I, 687 people of twelve hospitals; sets of four, drawn beforehand, are left out; {sizes}.
Directions and scales of the yardstick are always of all training people; a share of them trains.
One seed a cell; seconds are of the wall clock, on a machine with other work. Settings were not
chosen by these cells: they are those of `site_configs/study_abide.yaml` but for the batch. A cell
that says *{lacking}* is made by the same command, which goes on where it was stopped. At 3 and 10
times the steps the objective was run on an H200 (last table), at 100 times it was not.
"""
PARAGRAPHS = {
    "people": (
        "People",
        "Shares of the people at the training hospitals (a smaller share is within a larger one), "
        "300 steps.",
    ),
    "steps": ("Steps", "All training people."),
    "choices": ("Choices left out in turn", "Depth 0, set 0, 300 steps; the first row is none."),
    "federation": (
        "In federation",
        "Eight hospitals, set 0, plain steps at sites and FedAdam at the coordinator, rounds of 4 "
        "steps; pooled, and each hospital alone, beside it.",
    ),
    "teacher": (
        "A teacher that learns",
        "The target is what an exponential mean of the network sees of the rest of the person's "
        "scans, window by window (`person/ema_teacher.py`); beside it the frozen one, plain "
        "connectivity of all the rest, by the product and by that script's own loop, since one "
        "seed differs from another by some 0.005. All training people, 300 steps.",
    ),
    "objectives": (
        "Other objectives",
        "Set 0, the same encoder, people, windows and steps. Those that tell less than the "
        "window's own connectivity, whose ratio is below 1, have unlearned the person.",
    ),
}


def page(tables: dict[str, list[Cell]]) -> str:
    """The whole page.

    Parameters
    ----------
    tables : dict of str to list of dict
        Cells by table; those without ``r2`` have not been measured.
    """
    done = [cell for cells in tables.values() for cell in cells if "r2" in cell]
    sizes = f"{done[0]['rois']} regions, steps of 16 people" if done else "no cell is there"
    parts = [HEAD.format(sizes=sizes, lacking=NOT_YET)]
    bar = {cell.get("set", 0): cell["r2"] for cell in tables["bar"] if "r2" in cell}
    told = ", ".join(f"{r2:.3f} (set {number})" for number, r2 in sorted(bar.items()))
    parts.append(f"The window's own connectivity: {told or NOT_YET}.\n")
    for name, (title, text) in PARAGRAPHS.items():
        parts.append(f"## {title}\n\n{text}\n")
        parts.append(_table(_with_base(name, tables)))
    parts.append(_elsewhere())
    return "\n".join(parts)


def _with_base(name: str, tables: dict[str, list[Cell]]) -> list[Cell]:
    """A table's cells, after those that they are to be read beside."""
    whole = [
        c
        for c in tables["people"]
        if c["share"] == 1.0 and (c.get("set", 0) == 0 or name == "teacher")
    ]
    both = ("federation", "objectives", "teacher")
    kept = (0,) if name == "choices" else (0, 2) if name in both else ()
    named = "none" if name == "choices" else "pooled, " if name == "federation" else ""
    beside = [
        {**c, "choice": "none"} if named == "none" else {**c, "row": f"{named}{c['row']}"}
        for c in whole
        if int(c["row"].split()[1]) in kept
    ]
    return [*beside, *tables[name]]


def _named(cell: Cell) -> str:
    """What a row is: everything of a cell but its set."""
    parts = [cell.get("choice") or cell["row"]]
    if cell["row"].startswith(("federated", "alone", "EMA", "frozen")):
        parts.append(f"depth {cell['depth']}")
    if "share" in cell and cell["row"].startswith("depth") and "choice" not in cell:
        parts.append(f"{100 * cell['share']:g} % of the people")
    if "steps" in cell:
        parts.append(f"{cell['steps']} steps")
    return ", ".join(parts)


def _table(cells: Sequence[Cell]) -> str:
    rows: dict[str, list[Cell]] = {}
    for cell in cells:
        rows.setdefault(_named(cell), []).append(cell)
    lines = [
        "| | R² by set | ratio | above the window's own (95 %) | seconds |",
        "|---|---|---|---|---|",
    ]
    for name, found in rows.items():
        known = [cell for cell in found if "r2" in cell]
        each = [f"{cell['r2']:.3f}" if "r2" in cell else NOT_YET for cell in found]
        if not known:
            lines.append(f"| {name} | {NOT_YET} | | | |")
            continue
        gains = [f"{c['gain']:+.3f} ({c['low']:+.3f} to {c['high']:+.3f})" for c in known]
        ratio, seconds = (mean(cell[key] for cell in known) for key in ("ratio", "seconds"))
        shown = f"{', '.join(each)} | {ratio:.2f} | {'; '.join(gains)} | {seconds:.0f}"
        lines.append(f"| {name} | {shown} |")
    return "\n".join(lines) + "\n"


def _elsewhere() -> str:
    lines = [
        "## Measured elsewhere",
        "",
        "By `person_objective.py`, with the hardware that each took; kept in "
        "`benchmarks/learning/measured_elsewhere.json`.",
        "",
        "| what | hardware | people | regions | seeds | R² | beside it |",
        "|---|---|---|---|---|---|---|",
    ]
    for cell in json.loads(ELSEWHERE.read_text()):
        keys = ("what", "hardware", "people", "rois", "seeds")
        lines.append(f"| {' | '.join(str(cell[k]) for k in keys)} | {cell['r2']:.3f} | "
                     f"{cell['beside']} |")  # fmt: skip
    return "\n".join(lines) + "\n"
