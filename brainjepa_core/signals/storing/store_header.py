"""The header of a store: its format and its atlas."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from brainjepa_core.atlas import Atlas
from brainjepa_core.files import atomic_path
from brainjepa_core.problems import plainly

FORMAT = 2
HEADER = "store.json"


def write_header(path: Path, atlas: Atlas) -> None:
    """Make a folder a store of this atlas."""
    with atomic_path(path / HEADER) as temporary:
        header = {"format": FORMAT, **asdict(atlas)}
        temporary.write_text(json.dumps(header, indent=1) + "\n")


def read_header(path: Path) -> Atlas:
    """Atlas of a store.

    Raises
    ------
    ValueError
        If the folder is no store, or one of another format.
    """
    try:
        header = json.loads((path / HEADER).read_text())
        found = header.pop("format")
        atlas = _atlas(header)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(
            f"expected a scan store with a readable {HEADER}, found {plainly(error)} in "
            f"'{path}'; correct the path, or make the store (brainjepa import, or site prepare)"
        ) from error
    if found != FORMAT:
        raise ValueError(
            f"expected scan store format {FORMAT}, found {found} in '{path}'; make the store anew "
            "in another folder (brainjepa import, or site prepare)"
        )
    return atlas


def _atlas(header: dict[str, Any]) -> Atlas:
    centroids = header["centroids"]
    return Atlas(
        header["name"],
        tuple(header["rois"]),
        tuple(header["networks"]),
        tuple(header["hemispheres"]),
        None if centroids is None else tuple(tuple(c) for c in centroids),
    )
