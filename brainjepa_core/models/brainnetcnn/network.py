"""BrainNetCNN: convolutions over the edges of a person's connectivity.

Kawahara et al., NeuroImage 146 (2017) 1038-1049. Missing ROIs take no part: nothing is read from
them, nothing is written to them.

Shapes: B batch, R ROIs, C channels, O outputs.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch.nn.functional as F
from torch import Tensor, nn

from brainjepa_core.models.parts.connectivity_learner import ConnectivityNetwork

SLOPE = 0.33  # of the negative side (published)


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


class BrainNetCnn(ConnectivityNetwork):
    """Edge to edge, edge to node, node to graph, and linear layers.

    Parameters
    ----------
    rois, outputs : int
    edges, nodes, graph : int
        Channels of the three kinds of layers.
    depth : int
        Edge-to-edge layers.
    hidden : sequence of int
        Widths of the linear layers before the last one.
    dropout : float
        Before each linear layer.
    """

    def __init__(
        self,
        rois: int,
        outputs: int,
        *,
        edges: int = 8,
        nodes: int = 16,
        graph: int = 64,
        depth: int = 1,
        hidden: Sequence[int] = (32,),
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        self.edge_to_edge = nn.ModuleList(
            EdgeToEdge(edges if layer else 1, edges, rois) for layer in range(depth)
        )
        self.edge_to_node = nn.Conv2d(edges, nodes, (1, rois))
        self.node_to_graph = nn.Conv2d(nodes, graph, (rois, 1))
        widths = (graph, *hidden)
        self.dense = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(widths))
        self.head = nn.Linear(widths[-1], outputs)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, valid: Tensor, *edges: Tensor) -> Tensor:
        """Map connectivity [B, R, R] with valid ROIs [B, R] to [B, O]."""
        nodes = self.nodes(x, valid).mT[..., None]  # [B, C, R, 1]
        seen = F.leaky_relu(self.node_to_graph(nodes), SLOPE).flatten(1)
        for layer in self.dense:
            seen = F.leaky_relu(layer(self.dropout(seen)), SLOPE)
        out: Tensor = self.head(self.dropout(seen))
        return out

    def nodes(self, x: Tensor, valid: Tensor, *edges: Tensor) -> Tensor:
        """What the edges of each ROI come to [B, R, C]; 0 of missing ones."""
        there = valid[:, None, :, None].to(x.dtype)  # [B, 1, R, 1]
        edge = there * there.mT
        x = x[:, None] * edge
        for layer in self.edge_to_edge:
            x = F.leaky_relu(layer(x), SLOPE) * edge
        found = F.leaky_relu(self.edge_to_node(x), SLOPE) * there
        return found[..., 0].mT
