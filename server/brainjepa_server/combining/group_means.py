"""The middle of several groups' mean updates: what one lying site can move lies within one group.

Shapes: n sums, which are of groups or one of all sites.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from brainjepa_core.arrays import Float64
from brainjepa_core.wire.summed_updates import SummedUpdate
from brainjepa_server.combining.aggregation import Means
from brainjepa_server.combining.robust import coordinate_median, trimmed_mean
from brainjepa_server.settings import AggregationSettings


def middle(values: Float64, settings: AggregationSettings) -> Float64:
    """Median or trimmed mean over sums [n, ...] of each coordinate; of one sum that sum's own."""
    if settings.combine == "trimmed_mean":
        return trimmed_mean(values, settings.trim)
    return coordinate_median(values)


def combined(updates: Sequence[SummedUpdate], settings: AggregationSettings) -> Means:
    """The middle of the mean updates, float64, an array after the other; they are used up."""
    first, *others = updates
    if not others:  # nothing to compare, and no room for copies of its largest array
        return {name: first.take(name) for name in first.names}
    return {
        name: middle(np.stack([one.take(name) for one in updates]), settings)
        for name in first.names
    }
