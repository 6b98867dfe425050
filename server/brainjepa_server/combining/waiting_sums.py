"""Sites' sums of connectivity wait on disk until all are there: one is in memory at a time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from brainjepa_core.gradients import ConnectivitySum
from brainjepa_server.combining.waiting_replies import WaitingReplies


class WaitingSums(WaitingReplies, Mapping[str, ConnectivitySum]):
    """Checked sums by site, in order of name whatever the order they came in.

    A ``with`` block, after which nothing is on disk: 16 bytes a pair of ROIs and site within it.

    Parameters
    ----------
    rois : sequence of str
        That all sums are of, in order.
    folder : Path, optional
        Where they wait; the system's place by default.

    Attributes
    ----------
    people : dict of str to int
        Of each site that is not left out.
    """

    def __init__(self, rois: Sequence[str], folder: Path | None = None) -> None:
        super().__init__(folder)
        self._rois = np.array(list(rois), np.str_)
        self.people: dict[str, int] = {}

    def take(self, site: str, one: ConnectivitySum) -> None:
        """Keep a site's sum."""
        arrays = one.to_arrays()
        del arrays["rois"]  # the same of all, and packed arrays hold no text
        self._keep(site, arrays)
        self.people[site] = one.subjects

    def leave_out(self, site: str) -> None:
        """Count a site no more."""
        del self.people[site]

    def __getitem__(self, site: str) -> ConnectivitySum:
        return ConnectivitySum.from_arrays({"rois": self._rois, **self._kept(site)})

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self.people))

    def __len__(self) -> int:
        return len(self.people)
