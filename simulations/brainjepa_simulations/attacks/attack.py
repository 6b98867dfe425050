"""What every attack has: a name, what it tries, and rows of what it found."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from brainjepa_simulations.attacks.scene import Scene

NONE, CONTRACT, SECURE_SUM, DP = "none", "contract", "secure sum", "dp"
CLIPPED_MEAN = "clipped mean"
"""Protections, as rows name them; the clipped mean is the default combination of replies."""


@dataclass(frozen=True)
class Row:
    """What an attack found.

    Attributes
    ----------
    what : str
        Is counted or measured.
    protection : str
        That was in its way.
    found : float
    at_most : float, optional
        What it may find with this protection. Without one the row is for comparison.
    """

    what: str
    protection: str
    found: float
    at_most: float | None = None

    @property
    def held(self) -> bool:
        """Whether the protection kept what it promises."""
        return self.at_most is None or self.found <= self.at_most


@dataclass(frozen=True)
class Attack:
    """An attack of the bench.

    Attributes
    ----------
    name : str
    tries : str
        What it tries, in a sentence.
    found : callable
        Takes a `Scene`, gives its rows.
    """

    name: str
    tries: str
    found: Callable[[Scene], Iterable[Row]]
