"""What keeps the task about the person: no reward for knowing positions, no loss of rank.

The published targets are nearly a function of position, which the predictor knows: the loss falls
to zero and nothing about the person is learned. Two terms mend it, both functions of one sample
and the weights alone (so per-sample gradients, differential privacy and federation stay exact):

* The target encoder's response to a blank scan is what position alone explains. Its direction is
  taken out of the targets, token by token.
* Context tokens of a sample, freed of position in the same way, keep unit variance in every
  feature and little covariance between features (VICReg, Bardes et al. 2022, over the tokens of a
  sample instead of a batch of people).

Shapes: B batch, n tokens of a sample, D width.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from brainjepa_core.settings import Frozen


class ObjectiveSettings(Frozen):
    """Terms of the loss; `published()` has none of them.

    Attributes
    ----------
    remove_position : bool
        Take the response to a blank scan out of the targets.
    variance_weight, covariance_weight : float
        Of the terms that hold the rank of context tokens.
    """

    remove_position: bool = True
    variance_weight: float = Field(1.0, ge=0)
    covariance_weight: float = Field(0.05, ge=0)

    @classmethod
    def published(cls) -> ObjectiveSettings:
        """The loss of arXiv 2409.19407."""
        return cls(remove_position=False, variance_weight=0.0, covariance_weight=0.0)

    @property
    def holds_rank(self) -> bool:
        """Whether a term on the context tokens is asked for."""
        return self.variance_weight > 0 or self.covariance_weight > 0


def without_direction(tokens: Tensor, direction: Tensor) -> Tensor:
    """Take out of each token [..., D] its component along `direction` [..., D]."""
    along = (tokens * direction).sum(-1, keepdim=True)
    return tokens - along / direction.square().sum(-1, keepdim=True).clamp_min(1e-6) * direction


def rank_penalty(tokens: Tensor, valid: Tensor | None, settings: ObjectiveSettings) -> Tensor:
    """Penalty of each sample for features without variance or with covariance.

    Parameters
    ----------
    tokens : Tensor [B, n, D]
        Freed of position, so that zero is their expectation.
    valid : Tensor [B, n], optional
        bool; False for padding.
    settings : ObjectiveSettings

    Returns
    -------
    Tensor [B]
    """
    # Sums over many tokens: not in bf16, to which autocast would bring this product.
    tokens = tokens.to(torch.promote_types(tokens.dtype, torch.float32))
    count: Tensor | int = tokens.shape[1]
    if valid is not None:
        tokens = tokens * valid[..., None]
        count = valid.sum(1).clamp_min(1)[:, None, None]
    with torch.autocast(tokens.device.type, enabled=False):
        moments = tokens.transpose(1, 2) @ tokens / count  # [B, D, D]
    variance = torch.diagonal(moments, dim1=1, dim2=2)
    too_little = F.relu(1 - (variance + 1e-4).sqrt()).mean(1)
    together = (moments.square().sum((1, 2)) - variance.square().sum(1)) / tokens.shape[-1]
    return settings.variance_weight * too_little + settings.covariance_weight * together
