"""A round that failed is tried again, a few times, before the study ends."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


class QuorumMissed(ValueError):
    """Fewer usable replies than a round needs; nothing was changed by it."""


class SumLost(QuorumMissed):
    """A secure sum that sites were asked to unmask, without an end: its round has no other one.

    The difference of two sums of a round would be one site's part. Sites may tell the same shares
    again; if they do not, the round is dropped.
    """


def tried(attempt: Callable[[], T], retries: int, again: Callable[[QuorumMissed, int], None]) -> T:
    """Make an attempt, and after it as many others as may be needed and are allowed.

    Parameters
    ----------
    attempt : callable
    retries : int
        Attempts after the first.
    again : callable
        Called between two, with what went wrong and how many are left.

    Raises
    ------
    QuorumMissed
        By the last attempt.
    """
    for left in range(retries - 1, -1, -1):
        try:
            return attempt()
        except QuorumMissed as missed:
            again(missed, left)
    return attempt()
