"""From some people to others, and back: who trains and who is tested in each direction."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from brainjepa_core.evaluation.tasks.across import AcrossHospitals
from brainjepa_core.signals.windows import Windows
from brainjepa_simulations.paper_studies.models import Name, names_of

SITE = "site"


@dataclass(frozen=True, eq=False)
class Direction:
    """One way of a transfer.

    Attributes
    ----------
    name : str
        Whom it goes to, or from whom to whom.
    across : AcrossHospitals
    training : tuple of (str, str)
        Site and subject of those who train.
    """

    name: str
    across: AcrossHospitals
    training: tuple[Name, ...]


def directions(windows: Windows, column: str) -> list[Direction]:
    """All directions of a transfer.

    Parameters
    ----------
    windows : Windows
        Of everybody.
    column : str
        ``site`` makes two halves of the sites, of about as many people each, and goes both ways.
        Of a phenotype, each value's people are told by all others; whoever has none is left out.

    Raises
    ------
    ValueError
        If there is one side only.
    """
    told = _sides(windows) if column == SITE else _values(windows, column)
    sides = sorted({side for side in told if side})
    if len(sides) < 2:
        raise ValueError(
            f"expected people of at least two values of '{column}' to go from some to others, "
            f"found {len(sides)}; name data that have them, or another column in sides"
        )
    people, known = names_of(windows), np.array([bool(side) for side in told])
    left = int((~known).sum())
    notes = (f"{left} left out: no {column}",) if left else ()
    windows = windows.only(np.flatnonzero(known).tolist())
    sided = np.array([side for side in told if side])
    names = [name for name, there in zip(people, known, strict=True) if there]
    found = []
    for side in sides:
        tested = sided == side
        training = tuple(name for name, test in zip(names, tested, strict=True) if not test)
        others = [other for other in sides if other != side]
        across = AcrossHospitals(windows, tested, notes)
        found.append(Direction(f"{', '.join(others)} to {side}", across, training))
    return found


def _sides(windows: Windows) -> list[str]:
    """``first half`` and ``second half`` of the sites, the larger ones given out first."""
    sites = [site for site, _ in names_of(windows)]
    counts = {site: sites.count(site) for site in sorted(set(sites))}
    halves: dict[str, int] = {"first half": 0, "second half": 0}
    side_of = {}
    for site in sorted(counts, key=lambda site: -counts[site]):
        smaller = min(halves, key=lambda half: halves[half])
        side_of[site] = smaller
        halves[smaller] += counts[site]
    if len(counts) < 2:
        return [sites[0]] * len(sites)
    return [side_of[site] for site in sites]


def _values(windows: Windows, column: str) -> list[str]:
    return [str(person.records[0].phenotypes.get(column, "")) for person in windows.people]
