"""A family of models that is as small as one can be: a linear layer over the frames of a patch.

It is registered from here, in one folder of its own as far as the project can tell, and nothing
else knows of it.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from brainjepa_core.models.interface import BrainModel, ModelShape
from brainjepa_core.models.registry import Family, register
from brainjepa_core.models.roles import Roles


class LinearSettings(ModelShape):
    """A token is ``width`` linear features of a patch and of its place."""

    width: int = 4


class LinearTokens(nn.Module):
    """Tokens of patches, one by one."""

    def __init__(self, settings: LinearSettings) -> None:
        super().__init__()
        self.features = nn.Linear(settings.patch, settings.width)

    def forward(self, patches: Tensor, basis: Tensor, valid: Tensor | None = None) -> Tensor:
        tokens = self.features(patches)
        return tokens if valid is None else tokens * valid[..., None]


class LinearModel(BrainModel):
    """Gives back each patch from its token; beside it a copy that trails it."""

    roles = Roles(("coder.", "back."), {"trailing.": "coder."}, embedding=("trailing.",))

    def __init__(self, settings: LinearSettings, basis: Tensor) -> None:
        super().__init__(settings, basis)
        self.coder = LinearTokens(settings)
        self.back = nn.Linear(settings.width, settings.patch)
        self.trailing = LinearTokens(settings).requires_grad_(False)
        self.trailing.load_state_dict(self.coder.state_dict())

    @property
    def embedder(self) -> nn.Module:
        return self.trailing

    def sample_losses(self, x: Tensor, token_valid: Tensor | None = None, **_: Any) -> Tensor:
        patches = self.patches(x)
        error = (
            self.back(self.coder(patches, self.basis_of(len(x)), token_valid)) - patches
        ).square()
        return error.flatten(1).mean(1)

    @torch.no_grad()
    def after_step(self, momentum: float) -> None:
        for old, new in zip(self.trailing.parameters(), self.coder.parameters(), strict=True):
            old.lerp_(new, 1 - momentum)


LINEAR = register(Family("linear", LinearSettings, LinearModel))
