"""Pre-norm transformer blocks whose attention can be asked for a part of the tokens only.

Shapes: B batch, K masks per sample, N tokens, Q queried tokens, D width, H heads.
Leading axes are free ([B, N, D] or [B, K, N, D]) and the first one is always the sample, so that
per-sample gradient hooks (Opacus) see one row per person.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Kernel = Callable[[Tensor, Tensor, Tensor, Tensor | None], Tensor]
LAYER_NORM_EPS = 1e-6


def take_tokens(x: Tensor, index: Tensor) -> Tensor:
    """Gather tokens by index.

    Parameters
    ----------
    x : Tensor [..., N, D]
    index : Tensor [..., Q]
        int64; leading axes as in `x`.

    Returns
    -------
    Tensor [..., Q, D]
    """
    return x.gather(-2, index[..., None].expand(*index.shape, x.shape[-1]))


def valid_of(index: Tensor | None, tokens: int) -> Tensor | None:
    """Which of so many tokens [B, N] are at an index [B, n]; None of all."""
    if index is None:
        return None
    none = torch.zeros(len(index), tokens, dtype=torch.bool, device=index.device)
    return none.scatter(1, index, True)


def masked_attention(q: Tensor, k: Tensor, v: Tensor, key_valid: Tensor | None) -> Tensor:
    """``scaled_dot_product_attention`` of [B, H, Q, D/H] to the keys that are valid [B, N]."""
    mask = None if key_valid is None else key_valid[:, None, None]
    if q.device.type == "cpu":  # a row of heads is a memory page: each by itself is 4 % faster
        q, k, v = q.contiguous(), k.contiguous(), v.contiguous()
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask)


def use_attention(model: nn.Module, kernel: Kernel) -> None:
    """Let another kernel compute what `masked_attention` does, everywhere in a model."""
    for module in model.modules():
        if isinstance(module, Attention):
            module.kernel = kernel


class Attention(nn.Module):
    """Multi-head self-attention; `kernel` mixes the values."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.kernel: Kernel = masked_attention
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def queries_keys_values(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Project [..., N, D] to three [B*, H, N, D/H], leading axes flattened for the kernel."""
        *_, n_tokens, width = x.shape
        qkv = self.qkv(x).reshape(-1, n_tokens, 3, self.heads, width // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        return q, k, v

    def forward(
        self, x: Tensor, key_valid: Tensor | None = None, query_index: Tensor | None = None
    ) -> Tensor:
        """Attend from the queried tokens (all by default) to every valid token."""
        q, k, v = self.queries_keys_values(x)
        if query_index is not None:
            index = query_index.reshape(-1, 1, query_index.shape[-1])
            q = take_tokens(q, index.expand(-1, self.heads, -1))
        valid = None if key_valid is None else key_valid.reshape(-1, key_valid.shape[-1])
        mixed = self.kernel(q, k, v, valid)
        mixed = mixed.transpose(1, 2).reshape(*x.shape[:-2], -1, x.shape[-1])
        out: Tensor = self.proj(mixed)
        return out


class Mlp(nn.Module):
    """Two linear layers with an exact (erf) GELU between them."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, hidden)
        self.fc2 = nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        """Map [..., D] to [..., D]."""
        out: Tensor = self.fc2(F.gelu(self.fc1(x)))
        return out


class Block(nn.Module):
    """Pre-norm block: x + attention(norm(x)), then x + mlp(norm(x))."""

    def __init__(self, width: int, heads: int, mlp_ratio: float) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=LAYER_NORM_EPS)
        self.attn = Attention(width, heads)
        self.norm2 = nn.LayerNorm(width, eps=LAYER_NORM_EPS)
        self.mlp = Mlp(width, int(width * mlp_ratio))

    def forward(
        self, x: Tensor, key_valid: Tensor | None = None, query_index: Tensor | None = None
    ) -> Tensor:
        """Update the queried tokens.

        Parameters
        ----------
        x : Tensor [..., N, D]
        key_valid : Tensor [..., N], optional
            bool; False where a token must not be attended to.
        query_index : Tensor [..., Q], optional
            Tokens wanted from this block. In the last block of a network only those that are
            read need queries, projection and MLP: exact, and cheaper.

        Returns
        -------
        Tensor [..., Q, D], or [..., N, D] without `query_index`
        """
        attended = self.attn(self.norm1(x), key_valid, query_index)
        if query_index is not None:
            x = take_tokens(x, query_index)
        x = x + attended
        out: Tensor = x + self.mlp(self.norm2(x))
        return out


class Blocks(nn.ModuleList):
    """A stack of blocks, the last of which may be asked for some tokens only."""

    def __init__(self, depth: int, width: int, heads: int, mlp_ratio: float) -> None:
        super().__init__(Block(width, heads, mlp_ratio) for _ in range(depth))

    def forward(
        self, x: Tensor, key_valid: Tensor | None = None, query_index: Tensor | None = None
    ) -> Tensor:
        """Run all blocks; see `Block.forward` for shapes."""
        last = len(self) - 1
        if last < 0 and query_index is not None:
            return take_tokens(x, query_index)
        for depth, block in enumerate(self):
            x = block(x, key_valid, query_index if depth == last else None)
        return x


def keep_signal(embedding: nn.Linear) -> None:
    """Make a linear map of patches [p] to tokens [D] keep their inner products, up to one factor.

    Columns are orthogonal, and as long as gives content of unit variance unit amplitude.
    """
    width, patch = embedding.weight.shape
    nn.init.orthogonal_(embedding.weight, gain=(width / patch) ** 0.5)


def add_nothing(module: nn.Module) -> None:
    """Zero the last layer of a residual branch; gradients reach it from the first step."""
    if isinstance(module, Attention):
        nn.init.zeros_(module.proj.weight)
    if isinstance(module, Mlp):
        nn.init.zeros_(module.fc2.weight)


def initialise(module: nn.Module) -> None:
    """Published initialisation: linear weights truncated normal (std 0.02, cut at 2), biases 0."""
    if isinstance(module, nn.Linear | nn.Embedding):
        nn.init.trunc_normal_(module.weight, std=0.02, a=-2.0, b=2.0)
    if isinstance(module, nn.Linear) and module.bias is not None:
        nn.init.zeros_(module.bias)
