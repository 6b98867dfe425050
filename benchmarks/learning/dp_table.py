"""The table of `dp_utility.py`: what a private training gained, and how sure that is."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from paired import mean_over_seeds, paired

Result = dict[str, Any]


def interval(results: list[Result]) -> tuple[float, float, float, float]:
    """R2 at the start, what it gained, and its 95 % interval over people."""
    start, trained = (
        mean_over_seeds([r[which] for r in results]) for which in ("start", "trained")
    )
    told = paired(trained, start)
    return start.r2, told.gain, told.low, told.high


def table(results: list[Result]) -> Iterator[str]:
    """Markdown: gains in R2 over the model that all began with, a row a kind of training."""
    cells: dict[tuple[Any, ...], dict[float, list[Result]]] = {}
    for result in results:
        job = result["job"]
        place = tuple(job[name] for name in ("data", "rois", "times", "where", "train"))
        row = (*place, result["parameters"])
        cells.setdefault(row, {}).setdefault(job["epsilon"], []).append(result)
    columns = sorted({epsilon for row in cells.values() for epsilon in row}, reverse=True)
    yield f"| people | noise | trained | seeds | start | {' | '.join(f'{e:g}' for e in columns)} |"
    yield "|---" * (5 + len(columns)) + "|"
    for (data, rois, times, where, train, parameters), found in cells.items():
        told = {epsilon: interval(same) for epsilon, same in found.items()}
        start = next(iter(told.values()))[0]
        counts = {len(same) for same in found.values()}
        seeds = sorted({min(counts), max(counts)})
        gains = " | ".join(
            f"{told[e][1]:+.3f} ({told[e][2]:+.3f} to {told[e][3]:+.3f})" if e in told else ""
            for e in columns
        )
        yield (
            f"| {data}, {rois} ROIs, x {times} | {where} | {train} ({parameters:,}) | "
            f"{' to '.join(map(str, seeds))} | {start:.3f} | {gains} |"
        )
