"""A model of a few hundred weights, pretrained on series in memory."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from brainjepa_core.evaluation.embedder import Embedder, pretrain

ROIS, FRAMES, TR = 12, 40, 2.0
SETTINGS = {
    "model": {
        "width": 8, "depth": 1, "heads": 2, "patch": 4,
        "predictor_width": 8, "predictor_depth": 1, "predictor_heads": 2,
    },
    "windows": {"frames": 16},
    "basis": {"components": 3, "sparsity": 0.2},
    "training": {"batch_size": 4, "schedule": {"total_steps": 3, "warmup_steps": 1}},
}  # fmt: skip


def made_series(people: int = 6, frames: int = FRAMES, seed: int = 0) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    mixing = rng.standard_normal((ROIS, 3))
    return [
        mixing @ rng.standard_normal((3, frames)) + rng.standard_normal((ROIS, frames))
        for _ in range(people)
    ]


def small_model(folder: Path) -> Embedder:
    return pretrain(made_series(), folder, SETTINGS, tr=TR, progress=False)
