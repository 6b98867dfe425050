"""How much each network attends to each other one, and where groups of people differ.

Attention maps of all heads take gigabytes at published sizes. Here rows of a few hundred queries
are made, summed to networks and let go, block after block in one pass.

Shapes: B windows, H heads, N tokens, Q queries at a time, L blocks, R ROIs, G networks, n people.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from brainjepa_core.arrays import Float64
from brainjepa_core.evaluation.yardstick import ScanWindows
from brainjepa_core.models.interface import BrainModel
from brainjepa_core.models.parts.encoder import Encoder
from brainjepa_core.models.parts.transformer import Block
from brainjepa_core.models.tokens import token_validity

QUERIES = 256  # rows of attention made at a time: 28 MB at N = 4500 and six heads


@torch.no_grad()
def people_attention(
    model: BrainModel,
    windows: ScanWindows,
    people: Iterable[int],
    networks: NDArray[np.int64],
) -> Float64:
    """Attention between networks in each block, person by person.

    Parameters
    ----------
    model : BrainModel
    windows : ScanWindows
    people : iterable of int
    networks : ndarray of int64 [R]
        Network of each ROI, 0 .. G - 1.

    Returns
    -------
    ndarray of float64 [n, L, G, G]
        Mean over windows and heads, from a network (row) to a network (column), in units of
        attention that does not care whom it looks at: 1 for that, 2 for twice as much. NaN where
        all ROIs of a network are missing in a person.
    """
    device = next(model.parameters()).device
    labels = torch.from_numpy(networks).to(device)
    rows = []
    for person in people:
        x, frame_valid, roi_valid = windows.full_windows(person)
        valid = token_validity(frame_valid, roi_valid, model.settings.patch)
        maps = [
            network_attention(
                model,
                torch.from_numpy(x[i : i + 1]).to(device),
                labels,
                None if valid is None else torch.from_numpy(valid[i : i + 1]).to(device),
            )
            for i in range(len(x))
        ]
        rows.append(torch.cat(maps).nanmean(0).double().cpu().numpy())
    return np.stack(rows)


@torch.no_grad()
def network_attention(
    model: BrainModel, x: Tensor, networks: Tensor, token_valid: Tensor | None = None
) -> Tensor:
    """Attention between networks in each block, mean over heads.

    Parameters
    ----------
    model : BrainModel
    x : Tensor [B, R, T]
    networks : Tensor [R]
        int64, 0 .. G - 1.
    token_valid : Tensor [B, N], optional
        bool; tokens that neither attend nor are attended to.

    Returns
    -------
    Tensor [B, L, G, G]
        As in `people_attention`.

    Raises
    ------
    ValueError
        If there is not one network an ROI, or the model has no transformer blocks.
    """
    if networks.shape != (model.settings.rois,):
        raise ValueError(
            f"expected the network of each of {model.settings.rois} ROIs, found shape "
            f"{list(networks.shape)}; number the networks of the model's atlas"
        )
    member = F.one_hot(networks.repeat_interleave(model.settings.time_patches)).float()  # [N, G]
    member = member.expand(len(x), -1, -1)
    if token_valid is not None:
        member = member * token_valid[..., None]
    encoder = model.embedder
    if not isinstance(encoder, Encoder) or not len(encoder.blocks):
        raise ValueError(
            f"expected a model that embeds by transformer blocks, found {type(model).__name__}"
            f"{' of depth 0' if isinstance(encoder, Encoder) else ''}; "
            "attention is looked at in those only"
        )
    tokens = encoder.tokens(model.patches(x), model.basis_of(len(x)))
    maps = []
    for block in cast("list[Block]", list(encoder.blocks)):
        maps.append(_between_networks(block, tokens, member, token_valid))
        tokens = block(tokens, token_valid)
    return torch.stack(maps, 1)


def _between_networks(block: Block, x: Tensor, member: Tensor, valid: Tensor | None) -> Tensor:
    """Attention [B, G, G] of one block, relative to attention spread evenly over valid tokens."""
    q, k, _ = block.attn.queries_keys_values(block.norm1(x))
    total = torch.zeros(len(x), member.shape[-1], member.shape[-1], device=x.device)
    for start in range(0, q.shape[2], QUERIES):
        part = slice(start, start + QUERIES)
        scores = q[:, :, part] @ k.transpose(-2, -1) * q.shape[-1] ** -0.5  # [B, H, Q, N]
        if valid is not None:
            scores = scores.masked_fill(~valid[:, None, None], float("-inf"))
        to_network = scores.softmax(-1) @ member[:, None]  # [B, H, Q, G]
        total += member[:, part].transpose(1, 2) @ to_network.mean(1)
    size = member.sum(1)  # [B, G] valid tokens of each network
    even = size / size.sum(-1, keepdim=True)
    return total / (size[:, :, None] * even[:, None, :])
