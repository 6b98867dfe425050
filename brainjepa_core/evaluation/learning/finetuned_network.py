"""An encoder whose read-outs a head weighs, and what of it moves in fine-tuning.

Shapes: n windows, B people, R ROIs, T frames, p patch length, N tokens, P features of all
read-outs, O outputs.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from brainjepa_core.evaluation.features.readouts import LatentReadOut
from brainjepa_core.evaluation.learning.finetune_settings import FinetuneSettings
from brainjepa_core.evaluation.learning.inputs import ScanInputs
from brainjepa_core.evaluation.learning.optimizer import Group
from brainjepa_core.evaluation.learning.readout_head import ReadOutHead
from brainjepa_core.evaluation.readout.with_slopes import (
    LogWithSlopes,
    answers_of,
    connectivity_with_slopes,
    pairs_with_slopes,
)
from brainjepa_core.evaluation.yardstick import LATENT_CONNECTIVITY
from brainjepa_core.models.adapters import with_adapters
from brainjepa_core.models.interface import BrainModel
from brainjepa_core.models.registry import family_of

ABOVE = ("blocks", "norm")  # what does not lie below the first block


class FinetunedNetwork(nn.Module):
    """A copy of the network that a model embeds by; its read-outs of a person; a head.

    Parameters
    ----------
    model : BrainModel
        Left as it is; with adapters, its embedder has them too.
    head : ReadOutHead
    readouts : tuple of LatentReadOut
        What the head reads, in this order.
    log : LogWithSlopes
        The consensus that log-connectivity is seen from.
    """

    basis: Tensor

    def __init__(
        self,
        model: BrainModel,
        head: ReadOutHead,
        readouts: tuple[LatentReadOut, ...],
        log: LogWithSlopes,
    ) -> None:
        super().__init__()
        self.settings, self.family, self.readouts = model.settings, family_of(model), readouts
        self.encoder = copy.deepcopy(model.embedder)
        self.register_buffer("basis", model.basis.clone())
        self.head, self.log = head, log
        self.left_out = nn.ModuleList()

    def connectivity(
        self, x: Tensor, blank: Tensor, there: Tensor, rois: Tensor, person: Tensor, people: int
    ) -> tuple[Tensor, Tensor]:
        """Latent connectivity [B, R, R] of arguments of `ScanInputs`, and what of it is known."""
        if self.settings.volumes is None:
            cut = len(x), self.settings.tokens, self.settings.patch
            x, blank = x.reshape(cut), blank.reshape(cut)
        answers = answers_of(self.encoder, self.basis, x, blank, there)
        return connectivity_with_slopes(answers, rois, person, people)

    @torch.no_grad()
    def read_scans(self, scans: ScanInputs, row: int) -> tuple[Tensor, Tensor]:
        """`connectivity` of the person of one row, without slopes."""
        windows = (part.to(self.basis.device) for part in scans.windows_of([row]))
        x, blank, there, rois, person = windows
        return self.connectivity(x, blank, there, rois, person, people=1)

    def read(self, r: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
        """Read-outs [B, P] of latent connectivity, and which are known."""
        found = []
        for readout in self.readouts:
            if readout == LATENT_CONNECTIVITY:
                found.append(pairs_with_slopes(r, known))
            else:
                logs = self.log(r, known)
                found.append((logs, torch.ones_like(logs, dtype=torch.bool)))
        values, which = zip(*found, strict=True)
        return torch.cat(values, 1), torch.cat(which, 1)

    def forward(
        self,
        x: Tensor,
        blank: Tensor,
        there: Tensor,
        rois: Tensor,
        person: Tensor,
        group: Tensor,
        part: Tensor,
    ) -> Tensor:
        """Outputs [B, O] of people, each read over all windows.

        In training each person is judged by the head that was fitted without their part [B].
        """
        found = self.read(*self.connectivity(x, blank, there, rois, person, len(group)))
        if not self.training:
            out: Tensor = self.head(*found, group)
            return out
        each = torch.stack([head(*found, group) for head in self.left_out], 1)
        return each[torch.arange(len(each), device=part.device), part]

    def of_connectivity(self, r: Tensor, known: Tensor) -> Tensor:
        """Outputs [B, O] of latent connectivity [B, R, R], as of people of the first hospital."""
        first = torch.zeros(len(r), dtype=torch.int64, device=r.device)
        out: Tensor = self.head(*self.read(r, known), first)
        return out


def blocks_of(encoder: nn.Module) -> list[nn.Module]:
    """Transformer blocks of a network that a model embeds by; none where it has none."""
    return list(getattr(encoder, "blocks", ()))


def adapted_for(model: BrainModel, settings: FinetuneSettings) -> BrainModel:
    """The model itself, or one with adapters where these are what moves."""
    if settings.train != "adapters":
        return model
    return with_adapters(model, settings.adapter_rank, settings.seed)


def release(encoder: nn.Module, settings: FinetuneSettings) -> None:
    """Let move what shall move of an encoder, in place."""
    encoder.requires_grad_(settings.train == "all")
    if settings.train == "adapters":
        for name, parameter in encoder.named_parameters():
            parameter.requires_grad_(name.endswith(".up"))
        for module in encoder.modules():
            if isinstance(module, nn.LayerNorm):
                module.requires_grad_(True)


def layer_groups(encoder: nn.Module, decay: float) -> list[Group]:
    """Parameters that move, by layer: the last norm has factor 1, each layer below `decay` of it.

    Layers are those of BEiT and MAE: embedding and positions 0, block i is i + 1, then the norm.
    """
    depth = len(blocks_of(encoder))
    layers: dict[int, list[nn.Parameter]] = {}
    for name, parameter in encoder.named_parameters():
        if parameter.requires_grad:
            layers.setdefault(_layer(name, depth), []).append(parameter)
    return [Group(layers[i], decay ** (depth + 1 - i)) for i in sorted(layers)]


def _layer(name: str, depth: int) -> int:
    part, *rest = name.split(".")
    if part == "blocks":
        return int(rest[0]) + 1
    return depth + 1 if part in ABOVE else 0
