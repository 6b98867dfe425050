"""Labels of people and sessions: one spelling, and how those of two sources are joined."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable

# HCP's names of imaging sessions: HCA6002236_V1_MR, HCD0001305_V1_X1_MR, 100610_7T.
_VISIT = re.compile(
    r"(?P<person>.+?)(?:_(?P<visit>V\d+)(?:_(?P<part>[A-Z]\d?))?)?(?:_(?P<scanner>\dT))?(?:_MR\d*)?"
)

_DIGITS = re.compile(r"0*([0-9]+)(?:\.0+)?")


def person_label(text: str) -> str:
    """A person's label: without ``sub-``, accents as one character.

    Some file systems take accents apart; people are the same person on both.
    """
    return unicodedata.normalize("NFC", text.strip()).removeprefix("sub-")


def session_label(text: str) -> str:
    """A session's label: without ``ses-``, accents as one character."""
    return unicodedata.normalize("NFC", text.strip()).removeprefix("ses-")


def visit_of(label: str) -> tuple[str, str]:
    """Person and session that one of HCP's names of a visit means.

    Parameters
    ----------
    label : str
        ``HCA6002236_V1_MR``; one without a visit is a person's.

    Returns
    -------
    person, session : str
        ``HCA6002236`` and ``V1``; the session is empty where there is no visit.

    Examples
    --------
    >>> visit_of("HCA6002236_V1_MR"), visit_of("100610_7T"), visit_of("HCD0001305_MR")
    (('HCA6002236', 'V1'), ('100610', '7T'), ('HCD0001305', ''))
    """
    found = _VISIT.fullmatch(label)
    if found is None:
        return label, ""
    return found["person"], "".join(found[name] or "" for name in ("visit", "part", "scanner"))


def join_labels(ours: Iterable[str], theirs: Iterable[str]) -> dict[str, str]:
    """Which of their labels means each of ours.

    Equal labels mean the same. Tables and folders often disagree on leading zeros (``50002`` and
    ``0050002``), and a table that was read as numbers has ``50002.0``: those mean the same if just
    one label on either side has that value.

    Parameters
    ----------
    ours, theirs : iterable of str
        Without prefixes.

    Returns
    -------
    dict of str to str
        Theirs by ours; without those of ours that none of theirs means.
    """
    ours, theirs = set(ours), set(theirs)
    joined = {label: label for label in ours & theirs}
    of_value: dict[str, list[str]] = defaultdict(list)
    for label in theirs:
        of_value[_value(label)].append(label)
    count = Counter(_value(label) for label in ours)
    for label in ours - theirs:
        alike = of_value.get(_value(label), [])
        if len(alike) == 1 and count[_value(label)] == 1:
            joined[label] = alike[0]
    return joined


def _value(label: str) -> str:
    """A label of digits without its leading zeros and empty decimals; any other as it is."""
    found = _DIGITS.fullmatch(label)
    return found[1] if found else label
