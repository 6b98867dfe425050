"""An encoder with a head that reads its pooled tokens, and what of it moves in fine-tuning.

Shapes: B batch, R ROIs, T frames, p patch length, N tokens, D width, P pooled features,
O outputs.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from brainjepa_core.evaluation.learning.drop_path import add_drop_path
from brainjepa_core.evaluation.learning.finetune_settings import FinetuneSettings
from brainjepa_core.evaluation.learning.supervised import Group
from brainjepa_core.models.interface import BrainModel
from brainjepa_core.models.parts.lora import add_lora
from brainjepa_core.models.pooling import pool_names, pool_tokens
from brainjepa_core.models.registry import family_of

ABOVE = ("blocks", "norm")  # what does not lie below the first block


class FinetunedNetwork(nn.Module):
    """A copy of the network that a model embeds by; pooled tokens, standardised; a linear head.

    Parameters
    ----------
    model : BrainModel
        Left as it is.
    outputs : int
        O.
    pool : str or sequence of str
    networks : ndarray of int64 [R], optional
        For pools by network.
    """

    basis: Tensor
    networks: Tensor | None
    centre: Tensor
    scale: Tensor

    def __init__(
        self,
        model: BrainModel,
        outputs: int,
        pool: str | Sequence[str] = "mean",
        networks: NDArray[Any] | None = None,
    ) -> None:
        super().__init__()
        self.settings, self.family = model.settings, family_of(model)
        self.encoder = copy.deepcopy(model.embedder).requires_grad_(True)
        self.register_buffer("basis", model.basis.clone())
        labels = None if networks is None else torch.from_numpy(networks)
        self.register_buffer("networks", labels)
        self.pools = pool_names(pool, labels)
        s = model.settings
        device = model.basis.device
        blank = torch.zeros(1, s.rois, s.frames, device=device)
        groups = None if labels is None else labels.to(device)
        with torch.no_grad():
            width = model.embed(blank, self.pools, None, groups).shape[1]
        self.register_buffer("centre", torch.zeros(width))
        self.register_buffer("scale", torch.ones(width))
        self.head = nn.Linear(width, outputs)
        nn.init.trunc_normal_(self.head.weight, std=0.01)
        nn.init.zeros_(self.head.bias)

    def pooled(self, x: Tensor, valid: Tensor | None = None) -> Tensor:
        """Pooled tokens [B, P] of windows [B, R, T] with valid tokens [B, N]."""
        s = self.settings
        basis = self.basis.expand(len(x), -1, -1)
        tokens = self.encoder(x.reshape(len(x), s.tokens, s.patch), basis, valid=valid)
        if tokens.requires_grad:
            # The slope of a spread of exactly 0, as of a single time patch, is not a number.
            tokens.register_hook(lambda slope: slope.nan_to_num(0.0, 0.0, 0.0))
        return pool_tokens(tokens.float(), s.time_patches, self.pools, valid, self.networks)

    def forward(self, x: Tensor, valid: Tensor | None = None) -> Tensor:
        """Outputs [B, O] of windows."""
        out: Tensor = self.head((self.pooled(x, valid) - self.centre) * self.scale)
        return out

    @torch.no_grad()
    def standardise(self, features: Iterable[Tensor]) -> None:
        """Fix centre and scale to those of training people's pooled tokens, parts of [b, P].

        Fixed rather than over the batch, so that nobody's output depends on the others in it.
        """
        found = torch.cat(list(features)).double()
        spread = found.std(0, unbiased=False)
        varies = spread > 1e-6 * found.mean(0).abs()
        self.centre.copy_(found.mean(0))
        self.scale.copy_(torch.where(varies, 1 / spread.clamp_min(1e-12), 0.0))


def blocks_of(encoder: nn.Module) -> list[nn.Module]:
    """Transformer blocks of a network that a model embeds by; none where it has none."""
    return list(getattr(encoder, "blocks", ()))


def prepare(network: FinetunedNetwork, settings: FinetuneSettings) -> None:
    """Freeze what shall not move, and add LoRA and drop path, in place.

    Raises
    ------
    ValueError
        If more blocks shall be frozen than there are.
    """
    encoder, first = network.encoder, settings.freeze_blocks
    blocks = blocks_of(encoder)
    if first > len(blocks):
        raise ValueError(
            f"expected freeze_blocks of at most {len(blocks)}, found {first}; "
            "lower it, or choose train: head"
        )
    moving = blocks[first:]
    if settings.train != "all":
        encoder.requires_grad_(False)
    elif first:
        below = [part for name, part in encoder.named_children() if name not in ABOVE]
        for part in (*below, *blocks[:first]):
            part.requires_grad_(False)
    if settings.train == "norms":
        above = [part for name, part in encoder.named_children() if name == "norm"]
        for module in [m for part in (*moving, *above) for m in part.modules()]:
            if isinstance(module, nn.LayerNorm):
                module.requires_grad_(True)
    if settings.train == "lora":
        for block in moving:
            add_lora(block, settings.lora_rank, settings.lora_alpha)
    if settings.train != "head":
        add_drop_path(moving, settings.drop_path)


def layer_groups(network: FinetunedNetwork, decay: float, head_factor: float = 1.0) -> list[Group]:
    """Parameters that move, by layer: the last norm has factor 1, each layer below `decay` of it.

    Layers are those of BEiT and MAE: embedding and positions 0, block i is i + 1, then the norm;
    the head has a factor of its own.
    """
    depth = len(blocks_of(network.encoder))
    layers: dict[int, list[nn.Parameter]] = {}
    for name, parameter in network.encoder.named_parameters():
        if parameter.requires_grad:
            layers.setdefault(_layer(name, depth), []).append(parameter)
    head = Group(list(network.head.parameters()), head_factor)
    return [*(Group(layers[i], decay ** (depth + 1 - i)) for i in sorted(layers)), head]


def _layer(name: str, depth: int) -> int:
    part, *rest = name.split(".")
    if part == "blocks":
        return int(rest[0]) + 1
    return depth + 1 if part in ABOVE else 0
