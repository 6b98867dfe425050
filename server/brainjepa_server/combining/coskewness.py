"""Sites' sums of co-skewness: as they are sent, and judged beside one another.

Signals are z-scored, so that third moments are of one size wherever they are measured: in the
twelve sites of ABIDE their root mean square is 0.79 to 1.28 times the sites' median. A site that
sends what is possible, and a hundred times as large, would make its own directions everybody's.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from brainjepa_core.arrays import Arrays, Float64
from brainjepa_core.evaluation.readout.log_connectivity import components_of
from brainjepa_core.problems import plainly
from brainjepa_core.sums.coskewness import CoskewnessSum
from brainjepa_core.wire.messages import OF_COSKEWNESS
from brainjepa_server.combining.limits import FEWEST_JUDGED
from brainjepa_server.study_folder import COSKEWNESS_FILE

PARTS = ("products", "pair_count")
SENT = tuple(OF_COSKEWNESS + name for name in PARTS)  # arrays of a reply
LOUDEST = 5.0  # root mean square of third moments, in medians of the sites


@dataclass(frozen=True, eq=False)
class SummedCoskewness:
    """The sum over the sites of a consensus.

    Attributes
    ----------
    total : CoskewnessSum
    left_out : dict of str to str
        Why sites that count in the consensus do not count here.
    """

    total: CoskewnessSum
    left_out: dict[str, str]


def sent_coskewness(arrays: Mapping[str, Any], shared: Arrays) -> CoskewnessSum:
    """The sum that arrays `SENT` are, with the `rois` and `subjects` that are known beside them.

    Raises
    ------
    ValueError
        If no people's data have it.
    """
    own = {name: arrays[OF_COSKEWNESS + name] for name in PARTS}
    return CoskewnessSum.from_arrays({**shared, **own})


def directions_of(folder: Path) -> Float64:
    """The directions [R, m] that keep most of the co-skewness of a study's sites.

    Parameters
    ----------
    folder : Path
        Of a study that asked for it.

    Raises
    ------
    ValueError
        If its sum is missing, damaged, or without an ROI.
    """
    try:
        total = CoskewnessSum.load(folder / COSKEWNESS_FILE)
    except (OSError, ValueError) as error:
        raise ValueError(
            f"expected the sum of the sites' co-skewness in {COSKEWNESS_FILE}, found "
            f"{plainly(error)}; put the study's own file back, or start in a new folder"
        ) from error
    return total.directions(components_of(len(total.rois)))


def loudness(one: CoskewnessSum) -> float:
    """Root mean square of people's third moments; 0 of nobody."""
    rows, columns = np.triu_indices(len(one.rois))
    own = rows == columns
    people = int(one.pair_count[own].sum())
    return math.sqrt(float(one.products[own].sum()) / people) if people else 0.0


def loud_ones(sites: Mapping[str, float]) -> dict[str, str]:
    """Sites whose third moments are far larger than those of the others, and why that is told.

    Of one or two sites nobody can tell which one is; nor where most have none but 0.

    Parameters
    ----------
    sites : mapping of str to float
        `loudness` by site.
    """
    if len(sites) < FEWEST_JUDGED:
        return {}
    most = LOUDEST * median(sites.values())
    return {
        site: f"expected third moments of a root mean square of at most {LOUDEST:g} times the "
        f"sites' median, found {LOUDEST * found / most:.3g} times; look at how its scans were "
        "cleaned"
        for site, found in sorted(sites.items())
        if 0 < most < found
    }
