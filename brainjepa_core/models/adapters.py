"""Adapters: a small named part of a model is trained, the rest stays as it was.

In the attention of every block a frozen linear layer W gets a low-rank difference B A. A is drawn
once, with orthonormal rows; B begins at zero and is trained, as the LayerNorms are. A is fixed
because means over sites, and noise, would otherwise meet products: the mean of products is not the
product of means (FFA-LoRA, Sun et al., ICLR 2024). With A fixed the mean of the sites' B is the
mean of their weights, exactly. With orthonormal rows a change of B is as large as the change of W
that it makes.

What follows the trained weights (a teacher) has the same A, and follows B and the LayerNorms. Since
B A is linear in B, that is the exponential mean of the whole weights, where both began alike.
"""

from __future__ import annotations

import copy

import torch
from torch import nn

from brainjepa_core.models.interface import BrainModel
from brainjepa_core.models.parts.lora import LoraLinear, add_lora, merge_lora
from brainjepa_core.models.roles import Roles


def with_adapters(model: BrainModel, rank: int, seed: int) -> BrainModel:
    """A model that computes the same, to the bit, and trains adapters.

    Parameters
    ----------
    model : BrainModel
        Without adapters; it is left as it is.
    rank : int
    seed : int
        What A is a function of; torch's generator is left as it was.
    """
    adapted = copy.deepcopy(model)
    adapted.settings = model.settings.model_copy(update={"adapters": rank})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        add_adapters(adapted)
    return adapted


def add_adapters(model: BrainModel) -> None:
    """Freeze a new model and add adapters of the rank its settings say, in place.

    A is drawn from torch's generator.

    Raises
    ------
    ValueError
        If the model has no attention to adapt, or is narrower than the rank.
    """
    rank, roles = model.settings.adapters, type(model).roles
    model.requires_grad_(False)
    parts = [prefix for prefix in roles.trained if prefix not in roles.heads]
    adapted = [_add(model, prefix, rank) for prefix in parts]
    if not any(adapted):
        raise ValueError(
            f"expected a family of models with blocks of attention, found {type(model).__name__}, "
            "which has none to adapt; train all of it (training.train: all)"
        )
    for layer in (layer for layers in adapted for layer in layers):
        nn.init.orthogonal_(layer.down)
        layer.up.requires_grad_(True)
    for prefix in roles.heads:
        _part(model, prefix).requires_grad_(True)
    for prefix in parts:
        for module in _part(model, prefix).modules():
            if isinstance(module, nn.LayerNorm):
                module.requires_grad_(True)
    for follower, leader in roles.followers.items():
        _add(model, follower, rank)
        _part(model, follower).load_state_dict(
            {**_part(model, follower).state_dict(), **_downs(_part(model, leader))}
        )
    trained = tuple(name for name, p in model.named_parameters() if p.requires_grad)
    model.roles = Roles(
        trained,
        {
            follower + name.removeprefix(leader): name
            for follower, leader in roles.followers.items()
            for name in trained
            if name.startswith(leader)
        },
    )


def without_adapters(model: BrainModel) -> BrainModel:
    """The model itself, or one whose plain layers compute the same as its adapted ones."""
    if not model.settings.adapters:
        return model
    plain = copy.deepcopy(model)
    merge_lora(plain)
    plain.settings, plain.roles = model.settings.plain, type(model).roles
    for name, parameter in plain.named_parameters():
        parameter.requires_grad_(plain.roles.is_trained(name))
    return plain


def _part(model: BrainModel, prefix: str) -> nn.Module:
    return model.get_submodule(prefix.rstrip("."))


def _add(model: BrainModel, prefix: str, rank: int) -> list[LoraLinear]:
    """Adapt one part of a model; its new layers, frozen."""
    part = _part(model, prefix)
    add_lora(part, rank, alpha=rank)  # the difference counts as it is
    layers = [module for module in part.modules() if isinstance(module, LoraLinear)]
    width = min((layer.base.in_features for layer in layers), default=rank)
    if rank > width:
        raise ValueError(
            f"expected adapters of a rank of at most {width}, the width of the model's narrowest "
            f"blocks, found {rank}; lower training.adapter_rank"
        )
    part.requires_grad_(False)
    return layers


def _downs(part: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value for name, value in part.state_dict().items() if name.endswith(".down")}
