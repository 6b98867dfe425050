"""The consensus connectivity beside a model's weights: what log-connectivity is seen from.

It is the mean over all people of a consortium that the basis is of, and it is not averaged, trained
or asked for again.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from brainjepa_core.arrays import Float64
from brainjepa_core.files import atomic_path
from brainjepa_core.problems import plainly

CONSENSUS = "consensus.safetensors"
NAME = "connectivity"


def write_consensus(folder: str | Path, connectivity: Float64) -> None:
    """Write the mean connectivity [R, R] into a model's folder."""
    with atomic_path(Path(folder) / CONSENSUS) as temporary:
        save_file({NAME: torch.from_numpy(np.ascontiguousarray(connectivity))}, temporary)


def read_consensus(folder: str | Path, rois: int) -> Float64 | None:
    """The mean connectivity [R, R] in a model's folder; None where it holds none.

    Raises
    ------
    ValueError
        If the file is damaged, or of another number of ROIs.
    """
    path = Path(folder) / CONSENSUS
    if not path.exists():
        return None
    try:
        found: Float64 = load_file(path)[NAME].numpy().astype(np.float64)
    except (OSError, KeyError, SafetensorError) as error:
        raise ValueError(
            f"expected the consensus connectivity in {CONSENSUS}, found {plainly(error)}; copy the "
            "model folder again"
        ) from error
    if found.shape != (rois, rois) or not np.isfinite(found).all():
        raise ValueError(
            f"expected a finite consensus connectivity of {rois} ROIs in {CONSENSUS}, found shape "
            f"{list(found.shape)}; copy the model folder again"
        )
    return found
