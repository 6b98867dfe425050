"""Embeddings of people, kept on disk by content: what has not changed is not computed again.

One folder a model, and in it one file a person, named by a hash of the windows and the person's
scans, with all pools that were asked for. A scan that changes, or is added, gives that person
another name and nobody else.

Shapes: n people, R ROIs, P features of a pool.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from brainjepa_core.arrays import Arrays, Float32, load_arrays, save_arrays
from brainjepa_core.evaluation.readout.latent import LatentReader
from brainjepa_core.evaluation.yardstick import embed_people
from brainjepa_core.models.checkpoint import model_digest
from brainjepa_core.models.interface import BrainModel
from brainjepa_core.origin import digest
from brainjepa_core.signals.storing.scan_table import content_of
from brainjepa_core.signals.windows import Windows

CACHE = "embeddings"  # in the folder that a cache is kept in
FORMAT = 2  # raised when the same content gives other numbers


def cached_embeddings(
    model: BrainModel,
    windows: Windows,
    people: Iterable[int],
    pools: Sequence[str] = ("mean",),
    networks: NDArray[np.int64] | None = None,
    cache: Path | None = None,
    progress: Callable[[int, int], None] | None = None,
    keep: int | None = None,
) -> dict[str, Float32]:
    """Embeddings of people, read where they are known and computed where they are not.

    Parameters
    ----------
    model : BrainModel
        It should be in evaluation mode.
    windows : Windows
    people : iterable of int
    pools : sequence of str
        Names of `brainjepa_core.models.pooling.POOLS` or ``GROUP_POOLS``.
    networks : ndarray of int64 [R], optional
        Network of each ROI, for the pools by network.
    cache : path, optional
        Folder of the cache; by default nothing is kept.
    progress : callable, optional
        Called with the number of people done and of all.
    keep : int, optional
        Of how many models the cache is kept, those that were asked for last; of all by default.

    Returns
    -------
    dict
        ndarray of float32 [n, P] by pool.

    Raises
    ------
    ValueError
        If a pool is unknown, or networks are needed and missing.
    """
    everybody = [int(person) for person in people]
    folder = None if cache is None else cache / CACHE / _model_key(model, networks)
    if folder is not None and keep is not None:
        with suppress(OSError):
            _make_newest(folder, keep)
    rows: list[Mapping[str, Float32]] = []
    reader = LatentReader(model)
    for done, person in enumerate(everybody, start=1):
        file = None if folder is None else folder / f"{person_key(windows, person)}.npz"
        found = (None if file is None else kept_arrays(file)) or {}
        lacking = [pool for pool in pools if pool not in found]
        if lacking:
            fresh = embed_people(model, windows, [person], lacking, networks, reader)
            found = {**found, **{pool: fresh[pool][0].astype(np.float32) for pool in lacking}}
            if file is not None:
                with suppress(OSError):  # such as a full disk: they are made anew when needed
                    save_arrays(file, found, compress=False)
        rows.append(found)
        if progress is not None:
            progress(done, len(everybody))
    return {pool: np.stack([row[pool] for row in rows]) for pool in pools}


def _model_key(model: BrainModel, networks: NDArray[np.int64] | None) -> str:
    """SHA-256 of weights, basis, settings and networks."""
    labels = None if networks is None else networks.tolist()
    return digest([FORMAT, model_digest(model), labels])


def _make_newest(folder: Path, keep: int) -> None:
    """Mark a model's folder as the one that was asked for last; the oldest go."""
    folder.mkdir(parents=True, exist_ok=True)
    os.utime(folder)
    found = sorted(folder.parent.iterdir(), key=lambda path: path.stat().st_mtime_ns)
    for path in found[:-keep]:
        shutil.rmtree(path)


def person_key(windows: Windows, person: int) -> str:
    """SHA-256 of what a person's windows are a function of: scans, atlas and window settings."""
    store, records = windows.people[person]
    scans = [content_of(record) for record in records]
    facts = [windows.describe(), windows.atlas.fingerprint, scans]
    if windows.settings.scaling != "zscore":  # then they depend on all scans of the site
        facts.append(windows.stores[store].fingerprint)
    return digest(facts)


def kept_arrays(file: Path) -> Arrays | None:
    """Arrays of a file of the cache; None where it is missing or damaged."""
    try:
        return load_arrays(file)
    except (OSError, ValueError):
        return None
