"""Where a model comes from: the folder of a model, a run or a study, or a published checkpoint."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from brainjepa_core.models.checkpoint import Provenance, read_model
from brainjepa_core.models.interface import BrainModel
from brainjepa_core.models.registry import DEFAULT, family_named


def model_folder(path: str | Path) -> Path:
    """The model's own folder: of a run or a study, its final one."""
    path = Path(path)
    return path / "final" if (path / "final").is_dir() else path


def model_name(path: str | Path) -> str:
    """What a model is called beside others: as the folder of its run or study, or its own."""
    own = Path(os.path.abspath(model_folder(path)))  # a link is called by its own name
    return own.parent.name if own.name in ("final", "best") else own.name


def read_source(
    path: str | Path, gradients: Any = None, family: str = DEFAULT
) -> tuple[BrainModel, Provenance | None]:
    """A model, and what its weights are tied to where that is written down.

    Parameters
    ----------
    path : path
        Folder of a model, a run or a study; or the file of a published checkpoint.
    gradients : path or array [R, m], optional
        Of a published checkpoint, which does not hold them: a CSV without a header, or its numbers.
    family : str
        Of a published checkpoint.

    Returns
    -------
    (BrainModel, Provenance or None)
        A published checkpoint says nothing of atlas and signals.

    Raises
    ------
    ValueError
        If there is no such model, or gradients are missing or not asked for.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        if gradients is not None:
            raise ValueError(
                f"expected no gradients with the folder of a model, which holds its own, found "
                f"some with '{path.name}'; leave them out"
            )
        return read_model(model_folder(path))
    reader = family_named(family).read_published
    if reader is None:
        raise ValueError(
            f"expected the folder of a model, found the file '{path.name}'; the family '{family}' "
            "has no published checkpoints that can be read"
        )
    if gradients is None:
        raise ValueError(
            f"expected the gradients that '{path.name}' was trained with, found none; give them "
            "(gradients), since published checkpoints do not hold them"
        )
    return reader(path, gradients), None
