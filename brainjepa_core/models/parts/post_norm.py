"""Post-norm transformer blocks, as BERT's and torch's own: the norm comes after the sum.

Shapes: N tokens, D width.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from brainjepa_core.models.parts.transformer import Attention


class PostNormBlock(nn.Module):
    """``x = norm(x + attention(x))``, then ``x = norm(x + mlp(x))``.

    Parameters
    ----------
    width, hidden : int
        D, and that of the inner layer.
    attention : Attention
    activation : callable
    eps : float
        Of the norms.
    """

    def __init__(
        self,
        width: int,
        hidden: int,
        attention: Attention,
        activation: Callable[[Tensor], Tensor],
        eps: float,
    ) -> None:
        super().__init__()
        self.attn = attention
        self.norm1 = nn.LayerNorm(width, eps=eps)
        self.fc1 = nn.Linear(width, hidden)
        self.fc2 = nn.Linear(hidden, width)
        self.norm2 = nn.LayerNorm(width, eps=eps)
        self.activation = activation

    def forward(self, x: Tensor, key_valid: Tensor | None = None) -> Tensor:
        """Map tokens [..., N, D] to as many; nothing attends to those that `key_valid` leaves out.

        Parameters
        ----------
        x : Tensor [..., N, D]
        key_valid : Tensor [..., N], optional
            bool.
        """
        x = self.norm1(x + self.attn(x, key_valid))
        out: Tensor = self.norm2(x + self.fc2(self.activation(self.fc1(x))))
        return out
