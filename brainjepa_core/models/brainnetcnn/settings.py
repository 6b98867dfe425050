"""Sizes of a BrainNetCNN."""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import Field

from brainjepa_core.models.brainnetcnn.network import BrainNetCnn
from brainjepa_core.models.parts.connectivity_learner import ConnectivityLearnerSettings


class BrainNetCnnSettings(ConnectivityLearnerSettings):
    """What a BrainNetCNN looks like.

    Attributes
    ----------
    edges, nodes, graph : int
        Channels of edge-to-edge, edge-to-node and node-to-graph layers.
    depth : int
        Edge-to-edge layers.
    hidden : tuple of int
        Widths of the linear layers before the last one.
    """

    presets: ClassVar[dict[str, dict[str, Any]]] = {
        "tiny": {"edges": 8, "nodes": 16, "graph": 64, "hidden": (32,)},
        "base": {"edges": 32, "nodes": 64, "graph": 256, "depth": 2, "hidden": (128, 30)},  # paper
    }

    edges: int = Field(ge=1)
    nodes: int = Field(ge=1)
    graph: int = Field(ge=1)
    depth: int = Field(1, ge=1)
    hidden: tuple[int, ...] = ()

    @property
    def other_weights(self) -> int:
        """Of all layers but the linear ones."""
        of_edges = 2 * self.rois * self.edges * (1 + (self.depth - 1) * self.edges)
        return of_edges + self.rois * self.nodes * (self.edges + self.graph)

    @property
    def other_kept(self) -> int:
        """Matrices, and edges of all channels."""
        return super().other_kept + 2 * self.depth * self.edges * self.rois**2

    def network(self) -> BrainNetCnn:
        """A new network, with one output a phenotype."""
        return BrainNetCnn(
            self.rois,
            len(self.phenotypes),
            edges=self.edges,
            nodes=self.nodes,
            graph=self.graph,
            depth=self.depth,
            hidden=self.hidden,
            dropout=0.0,
        )
