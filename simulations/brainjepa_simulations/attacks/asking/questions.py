"""Questions about a column: how many people are at most so old, for every age; and guesses judged.

A count of people needs no floor that one person more or less does not cross; and the absolute error
of a probe that says one number of everybody has a kink at each person's value.

Shapes: n people, J probes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np

from brainjepa_core.arrays import Arrays, Float64
from brainjepa_core.evaluation.tasks.settings import Rule, TaskSettings
from brainjepa_core.wire.messages import EVALUATE, Assignment, ProbeRequest, Reply
from brainjepa_simulations.attacks.asking.insisting import Ask, insist


def values_by_counting(
    ask: Ask, study: Assignment, arrays: Arrays, column: str, grid: Sequence[float], pool: str
) -> list[float]:
    """Values of a column, each to a step of the grid, from counts of two growing groups.

    Parameters
    ----------
    ask : callable
    study : Assignment
    arrays : dict of str to ndarray
        Of an evaluate request.
    column : str
    grid : sequence of float
        Ascending, from below the lowest value to above the highest.
    pool : str
        Of the model; anything.
    """

    def counted(value: float, bound: str) -> int | None:
        rule = Rule(column=column, **{bound: value})
        task = TaskSettings(name="t", column=column, kind="regression", include=(rule,))
        probe = ProbeRequest(want="sums", task=task, pools=(pool,))
        reply = insist(ask, EVALUATE, study, arrays, probe=probe)
        return None if reply.refusal else int(reply.metrics["people"])

    oldest = _steps(lambda value: counted(value, "most"), grid)
    youngest = _steps(lambda value: counted(value, "least"), grid)
    everybody = counted(grid[-1], "most") or 0
    twice = max(len(oldest) + len(youngest) - everybody, 0)  # in the middle
    return youngest + oldest[twice:]


def _steps(counted: Callable[[float], int | None], grid: Sequence[float]) -> list[float]:
    """The middle of each step of the grid at which the count changes, once a person."""
    counts = [counted(value) for value in grid]
    found = []
    for i, (before, after) in enumerate(pairwise(counts)):
        if before is not None and after is not None:
            found += [(grid[i] + grid[i + 1]) / 2] * abs(after - before)
    return found


def values_by_judging(
    ask: Ask,
    study: Assignment,
    arrays: Arrays,
    probe: ProbeRequest,
    features: int,
    people: int,
    grid: Sequence[float],
    at_once: int = 4,
) -> list[float]:
    """Values of a task's column, each to two steps of the grid, from errors of constant guesses.

    Parameters
    ----------
    ask : callable
    study : Assignment
    arrays : dict of str to ndarray
        Of an evaluate request.
    probe : ProbeRequest
        Wants one pool judged; of a number.
    features : int
        Of the pool.
    people : int
        Of the task, as sites tell.
    grid : sequence of float
        Evenly spaced guesses.
    at_once : int
        How many a question may have judged.
    """
    (pool,) = probe.pools
    errors: dict[float, float] = {}
    for i in range(0, len(grid), at_once):
        guesses = np.asarray(grid[i : i + at_once], np.float64)
        sent = {
            **arrays,
            f"probe.{pool}.weights": np.zeros((len(guesses), 1, features, 1)),
            f"probe.{pool}.intercept": guesses[:, None, None],
        }
        reply = insist(ask, EVALUATE, study, sent, probe=probe)
        errors |= _errors(reply, pool, guesses)
    return _kinks(errors, grid, people)


def _errors(reply: Reply, pool: str, guesses: Float64) -> dict[float, float]:
    told = {guess: reply.metrics.get(f"{pool}.{j}.mae") for j, guess in enumerate(guesses.tolist())}
    return {guess: float(error) for guess, error in told.items() if error is not None}


def _kinks(errors: dict[float, float], grid: Sequence[float], people: int) -> list[float]:
    """Guesses around which the error bends, once for each person that bends it.

    The bend at a guess, over steps of h, is ``2 h / n`` for each person at it.
    """
    found: list[float] = []
    for before, here, after in zip(grid, grid[1:], grid[2:], strict=False):
        if {before, here, after} <= errors.keys():
            bend = errors[before] - 2 * errors[here] + errors[after]
            found += [here] * round(bend * people / (2 * (here - before)))
    return found
