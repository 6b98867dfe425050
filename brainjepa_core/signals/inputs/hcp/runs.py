"""Names in an HCP-style folder: whose visit it is, and which runs are joined from others.

Multi-run FIX writes ``rfMRI_REST`` (all resting runs, one after the other) beside
``rfMRI_REST1_AP`` and its siblings; with other groups of runs the joined one is called
``rfMRI_REST1_RL_LR``, ``rfMRI_REST_7T`` or ``fMRI_CONCAT_ALL``. Its frames are theirs.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

DIRECTIONS = frozenset({"lr", "rl", "ap", "pa", "is", "si"})  # of phase encoding
EVERYTHING = "concat"
_SCANNER = re.compile(r"\d+(?:\.\d+)?t")
_WORD = re.compile(r"(.*?)(\d+[a-z]?)?")


@dataclass(frozen=True)
class _RunName:
    """What a run's name tells, in small letters.

    Attributes
    ----------
    kinds : frozenset of str
        ``rfmri``, ``tfmri``.
    words : mapping of str to set of str
        ``rest`` or a task, each with its numbers.
    directions, scanners : frozenset of str
    """

    kinds: frozenset[str]
    words: Mapping[str, set[str]]
    directions: frozenset[str]
    scanners: frozenset[str]

    @classmethod
    def of(cls, name: str) -> _RunName:
        tokens = re.split(r"[_@%]", name.lower())
        kinds = frozenset(token for token in tokens if token.endswith("fmri"))
        directions = frozenset(tokens) & DIRECTIONS
        scanners = frozenset(token for token in tokens if _SCANNER.fullmatch(token))
        words: dict[str, set[str]] = defaultdict(set)
        for token in tokens:
            if token not in kinds | directions | scanners:
                word, number = _WORD.fullmatch(token).groups()  # type: ignore[union-attr]
                words[word] |= {number} if number else set()
        return cls(kinds, words, directions, scanners)

    def holds(self, part: _RunName) -> bool:
        """Whether a run of this name has the frames of one of that name."""
        if self == part or self.scanners != part.scanners:
            return False
        if EVERYTHING in self.words:
            return EVERYTHING not in part.words and (
                self.kinds >= part.kinds or "fmri" in self.kinds
            )
        return (
            self.kinds >= part.kinds
            and self.words.keys() >= part.words.keys()
            and all(_holds(self.words[word], numbers) for word, numbers in part.words.items())
            and _holds(self.directions, part.directions)
        )


def joined_runs(names: Iterable[str]) -> dict[str, list[str]]:
    """Runs that are joined from others, each with those.

    Parameters
    ----------
    names : iterable of str
        Of the runs of one visit.
    """
    read = {name: _RunName.of(name) for name in names}
    parts = {
        name: [other for other in read if whole.holds(read[other])] for name, whole in read.items()
    }
    return {name: others for name, others in parts.items() if others}


def is_of_rest_and_task(name: str) -> bool:
    """Whether a run's name says that frames of tasks are among those of rest."""
    return _RunName.of(name).kinds >= {"rfmri", "tfmri"}


def _holds(whole: Iterable[str], part: Iterable[str]) -> bool:
    """Whether what a name does not limit, or limits to more, has a part: 1 has 1a."""
    told = set(whole)
    return not told or (
        bool(set(part)) and all(one in told or one.rstrip("abcdefgh") in told for one in part)
    )
