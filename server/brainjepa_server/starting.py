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
        If it is of another size, atlas, basis or kind of signals than the study, or of another
        family whose embedder is another network.
    """
    model, provenance = read_source(settings.model, settings.gradients, study.family)
    if provenance is not None:
        _require_same(provenance, study, rois)
    sizes = study.model_settings(len(rois))
    gradients = model.basis.numpy().astype(np.float64)
    basis = ConsensusBasis(rois, gradients, np.full(gradients.shape[1], np.nan))
    if family_of(model).name != study.family:
        model = _with_embedder_of(model, study, basis)
    elif model.settings != sizes.plain:
        raise ValueError(
            "start_from: expected a model with the study's settings, found "
            f"{_difference(model, study, len(rois))}; give the study's pretraining section the "
            "settings of that model"
        )
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


def _with_embedder_of(
    start: BrainModel, study: PretrainingSettings, basis: ConsensusBasis
) -> BrainModel:
    """A new model of the study, whose embedder has the weights of another family's."""
    sizes, given = study.model_settings(len(basis.rois)), start.embedder.state_dict()
    expected = (sizes.rois, sizes.components)
    if tuple(start.basis.shape) == expected:
        model = study.model_family.new(sizes.plain, start.basis, study.training.seed)
        own = model.embedder.state_dict()
        if {k: v.shape for k, v in own.items()} == {k: v.shape for k, v in given.items()}:
            model.embedder.load_state_dict(given)
            state = model.state_dict()
            led = [name for name in state if model.roles.is_follower(name)]
            model.load_state_dict(
                {**state, **{model.roles.leader_of(name): state[name] for name in led}}
            )
            return model
    raise ValueError(
        f"start_from: expected a model whose embedder is that of the study's family "
        f"'{study.family}', found one of family '{family_of(start).name}' with another; give the "
        "study's pretraining section the sizes of that model"
    )


def _difference(model: BrainModel, study: PretrainingSettings, rois: int) -> str:
    found, expected = model.settings.model_dump(), study.model_settings(rois).plain.model_dump()
    name = next(name for name in expected if expected[name] != found.get(name))
    return f"{name} {found.get(name)} instead of {expected[name]}"
