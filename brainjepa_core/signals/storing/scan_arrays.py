"""The arrays of a store: a file a scan, named by its facts and its content.

Shapes: R ROIs, F frames of a scan.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

from brainjepa_core.arrays import Float32
from brainjepa_core.problems import plainly
from brainjepa_core.signals.storing.scan_table import ScanRecord

ARRAYS = "scans"  # folder of a store


def array_path(store: Path, record: ScanRecord) -> Path:
    """File of a scan's array."""
    facts = "\0".join((*record.key, record.sha256))
    return store / ARRAYS / f"{hashlib.sha256(facts.encode()).hexdigest()[:32]}.npy"


def mapped_array(store: Path, record: ScanRecord) -> Float32:
    """Memory-mapped array [R, F] of a scan, read-only.

    Raises
    ------
    ValueError
        If the array is gone or cannot be read.
    """
    try:
        found: Float32 = np.load(array_path(store, record), mmap_mode="r", allow_pickle=False)
        return found
    except (OSError, ValueError, EOFError) as error:
        raise ValueError(
            f"expected the array of each scan in {ARRAYS}/, found {plainly(error)} for "
            "one; restore the folder, or import the scans again into a new store"
        ) from error
