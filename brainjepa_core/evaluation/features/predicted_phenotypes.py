"""What a model with heads on phenotypes tells of people: features that few labels suffice for.

A new phenotype is told from the outputs on many others (meta-matching's stacking, He et al., Nature
Neuroscience 2022).

Shapes: n people of the windows, Q phenotypes.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from brainjepa_core.arrays import Float32
from brainjepa_core.evaluation.yardstick import ScanWindows
from brainjepa_core.models.interface import BrainModel
from brainjepa_core.models.tokens import token_validity


@torch.no_grad()
def predicted_phenotypes(model: BrainModel, windows: ScanWindows) -> Float32:
    """Outputs of everybody [n, Q], each the mean over their windows.

    Parameters
    ----------
    model : BrainModel
        Of a family with `learned_phenotypes`, whose ``outputs(x, token_valid)`` are these.
    windows : ScanWindows
    """
    heads: Any = model
    device = model.basis.device
    rows = []
    for person in range(windows.subjects):
        x, frames, rois = windows.full_windows(person)
        found = token_validity(frames, rois, model.settings.patch)
        valid = None if found is None else torch.from_numpy(found).to(device)
        outputs = heads.outputs(torch.from_numpy(x).to(device), valid)
        rows.append(outputs.double().mean(0).cpu().numpy())
    return np.stack(rows).astype(np.float32)
