"""Attention to the tokens that are there, packed one sample after the other.

Where some tokens of a batch are not there, the fastest kernels refuse the mask; packed, the others
need none.

Shapes: B samples (or masks of samples), H heads, Q queries, N keys, d width of a head.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from brainjepa_core.models.parts.transformer import masked_attention

HALF = (torch.bfloat16, torch.float16)  # what the kernel knows
Varlen = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor, int, int], Tensor]


def flash_varlen(
    q: Tensor, k: Tensor, v: Tensor, starts_q: Tensor, starts_k: Tensor, most_q: int, most_k: int
) -> Tensor:
    """``torch.nn.attention.varlen.varlen_attn``, which is a GPU's."""
    from torch.nn.attention.varlen import varlen_attn

    out = varlen_attn(q, k, v, starts_q, starts_k, most_q, most_k)
    assert isinstance(out, Tensor)
    return out


class PackedAttention:
    """Takes the place of `masked_attention`; without a mask, or in float32, it is that.

    Parameters
    ----------
    varlen : callable
        ``(q [Tq, H, d], k [Tk, H, d], v [Tk, H, d], starts_q [B + 1], starts_k [B + 1], most_q,
        most_k) -> [Tq, H, d]``: sample i has the rows ``starts[i] .. starts[i + 1]`` (int32). Of
        rows beyond the last start it reads nothing, and leaves their gradient undefined.
    """

    def __init__(self, varlen: Varlen = flash_varlen) -> None:
        self.varlen = varlen

    def __call__(self, q: Tensor, k: Tensor, v: Tensor, key_valid: Tensor | None) -> Tensor:
        """Attend as `masked_attention` does.

        Parameters
        ----------
        q : Tensor [B, H, Q, d]
        k, v : Tensor [B, H, N, d]
        key_valid : Tensor [B, N], optional
            bool; at least one of each sample.

        Returns
        -------
        Tensor [B, H, Q, d]
        """
        if key_valid is None or q.dtype not in HALF:
            return masked_attention(q, k, v, key_valid)
        batch, _, queries, _ = q.shape
        there = key_valid.flatten()
        # What is there first, in its order. All rows stay: how many there are is known on the
        # device alone, which nobody waits for.
        order = torch.argsort(~there, stable=True)
        kept = there[order][:, None, None]
        starts_k = F.pad(key_valid.sum(1).cumsum(0), (1, 0)).to(torch.int32)
        starts_q = torch.arange(batch + 1, device=q.device, dtype=torch.int32) * queries

        def packed(x: Tensor) -> Tensor:
            # `where` and not a product: it also stops gradients that are undefined.
            return torch.where(kept, _rows(x)[order], 0)

        out = self.varlen(
            _rows(q), packed(k), packed(v), starts_q, starts_k, queries, key_valid.shape[1]
        )
        mixed: Tensor = out.unflatten(0, (batch, queries)).transpose(1, 2)
        return mixed


def _rows(x: Tensor) -> Tensor:
    """[B, H, n, d] as [B * n, H, d]."""
    return x.transpose(1, 2).flatten(0, 1)
