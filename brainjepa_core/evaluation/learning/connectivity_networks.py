"""Networks that read connectivity: BrainNetCNN and the Brain Network Transformer, small ones.

Missing ROIs take no part: nothing is read from them, nothing is written to them.

Shapes: B batch, R ROIs, C channels, D width, K clusters, O outputs.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from brainjepa_core.models.parts.transformer import Block


class EdgeToEdge(nn.Module):
    """E2E: an edge becomes a weighted sum of all edges of its two ends (Kawahara 2017, eq. 1).

    ``out[o, i, j] = sum_c sum_k (row[o, c, k] x[c, i, k] + column[o, c, k] x[c, k, j]) + b[o]``.
    """

    def __init__(self, channels: int, outputs: int, rois: int) -> None:
        super().__init__()
        self.row = nn.Conv2d(channels, outputs, (1, rois))
        self.column = nn.Conv2d(channels, outputs, (rois, 1), bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, C, R, R] to [B, O, R, R]."""
        out: Tensor = self.row(x) + self.column(x)
        return out


class BrainNetCnn(nn.Module):
    """Edge to edge, edge to node, node to graph, and two linear layers.

    Kawahara et al., NeuroImage 146 (2017) 1038-1049, with one E2E layer and fewer channels than
    the paper's 32, 64 and 256.

    Parameters
    ----------
    rois, outputs : int
    edges, nodes, graph, hidden : int
        Channels of the three layers, and width between the linear ones.
    dropout : float
    """

    def __init__(
        self,
        rois: int,
        outputs: int,
        *,
        edges: int = 8,
        nodes: int = 16,
        graph: int = 64,
        hidden: int = 32,
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        self.edge_to_edge = EdgeToEdge(1, edges, rois)
        self.edge_to_node = nn.Conv2d(edges, nodes, (1, rois))
        self.node_to_graph = nn.Conv2d(nodes, graph, (rois, 1))
        self.dense = nn.Linear(graph, hidden)
        self.head = nn.Linear(hidden, outputs)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, valid: Tensor) -> Tensor:
        """Map connectivity [B, R, R] with valid ROIs [B, R] to [B, O]."""
        node = valid[:, None, :, None].to(x.dtype)  # [B, 1, R, 1]
        edge = node * node.transpose(2, 3)
        x = F.leaky_relu(self.edge_to_edge(x[:, None] * edge), 0.33) * edge
        x = F.leaky_relu(self.edge_to_node(x), 0.33) * node
        x = F.leaky_relu(self.node_to_graph(x), 0.33).flatten(1)
        x = F.leaky_relu(self.dense(self.dropout(x)), 0.33)
        out: Tensor = self.head(self.dropout(x))
        return out


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


class BrainNetworkTransformer(nn.Module):
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

    def forward(self, x: Tensor, valid: Tensor) -> Tensor:
        """Map connectivity [B, R, R] with valid ROIs [B, R] to [B, O]."""
        x = self.embed(self.dropout(x * (valid[:, :, None] & valid[:, None, :])))
        for block in self.blocks:
            x = block(x, valid)
        x = F.leaky_relu(self.dense(self.readout(self.norm(x), valid)))
        out: Tensor = self.head(self.dropout(x))
        return out
