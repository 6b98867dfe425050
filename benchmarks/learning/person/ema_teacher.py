"""The person objective with a teacher that learns: the target is what an EMA of the network sees.

The frozen teacher of `person_jepa` sees plain connectivity of all that a window leaves of its
person's scans; this one sees windows of it, side by side, by the network's own slow copy, as
Brain-JEPA's target encoder is one. All else, the loss too, is as there.
"""

from __future__ import annotations

import copy

import numpy as np
import torch
from torch import Tensor

from brainjepa_core.gradients import ConsensusBasis
from brainjepa_core.models.interface import BrainModel
from brainjepa_core.models.person_jepa.model import PersonJEPA
from brainjepa_core.models.tokens import token_validity
from brainjepa_core.pretraining.schedules import values_at
from brainjepa_core.pretraining.settings import PretrainingSettings
from brainjepa_core.pretraining.step import make_optimizer, trained_parameters
from brainjepa_core.signals.windows import Windows

EMA_TEACHER, SAME_LOOP = "EMA teacher", "frozen teacher, the same loop"


def trained_by_ema(
    study: PretrainingSettings, windows: Windows, basis: ConsensusBasis, *, frozen: bool = False
) -> BrainModel:
    """A network that predicts what its own slow copy sees of the rest of each person's scans.

    With `frozen` it predicts the rest's plain connectivity: what the loop alone makes of it, which
    draws other people in other steps than the product's and decays no weights.
    """
    model = study.new_model(basis)
    assert isinstance(model, PersonJEPA)
    teacher = copy.deepcopy(model).requires_grad_(False).eval()
    recipe, parameters = study.training, trained_parameters(model)
    optimizer = make_optimizer(model, recipe)
    for step in range(recipe.schedule.total_steps):
        now = values_at(recipe.schedule, step)
        for group in optimizer.param_groups:
            group["lr"] = now.lr
        rng = np.random.default_rng([recipe.seed, step])
        people = rng.choice(windows.subjects, min(recipe.batch_size, windows.subjects), False)
        seeds = [(recipe.seed, step, int(person)) for person in people]
        x, frames, rois = windows.batch(people.tolist(), seeds)
        if frozen:
            rest = torch.from_numpy(windows.rest(people.tolist(), seeds))
        else:
            drawn = zip(people.tolist(), seeds, strict=True)
            rest = torch.stack([_seen(teacher, windows, *one) for one in drawn])
        valid = token_validity(frames, rois, model.settings.patch)
        told = None if valid is None else torch.from_numpy(valid)
        loss = model.sample_losses(torch.from_numpy(x), rest, told).mean()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, recipe.clip_norm or float("inf"))
        optimizer.step()
        with torch.no_grad():
            for slow, fast in zip(teacher.parameters(), model.parameters(), strict=True):
                slow.lerp_(fast, 1 - now.momentum)
    return model


def _seen(teacher: PersonJEPA, windows: Windows, person: int, seed: tuple[int, ...]) -> Tensor:
    """Mean Fisher z [R, R] by the teacher of what a seed's window leaves; NaN where unknown."""
    length, parts = windows.settings.frames, []
    known = torch.ones(len(windows.atlas), dtype=torch.bool)
    for series, valid in windows._left_by(person, seed):
        known &= torch.tensor(valid)
        count = series.shape[1] // length
        parts += [series[:, i * length : (i + 1) * length] for i in range(count)]
    with torch.no_grad():
        z = teacher.latent_fisher_z(torch.from_numpy(np.stack(parts))).mean(0)
    return z.masked_fill(~(known[:, None] & known), float("nan"))
