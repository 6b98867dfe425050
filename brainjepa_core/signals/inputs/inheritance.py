"""Which JSON files speak of an image: BIDS' principle of inheritance.

A sidecar may lie beside its image, or higher up with fewer entities (``task-rest_bold.json`` in the
dataset's root). The nearest that tells a fact is believed.

Source: bids-specification.readthedocs.io, "The Inheritance Principle".
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from brainjepa_core.signals.inputs.bids import BidsFile, read_sidecar
from brainjepa_core.signals.tables.bids_names import NOT_ENTITIES, bids_entities


class Sidecars:
    """Sidecars of a dataset's images.

    Parameters
    ----------
    root : Path
        Of the dataset; what lies above does not count.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._listed: dict[tuple[Path, str], list[BidsFile]] = {}

    def of(self, image: BidsFile) -> tuple[Path, ...]:
        """Files that speak of an image, the nearest first; links to nowhere among them."""
        found: list[BidsFile] = []
        for folder in (image.path.parent, *image.path.parent.parents):
            own = [file for file in self._of_suffix(folder, image["suffix"]) if _of(file, image)]
            found += sorted(own, key=lambda file: (-len(file.entities), file.path))
            if folder == self._root:
                break
        return tuple(file.path for file in found)

    def _of_suffix(self, folder: Path, suffix: str) -> list[BidsFile]:
        if (folder, suffix) not in self._listed:
            own = f"{suffix}.json"
            names = [n for n in os.listdir(folder) if n == own or n.endswith(f"_{own}")]
            self._listed[folder, suffix] = [BidsFile(folder / n, bids_entities(n)) for n in names]
        return self._listed[folder, suffix]


def _of(sidecar: BidsFile, image: BidsFile) -> bool:
    """Whether all that a sidecar's name says is true of the image."""
    return all(
        image[entity] == value
        for entity, value in sidecar.entities.items()
        if entity not in NOT_ENTITIES
    )


def nearest_with(fact: str, sidecars: Sequence[Path], otherwise: Path) -> Path:
    """The nearest sidecar that tells a fact; where none does, another path.

    Raises
    ------
    ScanProblem
        If one on the way cannot be read, or is a link to nowhere.
    """
    return next((file for file in sidecars if fact in read_sidecar(file)), otherwise)
