"""What an evaluation needs of people that no weight changes, kept on the site's disk.

A file holds outcomes and drift under a name that is a hash of all that they are a function of, so
that whatever differs (scans, phenotypes, basis, settings, code) is another name and is made anew.
It holds no id. The last few stay; a withdrawal removes them all.

Shapes: n people of the sample, R ROIs, m components of the basis, C of connectivity, Q outcomes.
"""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from brainjepa_client.computing.state import locked
from brainjepa_client.computing.stopping import require_going_on
from brainjepa_core.arrays import Arrays, Float64, load_arrays, save_arrays
from brainjepa_core.evaluation.measure import outcome_groups
from brainjepa_core.files import clear_leftovers
from brainjepa_core.gradients import ConsensusBasis, principal_angles
from brainjepa_core.origin import digest
from brainjepa_core.pretraining.site_sums.basis import connectivity_sum
from brainjepa_core.signals.storing.store import ScanStore
from brainjepa_core.signals.windows import Windows
from brainjepa_core.version import VERSION

OUTCOMES = "outcomes.kept"  # folder of the state; no study has a dot in its name
KEPT = 4  # files: studies that run side by side, and a store before and after it changed
FORMAT = 1  # raised when the same content gives other numbers
DRIFT_COMPONENTS = 10  # later gradients of one site are mostly noise
_DRIFT = "drift"  # beside the groups of outcomes, none of which has this name


@dataclass(frozen=True)
class Unchanging:
    """What of an evaluation is the same in all rounds.

    Attributes
    ----------
    outcomes : dict of str to ndarray of float64 [n, Q]
        By group, as `measure.outcome_groups` gives them.
    drift : float, optional
        Largest principal angle, in degrees, between the people's own leading gradients and the
        basis; None where they have no gradients of their own, such as for want of an ROI, or
        where nobody is told it.
    """

    outcomes: dict[str, Float64]
    drift: float | None


@dataclass(frozen=True)
class Measured:
    """Whose outcomes, along what, and whose drift from what.

    Attributes
    ----------
    sample : Windows
        n people.
    training : tuple of int
        Places among them of those outside the held-out fold: the drift's.
    components : ndarray of float64 [R, C]
    basis : ndarray of float64 [R, m]
    sparsity : float, optional
        Of the people's own gradients; None where no drift is told, as under secure sums and of
        coordinates, which are no gradients to compare.
    """

    sample: Windows
    training: tuple[int, ...]
    components: Float64
    basis: Float64
    sparsity: float | None

    @property
    def name(self) -> str:
        """SHA-256 of all that outcomes and drift are a function of."""
        people = [
            (p.store, [(r.key, r.sha256, r.tr, r.missing, r.phenotypes) for r in p.records])
            for p in self.sample.people
        ]
        arrays = [(a.shape, a.tobytes().hex()) for a in (self.components, self.basis)]
        stores = [store.fingerprint for store in self.sample.stores]  # their scales
        windows = self.sample.describe(), self.sample.atlas.fingerprint
        told = people, stores, windows, self.training, arrays, self.sparsity
        return digest([FORMAT, VERSION, np.__version__, *told])

    @property
    def is_of_today(self) -> bool:
        """Whether the stores are on disk what they were when they were opened."""
        stores = self.sample.stores
        return all(ScanStore.open(s.path).fingerprint == s.fingerprint for s in stores)

    def compute(self) -> Unchanging:
        """From the scans.

        Raises
        ------
        Refusal
            If the answer has to end.
        """
        outcomes = outcome_groups(self.sample, self.components, require_going_on)
        return Unchanging(outcomes, self._drift())

    def _drift(self) -> float | None:
        if self.sparsity is None or not self.training:
            return None
        count = min(DRIFT_COMPONENTS, self.basis.shape[1])
        summed = connectivity_sum(self.sample.only(self.training), 1, require_going_on)
        try:
            own = ConsensusBasis.from_sum(summed, count, self.sparsity)
            return float(principal_angles(own.gradients, self.basis, count).max())
        except ValueError:
            return None


def kept_outcomes(state: Path, measured: Measured) -> Unchanging:
    """Outcomes and drift, read where they are known and computed where they are not.

    Parameters
    ----------
    state : Path
        The site's state folder.
    measured : Measured

    Raises
    ------
    Refusal
        If the answer has to end.
    """
    file = state / OUTCOMES / f"{measured.name}.npz"
    try:
        found = load_arrays(file)
    except (FileNotFoundError, ValueError):  # or damaged
        made = measured.compute()
        with suppress(OSError):  # such as a full disk: it is made anew when it is needed
            _keep(file, made, measured)
        return made
    with suppress(OSError):
        os.utime(file)  # the latest used ones stay
    drift = found.pop(_DRIFT, None)
    return Unchanging(dict(found), None if drift is None else float(drift))


def forget_outcomes(state: Path) -> None:
    """Remove all that is kept, once a person's scans have left the store."""
    folder = state / OUTCOMES
    if folder.is_dir():
        with locked(folder):
            clear_leftovers(folder)
            for path in folder.glob("*.npz"):
                path.unlink()


def _keep(file: Path, made: Unchanging, measured: Measured) -> None:
    drift: Arrays = {} if made.drift is None else {_DRIFT: np.array(made.drift)}
    with locked(file.parent):
        clear_leftovers(file.parent)
        if not measured.is_of_today:  # somebody has withdrawn meanwhile, say
            return
        save_arrays(file, {**made.outcomes, **drift})
        files = sorted(file.parent.glob("*.npz"), key=lambda path: path.stat().st_mtime_ns)
        for path in files[:-KEPT]:
            path.unlink()
