"""A model as a folder that loads anywhere: safetensors, settings, and what it was trained on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from brainjepa_core.files import atomic_folder
from brainjepa_core.models.adapters import without_adapters
from brainjepa_core.models.interface import BrainModel, ModelShape
from brainjepa_core.models.registry import DEFAULT, Family, family_named, family_of
from brainjepa_core.problems import plainly
from brainjepa_core.settings import Frozen
from brainjepa_core.sums.rois import basis_hash
from brainjepa_core.version import VERSION

WEIGHTS, DESCRIPTION = "model.safetensors", "model.json"
NO_JSON = (json.JSONDecodeError, UnicodeDecodeError)
# What reading a description that is none may raise; a family that is not known is no damage.
DAMAGE = (OSError, KeyError, TypeError, RecursionError, ValidationError, *NO_JSON)


class Provenance(Frozen):
    """What a model's weights are tied to; none of it names a person, a path or a date.

    Attributes
    ----------
    atlas : str
    rois : tuple of str
        ROI names in the order of the weights' rows.
    basis_hash : str
        Of the frozen ROI basis.
    signals : dict
        TR, temporal mode and scaling of the windows (`Windows.describe`).
    version : str
        Of this package when the model was written.
    """

    atlas: str
    rois: tuple[str, ...]
    basis_hash: str
    signals: dict[str, Any]
    version: str = VERSION

    def require(self, found: Provenance) -> None:
        """Refuse to go on with weights that are tied to something else.

        Raises
        ------
        ValueError
            Naming the first difference; the version may differ.
        """
        found.require_rois(self.rois)
        for name in ("basis_hash", "signals"):
            if getattr(self, name) != getattr(found, name):
                raise ValueError(
                    f"expected {name} {getattr(self, name)}, found {getattr(found, name)} in the "
                    "checkpoint; continue with the basis and windows it was trained on, or start "
                    "a new run"
                )

    def require_rois(self, rois: Sequence[str]) -> None:
        """Refuse data of other ROIs than the weights' rows.

        Raises
        ------
        ValueError
            Naming the first row that differs.
        """
        if self.rois == tuple(rois):
            return
        where = next(
            (i for i, (a, b) in enumerate(zip(rois, self.rois, strict=False)) if a != b),
            min(len(rois), len(self.rois)),
        )
        ours = rois[where] if where < len(rois) else "nothing"
        theirs = self.rois[where] if where < len(self.rois) else "nothing"
        raise ValueError(
            f"expected the {len(rois)} ROIs of the data, found a checkpoint of {len(self.rois)} "
            f"ROIs that differs first at row {where} ({ours} against {theirs}); bring the data to "
            f"the checkpoint's atlas '{self.atlas}' and order by name"
        )


def model_arrays(model: BrainModel) -> dict[str, torch.Tensor]:
    """Named arrays of a model on the CPU, basis included."""
    return {k: v.detach().cpu().contiguous() for k, v in model.state_dict().items()}


def model_digest(model: BrainModel) -> str:
    """sha256 (hex) of all that a model computes from: family, settings, weights and basis."""
    told = [family_of(model).name, model.settings.model_dump(mode="json")]
    digest = hashlib.sha256(json.dumps(told, sort_keys=True).encode())
    for name, array in sorted(model_arrays(model).items()):
        digest.update(f"{name} {array.dtype} {list(array.shape)}".encode())
        digest.update(array.view(-1).numpy().tobytes())
    return digest.hexdigest()


def write_model_files(folder: Path, model: BrainModel, provenance: Provenance) -> None:
    """Write weights and description into an existing (temporary) folder."""
    save_file(model_arrays(model), folder / WEIGHTS)
    description = {
        "family": family_of(model).name,
        "settings": model.settings.model_dump(),
        "provenance": provenance.model_dump(),
    }
    (folder / DESCRIPTION).write_text(json.dumps(description, indent=1) + "\n")


def write_model(path: str | Path, model: BrainModel, provenance: Provenance) -> None:
    """Write a model folder atomically, adapters merged; `path` must not exist yet."""
    with atomic_folder(path) as folder:
        write_model_files(folder, without_adapters(model), provenance)


@dataclass(frozen=True)
class Description:
    """What a model folder says of its weights."""

    family: Family
    settings: ModelShape
    provenance: Provenance


def read_description(path: str | Path) -> Description:
    """Family, settings and provenance of a model folder.

    Raises
    ------
    ValueError
        If the folder is no model folder, or of a family that is not known here.
    """
    try:
        content = json.loads((Path(path) / DESCRIPTION).read_text())
        fields, tied = content["settings"], content["provenance"]
        family = family_named(content.get("family", DEFAULT))  # the only one, once
        return Description(family, family.settings(**fields), Provenance(**tied))
    except DAMAGE as error:
        reason = (
            f"{error.error_count()} fields that do not fit"
            if isinstance(error, ValidationError)
            else plainly(error)
        )
        raise ValueError(
            f"expected a model folder with {DESCRIPTION} and {WEIGHTS}, found {reason} in "
            f"'{path}'; give the folder of a model, a run or a study"
        ) from error


def read_model(path: str | Path) -> tuple[BrainModel, Provenance]:
    """Load a model folder.

    Returns
    -------
    (BrainModel, Provenance)

    Raises
    ------
    ValueError
        If files are missing, damaged or do not fit their description, or the basis is not the one
        whose hash the description gives.
    """
    described = read_description(path)
    try:
        arrays = load_file(Path(path) / WEIGHTS)
    except (OSError, SafetensorError) as error:
        raise ValueError(
            f"expected the weights in {WEIGHTS}, found {plainly(error)}; "
            "copy the model folder again"
        ) from error
    settings = described.settings
    model = described.family.undrawn(settings, torch.zeros(settings.rois, settings.components))
    expected = {k: tuple(v.shape) for k, v in model.state_dict().items()}
    found = {k: tuple(v.shape) for k, v in arrays.items()}
    wrong = sorted(k for k in expected.keys() | found.keys() if expected.get(k) != found.get(k))
    if wrong:
        raise ValueError(
            f"expected {len(expected)} arrays as {DESCRIPTION} describes them, found {len(wrong)} "
            f"missing, unknown or of another shape ({', '.join(wrong[:3])}); "
            "weights and description are from different models"
        )
    model.load_state_dict(arrays)
    _require_basis(model, described.provenance)
    return model, described.provenance


def _require_basis(model: BrainModel, told: Provenance) -> None:
    """Refuse weights whose basis, or the order of its rows, is not what they were trained on."""
    found = basis_hash(told.rois, model.basis.numpy())
    if found != told.basis_hash:
        raise ValueError(
            f"expected the basis {told.basis_hash[:12]} that the model was trained on, found "
            f"{found[:12]} in {WEIGHTS}; copy the model folder again"
        )
