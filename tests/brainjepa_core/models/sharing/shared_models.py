"""Small models in folders, as training leaves them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from brainjepa_core.models.checkpoint import Provenance, write_model
from brainjepa_core.models.consensus_file import write_consensus
from brainjepa_core.models.interface import BrainModel
from brainjepa_core.models.registry import family_named
from brainjepa_core.sums.rois import basis_hash

ROIS = tuple(f"ROI {i}" for i in range(6))
FRAMES, TR = 32, 2.0


def small_model(family: str, **choices: Any) -> BrainModel:
    found = family_named(family)
    basis = np.random.default_rng(0).standard_normal((len(ROIS), 3)).astype(np.float32)
    sizes = {"rois": len(ROIS), "frames": FRAMES, "patch": 8, "components": 3, **choices}
    return found.new(found.settings.preset("tiny", **sizes), basis, seed=0).eval()


def model_in_folder(path: Path, family: str = "brain_jepa", **choices: Any) -> BrainModel:
    model = small_model(family, **choices)
    signals = {"frames": FRAMES, "tr": TR, "temporal": "antialias", "scaling": "zscore"}
    hashed = basis_hash(ROIS, model.basis.numpy())
    write_model(path, model, Provenance(atlas="a|b", rois=ROIS, basis_hash=hashed, signals=signals))
    write_consensus(path, np.eye(len(ROIS)))
    return model
