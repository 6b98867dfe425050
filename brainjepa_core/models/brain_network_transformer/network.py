"""Brain Network Transformer: attention among ROIs, told by their profiles of connectivity.

Kan et al., NeurIPS 2022 (arXiv 2210.06681). Missing ROIs take no part: nothing is read from them,
nothing is written to them.

Shapes: B batch, R ROIs, D width, K clusters, O outputs.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from brainjepa_core.models.parts.connectivity_learner import ConnectivityNetwork
from brainjepa_core.models.parts.transformer import Block


class ClusterReadout(nn.Module):
    """Nodes to clusters: soft assignment to K fixed orthonormal centres (Kan 2022, eq. 4-5).

    Parameters
    ----------
    width, clusters : int
        D, and K of at most D.
    """

    centres: Tensor

    def __init__(self, width: int, clusters: int) -> None:
        super().__init__()
        # Orthogonalised as Gram and Schmidt would; in the published code they do not move either.
        centres = torch.linalg.qr(torch.randn(width, clusters)).Q.T.contiguous()
        self.register_buffer("centres", centres)

    def forward(self, x: Tensor, valid: Tensor) -> Tensor:
        """Sums [B, K D] of the nodes [B, R, D] that belong to each cluster."""
        share = (x @ self.centres.T).softmax(-1) * valid[..., None]
        return (share.transpose(1, 2) @ x).flatten(1)


class BrainNetworkTransformer(ConnectivityNetwork):
    """Transformer over ROIs whose features are their connection profiles, and clusters of them.

    Kan et al., NeurIPS 2022. Unlike there, profiles are brought from R to a small width first, and
    blocks are this project's (pre-norm); the layers' number, the profiles without positions and the
    orthonormal clustering readout are the paper's.

    Parameters
    ----------
    rois, outputs : int
    width, heads, depth, clusters, hidden : int
    dropout : float
        Of profiles and before the head.
    """

    def __init__(
        self,
        rois: int,
        outputs: int,
        *,
        width: int = 64,
        heads: int = 4,
        depth: int = 2,
        clusters: int = 10,
        hidden: int = 32,
        dropout: float = 0.3,
    ) -> None:
        super().__init__()
        self.embed = nn.Linear(rois, width)
        self.blocks = nn.ModuleList(Block(width, heads, 2.0) for _ in range(depth))
        self.norm = nn.LayerNorm(width)
        self.readout = ClusterReadout(width, clusters)
        self.dense = nn.Linear(clusters * width, hidden)
        self.head = nn.Linear(hidden, outputs)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, valid: Tensor, *edges: Tensor) -> Tensor:
        """Map connectivity [B, R, R] with valid ROIs [B, R] to [B, O]."""
        seen = self.readout(self.nodes(x, valid), valid)
        out: Tensor = self.head(self.dropout(F.leaky_relu(self.dense(seen))))
        return out

    def nodes(self, x: Tensor, valid: Tensor, *edges: Tensor) -> Tensor:
        """What the blocks make of the profiles of ROIs [B, R, D]."""
        x = self.embed(self.dropout(x * (valid[:, :, None] & valid[:, None, :])))
        for block in self.blocks:
            x = block(x, valid)
        out: Tensor = self.norm(x)
        return out
