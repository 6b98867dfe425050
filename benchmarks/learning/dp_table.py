"""The table of `dp_utility.py`: what a private training gained, and how sure that is."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainjepa_core.arrays import Float64
from brainjepa_core.evaluation.other_half import OtherHalf

DRAWS = 2000
Result = dict[str, Any]


def interval(results: list[Result]) -> tuple[float, float, float, float]:
    """R2 at the start, what it gained, and its 95 % interval over people.

    Errors of a person are the mean over seeds.
    """

    def people(which: str) -> OtherHalf:
        errors, totals = (
            np.mean([r[which][name] for r in results], axis=0) for name in ("errors", "totals")
        )
        return OtherHalf(errors, totals)

    start, trained = people("start"), people("trained")
    rng = np.random.default_rng(0)
    drawn = rng.integers(len(start.errors), size=(DRAWS, len(start.errors)))
    before, after = (1 - _sum(p.errors, drawn) / _sum(p.totals, drawn) for p in (start, trained))
    low, high = np.quantile(after - before, (0.025, 0.975))
    return start.r2, trained.r2 - start.r2, float(low), float(high)


def _sum(values: Float64, drawn: NDArray[np.int64]) -> Float64:
    found: Float64 = values[drawn].sum(1)
    return found


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
        seeds = sorted({len(same) for same in found.values()})
        gains = " | ".join(
            f"{told[e][1]:+.3f} ({told[e][2]:+.3f} to {told[e][3]:+.3f})" if e in told else ""
            for e in columns
        )
        yield (
            f"| {data}, {rois} ROIs, x {times} | {where} | {train} ({parameters:,}) | "
            f"{' to '.join(map(str, seeds))} | {start:.3f} | {gains} |"
        )
