"""Made scans: six networks of ten ROIs, and people who couple two of them more or less."""

from __future__ import annotations

import numpy as np

ROIS, FRAMES, TR = 60, 200, 2.0
NETWORKS = np.repeat(np.arange(6), ROIS // 6)

# A model and a run as small as they can be; a real one takes the defaults.
SETTINGS = {
    "model": {
        "width": 32, "depth": 2, "heads": 2,
        "predictor_width": 32, "predictor_depth": 1, "predictor_heads": 2,
    },
    "windows": {"frames": 80},
    "basis": {"components": 10},
    "training": {"batch_size": 8, "schedule": {"total_steps": 30, "warmup_steps": 5, "lr": 0.002}},
}  # fmt: skip


def made_series(people: int, seed: int = 0) -> tuple[list[np.ndarray], np.ndarray]:
    """Series [ROIs, frames] of people, and whether each couples its first two networks."""
    rng = np.random.default_rng(seed)
    coupled = np.arange(people) % 2 == 1
    series = []
    for person in range(people):
        signals = rng.standard_normal((6, FRAMES))
        if coupled[person]:
            signals[1] = 0.8 * signals[0] + 0.6 * signals[1]
        series.append(signals[NETWORKS] + rng.standard_normal((ROIS, FRAMES)))
    return series, coupled
