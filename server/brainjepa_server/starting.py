"""The weights a study begins with: random ones, or those of a model that is there already."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from brainjepa_core.arrays import Float32
from brainjepa_core.gradients import ConsensusBasis
from brainjepa_core.models.adapters import with_adapters
from brainjepa_core.models.checkpoint import Provenance, model_arrays
from brainjepa_core.models.interface import BrainModel
from brainjepa_core.models.registry import family_of
from brainjepa_core.models.sources import read_source
from brainjepa_core.pretraining.settings import PretrainingSettings
from brainjepa_server.settings import StartSettings


@dataclass(frozen=True, eq=False)
class Start:
    """A model that a study goes on from.

    Attributes
    ----------
    weights : dict of str to ndarray of float32
        All of the model's but the basis.
    basis : ConsensusBasis
        The one that these weights stand on, which is thereby the study's.
    """

    weights: dict[str, Float32]
    basis: ConsensusBasis


def weights_of(model: BrainModel) -> dict[str, Float32]:
    """Global weights as requests carry them: all arrays of a model but the basis."""
    arrays = {name: value.numpy() for name, value in model_arrays(model).items()}
    arrays.pop("basis", None)
    return arrays


def read_start(settings: StartSettings, study: PretrainingSettings, rois: tuple[str, ...]) -> Start:
    """Read the model that a study starts from.

    Parameters
    ----------
    settings : StartSettings
    study : PretrainingSettings
    rois : tuple of str
        Of the sites that take part, in order.

    Raises
    ------
    ValueError
        If it is of another family, size, atlas, basis or kind of signals than the study.
    """
    model, provenance = read_source(settings.model, settings.gradients, study.family)
    if provenance is not None:
        _require_same(provenance, study, rois)
    sizes = study.model_settings(len(rois))
    family, expected = family_of(model).name, sizes.plain
    if family != study.family or model.settings != expected:
        raise ValueError(
            f"start_from: expected a model of family '{study.family}' with the study's settings, "
            f"found {_difference(family, model, study, len(rois))}; give the study's pretraining "
            "section the settings of that model"
        )
    gradients = model.basis.numpy().astype(np.float64)
    basis = ConsensusBasis(rois, gradients, np.full(gradients.shape[1], np.nan))
    if sizes.adapters:
        model = with_adapters(model, sizes.adapters, study.training.seed)
    return Start(weights_of(model), basis)


def _require_same(
    provenance: Provenance, study: PretrainingSettings, rois: tuple[str, ...]
) -> None:
    try:
        provenance.require_rois(rois)
    except ValueError as error:
        raise ValueError(f"start_from: {error}") from error
    signals = study.windows.model_dump(exclude={"short"})
    wrong = [name for name in signals if signals[name] != provenance.signals.get(name)]
    if wrong:
        found = ", ".join(f"{name} {provenance.signals.get(name)}" for name in wrong)
        raise ValueError(
            f"start_from: expected a model of the study's windows, found one of {found}; set "
            "pretraining.windows to the model's"
        )


def _difference(family: str, model: BrainModel, study: PretrainingSettings, rois: int) -> str:
    if family != study.family:
        return f"family '{family}'"
    found, expected = model.settings.model_dump(), study.model_settings(rois).plain.model_dump()
    name = next(name for name in expected if expected[name] != found.get(name))
    return f"{name} {found.get(name)} instead of {expected[name]}"
