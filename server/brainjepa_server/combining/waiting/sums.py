"""Sites' sums over pairs of ROIs wait on disk until all are there: one is in memory at a time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np

from brainjepa_core.sums.pairs import SumOverPairs
from brainjepa_server.combining.waiting.replies import WaitingReplies

Sum = TypeVar("Sum", bound=SumOverPairs)


class WaitingSums(WaitingReplies, Mapping[str, Sum]):
    """Checked sums of one kind by site, in order of name whatever the order they came in.

    A ``with`` block, after which nothing is on disk: 16 bytes a pair of ROIs and site within it.

    Parameters
    ----------
    kind : type
        Of the sums.
    rois : sequence of str
        That all sums are of, in order.
    folder : Path, optional
        Where they wait; the system's place by default.

    Attributes
    ----------
    people : dict of str to int
        Of each site that is not left out.
    """

    def __init__(self, kind: type[Sum], rois: Sequence[str], folder: Path | None = None) -> None:
        super().__init__(folder)
        self._kind, self._rois = kind, np.array(list(rois), np.str_)
        self.people: dict[str, int] = {}

    def take(self, site: str, one: Sum) -> None:
        """Keep a site's sum."""
        arrays = one.to_arrays()
        del arrays["rois"]  # the same of all, and packed arrays hold no text
        self._keep(site, arrays)
        self.people[site] = one.subjects

    def leave_out(self, site: str) -> None:
        """Count a site no more."""
        del self.people[site]

    def __getitem__(self, site: str) -> Sum:
        return self._kind.from_arrays({"rois": self._rois, **self._kept(site)})

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self.people))

    def __len__(self) -> int:
        return len(self.people)
