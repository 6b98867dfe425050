"""Made-up weights whose gradients are the windows of the people that a round trains on.

In the first block each neuron answers to one token, which it knows by its position: a token's share
of the loss then moves that neuron alone, its weights by ``delta u`` and its bias by ``delta``, u
being the normed token. Attention adds nothing, so u is a linear function of the token's patch, of
known weights: the patch follows exactly (an imprint: Fowl et al., ICLR 2022).

Shapes: N tokens, p patch length, D width, R ROIs.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from brainjepa_core.arrays import Arrays, Float64
from brainjepa_core.models.interface import BrainModel
from brainjepa_core.pretraining.schedules import ScheduleSettings
from brainjepa_core.pretraining.settings import PretrainingSettings
from brainjepa_core.wire.messages import TRAIN, Assignment
from brainjepa_simulations.attacks.asking.insisting import Ask, insist, seeded

FC1 = "encoder.blocks.0.mlp.fc1"
CONTENT = 0.01  # amplitude of the signal beside the position, by which neurons tell tokens
GAIN = 3000.0
RATE = 1e9


@dataclass(frozen=True)
class Imprint:
    """A model some of whose neurons know one token each.

    Attributes
    ----------
    model : BrainModel
    tokens : tuple of int
        Of the first neurons of the first block.
    """

    model: BrainModel
    tokens: tuple[int, ...]


class Inverted(NamedTuple):
    """What one round gave away.

    Attributes
    ----------
    asked : Assignment
        The round that was answered.
    model : BrainModel
        That was sent.
    patches : dict of int to ndarray [p]
        By token.
    """

    asked: Assignment
    model: BrainModel
    patches: dict[int, Float64]


def inverted_rounds(
    ask: Ask, study: Assignment, rois: int, questions: int = 5
) -> Iterator[Inverted]:
    """Ask for one step of one person each time; where that is refused, for what was agreed to.

    Parameters
    ----------
    ask : callable
    study : Assignment
    rois : int
        R of the site's atlas.
    questions : int
    """
    for seed in range(questions):
        greedy = one_person(study)
        greedy = greedy.model_copy(update={"pretraining": seeded(greedy, seed)})
        for wanted in (greedy, study):
            known = imprint(wanted.pretraining, rois, seed)
            arrays = {name: value.numpy() for name, value in known.model.state_dict().items()}
            reply = insist(ask, TRAIN, wanted, arrays)
            if not reply.refusal:
                yield Inverted(wanted, known.model, patches_of(known, reply.arrays))
                break


def one_person(study: Assignment) -> Assignment:
    """A round of one long step on one person."""
    schedule = ScheduleSettings(
        total_steps=1, warmup_steps=0, start_lr=RATE, lr=RATE, final_lr=RATE, weight_decay=0.0,
        final_weight_decay=0.0,
    )  # fmt: skip
    greedy = {"batch_size": 1, "optimizer": "sgd", "schedule": schedule, "clip_norm": None}
    training = study.pretraining.training.model_copy(update=greedy)
    asked = study.pretraining.model_copy(update={"training": training})
    return study.model_copy(update={"pretraining": asked, "steps": 1, "first_step": 0})


@torch.no_grad()
def imprint(study: PretrainingSettings, rois: int, seed: int) -> Imprint:
    """A model of a study's sizes, whose first neurons know a token each as far as they go."""
    rng = torch.Generator().manual_seed(seed)
    settings = study.model_settings(rois)
    basis = torch.randn(rois, settings.components, generator=rng)
    model = study.model_family.new(settings, basis.numpy(), seed)
    for name, value in model.state_dict().items():
        if name.startswith("encoder.") and ".attn." in name:
            value.zero_()
        if name.startswith("encoder.blocks.0.mlp.fc2"):
            value.copy_(0.02 * torch.randn(value.shape, generator=rng))
    weights = model.state_dict()
    weights["encoder.patch.weight"].mul_(CONTENT)
    weights["encoder.patch.bias"].zero_()
    codes = F.layer_norm(_positions(model), (model.settings.width,))
    width, neurons = codes.shape[1], len(weights[f"{FC1}.bias"])
    here = torch.randperm(len(codes), generator=rng)[:neurons]
    nearest = (codes @ codes.T / width - 2 * torch.eye(len(codes))).max(1).values
    weights[f"{FC1}.weight"].zero_()
    weights[f"{FC1}.bias"].fill_(-GAIN)
    weights[f"{FC1}.weight"][: len(here)] = GAIN / width * codes[here]
    weights[f"{FC1}.bias"][: len(here)] = -GAIN * (1 + nearest[here]) / 2
    return Imprint(model, tuple(here.tolist()))


def _positions(model: BrainModel) -> Tensor:
    """Positions [N, D] of all tokens."""
    positions = model.get_submodule("encoder.positions")
    found: Tensor = positions(model.basis[None])[0].detach()
    return found


def patches_of(known: Imprint, sent: Arrays) -> dict[int, Float64]:
    """Patches [p] by token, of the tokens whose neurons moved."""
    before = known.model.state_dict()
    weight, bias = (
        sent[f"{FC1}.{name}"].astype(np.float64) - before[f"{FC1}.{name}"].double().numpy()
        for name in ("weight", "bias")
    )
    positions = _positions(known.model).double().numpy()
    content = before["encoder.patch.weight"].double().numpy()
    found = {}
    for neuron, token in enumerate(known.tokens):
        if bias[neuron]:
            # u = (position + content @ patch - mean) / spread, linear in 1 / spread and the rest.
            columns = [positions[token][:, None], content, -np.ones((len(content), 1))]
            solved = np.linalg.lstsq(np.hstack(columns), weight[neuron] / bias[neuron])[0]
            if solved[0]:
                found[token] = np.asarray(solved[1:-1] / solved[0], np.float64)
    return found
