"""Families of models by name: what a study's ``family`` stands for.

A family is a folder beside this file whose package names it as ``FAMILY``; nothing else in the
project names one. It is imported when it is asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import torch

from brainjepa_core.models.adapters import add_adapters
from brainjepa_core.models.interface import BrainModel, ModelShape
from brainjepa_core.models.parts.connectivity_learner import ConnectivityNetwork
from brainjepa_core.models.undrawn import Undrawn

DEFAULT = "brain_jepa"
SHIPPED = (
    "brain_jepa",
    "masked_autoencoder",
    "person_jepa",
    "phenotype_heads",
    "brainmass",
    "csm",
    "swift",
    "brainlm",
    "brainlm_picture",
    "brainnetcnn",
    "brain_network_transformer",
    "braingnn",
)


class Learner(NamedTuple):
    """A network that learns a task from whole scans' connectivity, without pretraining.

    Attributes
    ----------
    title : str
        In tables.
    network : type
        A `parts.connectivity_learner.ConnectivityNetwork`, made as ``network(rois, outputs)``.
    training : mapping
        Settings of its training that are not those of the others.
    """

    title: str
    network: type[ConnectivityNetwork]
    training: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True)
class Family:
    """An entry of the registry.

    Attributes
    ----------
    name : str
        In settings files and checkpoints.
    settings : type
    model : type
        Made as ``model(settings, basis)``; its weights are drawn from torch's generator.
    read_published, write_published : callable, optional
        ``(path, gradients) -> model`` and ``(model, path)``: checkpoints as the authors' code
        keeps them.
    learner : Learner, optional
        Of a family that learns from labels alone.
    """

    name: str
    settings: type[ModelShape]
    model: type[BrainModel]
    read_published: Callable[[Path, Any], BrainModel] | None = None
    write_published: Callable[[Any, Path], None] | None = None
    learner: Learner | None = None

    def new(self, settings: ModelShape, basis: Any, seed: int | None = None) -> BrainModel:
        """A model with random weights.

        Parameters
        ----------
        settings : ModelShape
            Of this family.
        basis : array [R, m]
        seed : int, optional
            Weights are a function of it, and torch's generator is left as it was.
        """
        if seed is None:
            return self._drawn(settings, basis)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return self._drawn(settings, basis)

    def undrawn(self, settings: ModelShape, basis: Any) -> BrainModel:
        """A model whose weights are to be put in: zeros wherever `new` draws them."""
        with Undrawn():
            return self._drawn(settings, basis)

    def _drawn(self, settings: ModelShape, basis: Any) -> BrainModel:
        # A copy: what a message brought may lie in a file that nobody may write to.
        model = self.model(
            settings, basis if isinstance(basis, torch.Tensor) else torch.tensor(basis)
        )
        if settings.adapters:
            add_adapters(model)
        return model


_registered: dict[str, Family] = {}


def register(family: Family) -> Family:
    """Add a family that does not come with this package.

    Raises
    ------
    ValueError
        If the name is taken by another one.
    """
    taken = family.name in SHIPPED or _registered.get(family.name, family) != family
    if taken:
        raise ValueError(
            f"expected a name that no family of models has, found '{family.name}'; "
            "choose another name"
        )
    _registered[family.name] = family
    return family


def families() -> tuple[str, ...]:
    """Names of all families."""
    return (*SHIPPED, *_registered)


def family_named(name: str) -> Family:
    """A family by its name.

    Raises
    ------
    ValueError
        If there is none.
    """
    if name in SHIPPED:
        family: Family = import_module(f"{__package__}.{name}").FAMILY
        return family
    if name not in _registered:
        raise ValueError(
            f"expected a family of models among {', '.join(families())}, found '{name}'; "
            "take one of these, or import the package that registers it"
        )
    return _registered[name]


def family_of(model: BrainModel) -> Family:
    """The family that a model belongs to.

    Raises
    ------
    ValueError
        If its class is not registered.
    """
    for name in families():
        family = family_named(name)
        if type(model) is family.model and type(model.settings) is family.settings:
            return family
    raise ValueError(
        f"expected a model of a registered family, found {type(model).__name__}; "
        "register its family (brainjepa_core.models.registry.register)"
    )


def learners() -> dict[str, Learner]:
    """Of all families that learn from labels alone, by the families' names."""
    found = ((name, family_named(name).learner) for name in families())
    return {name: learner for name, learner in found if learner is not None}
