"""Numbers of a reply beside its arrays: within which ranges and with how many digits they are told.

A number with all its digits, or without bounds, can carry anything; three digits say what a study
needs to know of a loss.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from brainjepa_core.evaluation.scores.site_metrics import rounded

LARGEST_LOSS = 1e6
RANGES = {
    "loss": (0.0, LARGEST_LOSS),
    "loss_last": (0.0, LARGEST_LOSS),
    "seconds": (0.0, 1e9),
    "spread_people": (0.0, 1e6),
    "spread_positions": (0.0, 1e6),
    "position_share": (-1.0, 1.0),
    "rank_tokens": (0.0, 1e6),
    "rank_people": (0.0, 1e6),
    "drift": (0.0, 90.0),
}
LOWEST_R2 = -1.0  # of a site's own probes; what is worse than that is as bad


def told_numbers(values: Mapping[str, float]) -> dict[str, float]:
    """Numbers by name as they leave a site: within `RANGES`, three digits; no NaN or infinity."""
    return {
        name: rounded(min(max(value, RANGES[name][0]), RANGES[name][1]))
        for name, value in values.items()
        if math.isfinite(value)
    }


def told_r2(value: float) -> float:
    """R2 of a site's own probes as it leaves the site."""
    return rounded(min(max(value, LOWEST_R2), 1.0))
