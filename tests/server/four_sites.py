"""Four honest sites' connectivity, and the consensus of what they and a liar send."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from scipy.linalg import subspace_angles

from brainjepa_core.gradients import ConnectivitySum
from brainjepa_core.pretraining.settings import BasisSettings
from brainjepa_core.pretraining.site_sums.basis import connectivity_sum
from brainjepa_core.signals.storing.store import ScanStore
from brainjepa_core.signals.windows import Windows
from brainjepa_core.wire.messages import Reply
from brainjepa_server.combining.consensus import Consensus, build_consensus
from brainjepa_server.combining.validation import Counts
from brainjepa_server.settings import FloorSettings
from brainjepa_simulations.cohort.cohort import CohortSettings
from brainjepa_simulations.cohort.stores import write_cohort

BASIS = BasisSettings(components=6, sparsity=0.9)  # fewer would end between two that are alike
FLOORS = FloorSettings(sites=2, subjects_per_site=5, subjects=20)
PEOPLE, LIAR = 20, "site-04"


def four_sites(folder: Path) -> dict[str, ConnectivitySum]:
    """Four sites of a synthetic cohort whose scanners differ as real ones do."""
    cohort = CohortSettings(
        sites=4, subjects_per_site=PEOPLE, rois=48, networks=6, frames=160, missing_rois=2
    )
    paths = write_cohort(cohort, folder)
    return {p.name: connectivity_sum(Windows([ScanStore.open(p)])) for p in paths}


def reply_of(one: ConnectivitySum) -> Reply:
    return Reply({"subjects": one.subjects}, {"z_sum": one.z_sum, "pair_count": one.pair_count})


def consensus(honest, replies=None, told=PEOPLE) -> Consensus:
    replies = {name: reply_of(one) for name, one in honest.items()} | (replies or {})
    counts = dict.fromkeys(honest, Counts(PEOPLE, PEOPLE)) | {LIAR: Counts(told, told)}
    rois = next(iter(honest.values())).rois
    return build_consensus(replies.items(), rois, FLOORS, BASIS, counts)


def likeness(one: Consensus, other: Consensus) -> float:
    """The lesser of two: correlation of connectivity, and mean cosine of the bases' angles."""
    pairs = np.triu_indices(len(one.mean_fc), 1)
    r = np.corrcoef(one.mean_fc[pairs], other.mean_fc[pairs])[0, 1]
    angles = subspace_angles(one.basis.gradients, other.basis.gradients)
    return float(min(r, np.cos(angles).mean()))


def sent(z_mean: np.ndarray, people: int = PEOPLE) -> Reply:
    """Sums of so many people of this mean Fisher z [P]."""
    count = np.full(z_mean.shape, people, np.int64)
    return Reply({"subjects": people}, {"z_sum": np.asarray(z_mean * people), "pair_count": count})
