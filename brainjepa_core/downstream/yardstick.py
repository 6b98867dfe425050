"""A yardstick that compares models: what of a person can be read from their pooled embedding?

The JEPA loss is measured against each model's own target and falls to zero in a collapse. Ridge
probes of held-out people do not: outcomes are fixed before training, and random weights under
the same pool are the zero of the scale.

Shapes: n people, R ROIs, F frames, C components, T frames of a window.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from brainjepa_core.model.jepa import BrainJEPA
from brainjepa_core.model.tokens import token_validity

Array = NDArray[np.float64]


class ScanWindows(Protocol):
    """What embedding asks of data; `brainjepa_core.signals.windows.Windows` is one."""

    @property
    def subjects(self) -> int:
        """Number of people."""

    def full_windows(
        self, subject: int
    ) -> tuple[NDArray[np.float32], NDArray[np.bool_], NDArray[np.bool_]]:
        """All windows of a person: [n, R, T], valid frames [n, T], valid ROIs [n, R]."""


def connectivity_components(mean_fc: ArrayLike, components: int = 20) -> Array:
    """Leading eigenvectors [R, C] of a consensus connectivity, fixed before training.

    They need nothing but the summed connectivity, so no person's matrix leaves a site.
    """
    values, vectors = np.linalg.eigh(np.asarray(mean_fc, np.float64))
    return vectors[:, np.argsort(values)[::-1][:components]]


def connectivity_scores(fc: ArrayLike, components: Array) -> Array:
    """A person's connectivity along the components: ``v' FC v`` for each of C.

    Parameters
    ----------
    fc : array [R, R]
        Missing ROIs may be NaN; they count as uncorrelated.
    components : ndarray [R, C]

    Returns
    -------
    ndarray [C]
    """
    known = np.nan_to_num(np.asarray(fc, np.float64))
    return np.einsum("rc,rs,sc->c", components, known, components)


@torch.no_grad()
def embed_people(
    model: BrainJEPA,
    windows: ScanWindows,
    people: Iterable[int],
    pools: Sequence[str] = ("mean",),
    networks: NDArray[np.int64] | None = None,
) -> Array:
    """Embedding of each person: the mean over all windows of their scans.

    Returns
    -------
    ndarray [n, features]
    """
    device = next(model.parameters()).device
    labels = None if networks is None else torch.from_numpy(networks).to(device)
    rows = []
    for person in people:
        x, frame_valid, roi_valid = windows.full_windows(person)
        valid = token_validity(frame_valid, roi_valid, model.settings.patch)
        pooled = model.embed(
            torch.from_numpy(x).to(device),
            pools,
            token_valid=None if valid is None else torch.from_numpy(valid).to(device),
            networks=labels,
        )
        rows.append(pooled.double().mean(0).cpu().numpy())
    return np.stack(rows)


def within_groups(values: ArrayLike, groups: ArrayLike) -> Array:
    """Values [n, Q] less the mean of each person's group (site).

    A site's mean alone predicts age well, so a target that sites are confounded with is judged
    by what is left within them.
    """
    result = np.array(values, np.float64)
    for group in np.unique(groups):
        members = np.asarray(groups) == group
        result[members] -= result[members].mean(0)
    return result
