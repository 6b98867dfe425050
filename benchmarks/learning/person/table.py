"""The table of `person_objective.py`: R2 of each row by set of hospitals, gains, intervals."""

from __future__ import annotations

from collections import defaultdict
from itertools import chain
from typing import Any

import numpy as np
from paired import Paired, mean_over_seeds, paired

from brainjepa_core.evaluation.other_half import OtherHalf

OWN = "window's own connectivity"
FEDERATED, POOLED, ALONE = "federated", "pooled", "alone"

Job = dict[str, Any]


def interval(rows: list[Job], base: list[Job]) -> Paired:
    """R2 of a row, and how far it is from another's; people of all sets are drawn together."""
    sets = sorted({row["set"] for row in rows} & {row["set"] for row in base})

    def joined(found: list[Job]) -> OtherHalf:
        each = [mean_over_seeds([row for row in found if row["set"] == s]) for s in sets]
        errors, totals = ([getattr(one, what) for one in each] for what in ("errors", "totals"))
        return OtherHalf(np.concatenate(errors), np.concatenate(totals))

    return paired(joined(rows), joined(base))


def table(results: list[Job], inner: bool) -> str:
    """Markdown: a row a read-out, its R2 by set, and its gain over the window's own."""
    by_row: dict[str, list[Job]] = defaultdict(list)
    for row in results:
        name = row["row"]
        if name in (POOLED, FEDERATED) or name.startswith(ALONE):
            name = f"{name.split()[0]}, depth {row['depth']}"
        by_row[name].append(row)
    sets = sorted({row["set"] for row in results})
    lines = [
        "| row | " + " | ".join(f"set {s}" for s in sets) + " | all | x own (least) | "
        "above own | above depth 0 | s |",
        "|---" * (len(sets) + 6) + "|",
    ]
    for name, rows in by_row.items():
        each = [[r["r2"] for r in rows if r["set"] == s] for s in sets]
        cells = [f"{np.mean(e):.3f}" if e else "" for e in each]
        if inner:
            cells += [f"{np.mean(list(chain(*each))):.4f}", "", "", ""]
        else:
            cells += _gains(rows, by_row)
        seconds = np.mean([r["seconds"] for r in rows])
        lines.append(f"| {name} | {' | '.join(cells)} | {seconds:.0f} |")
    return "\n".join(lines)


def _gains(rows: list[Job], by_row: dict[str, list[Job]]) -> list[str]:
    """Cells of a row: R2 of all, ratio to the window's own, and differences with intervals."""
    if OWN not in by_row or len({len(r["errors"]) for r in rows if r["set"] == rows[0]["set"]}) > 1:
        return ["", "", "", ""]
    r2, ratio, least, gain, low, high = interval(rows, by_row[OWN])
    cells = [f"{r2:.4f}", f"{ratio:.3f} ({least:.3f})", f"{gain:+.4f} [{low:+.4f}, {high:+.4f}]"]
    if "depth 0" not in by_row:
        return [*cells, ""]
    *_, gain, low, high = interval(rows, by_row["depth 0"])
    return [*cells, f"{gain:+.4f} [{low:+.4f}, {high:+.4f}]"]
