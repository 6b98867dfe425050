"""Numbers of things, as they are written."""

from __future__ import annotations

_PLURALS = {"person": "people", "class": "classes", "reply": "replies", "process": "processes"}


def counted(number: int, one: str) -> str:
    """``1 scan``, ``2 scans``; ``0 people``; of several words, the first is counted.

    Parameters
    ----------
    number : int
    one : str
        What is counted, as there is one of it: ``scan``, ``person with a label``.
    """
    if number == 1:
        return f"1 {one}"
    word, blank, more = one.partition(" ")
    return f"{number} {_PLURALS.get(word, f'{word}s')}{blank}{more}"
