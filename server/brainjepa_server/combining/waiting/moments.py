"""Sites' moments of a task wait on disk until all are there: those of one are in memory at a time.

Shapes: F folds, P features.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from brainjepa_core.sums.moments import Moments
from brainjepa_core.sums.protocol import stacked
from brainjepa_server.combining.magnitudes import Magnitude
from brainjepa_server.combining.waiting.replies import WaitingReplies


class WaitingMoments(WaitingReplies, Mapping[str, list[Moments]]):
    """Checked moments of F folds by site, in order of name whatever the order they came in.

    A ``with`` block, after which nothing is on disk: 8 F P**2 bytes a site within it.

    Parameters
    ----------
    folder : Path, optional
        Where they wait; the system's place by default.

    Attributes
    ----------
    magnitudes : dict of str to Magnitude
        Of each site that is not left out.
    """

    def __init__(self, folder: Path | None = None) -> None:
        super().__init__(folder)
        self.magnitudes: dict[str, Magnitude] = {}

    def take(self, site: str, folds: list[Moments]) -> None:
        """Keep a site's moments."""
        self._keep(site, stacked(folds))
        self.magnitudes[site] = Magnitude.of(folds)

    def leave_out(self, site: str) -> None:
        """Count a site no more."""
        del self.magnitudes[site]

    def __getitem__(self, site: str) -> list[Moments]:
        kept = self._kept(site)
        people = [int(n) for n in kept.pop("n")]
        return [
            Moments(n, **{name: array[k] for name, array in kept.items()})
            for k, n in enumerate(people)
        ]

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self.magnitudes))

    def __len__(self) -> int:
        return len(self.magnitudes)
