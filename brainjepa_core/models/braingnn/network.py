"""BrainGNN: graph convolutions that know which ROI they are at, and pooling that scores ROIs.

Li et al., Medical Image Analysis 74 (2021) 102233. A graph is a person: nodes are ROIs with their
rows of connectivity, edges are weighted by partial correlation.

Scores decide which half of the ROIs a pooling keeps. In the paper those of a person are z-scored,
and go through one sigmoid; every ROI has one, and people of a group are to score ROIs alike. In
the numbers that are published by its authors (``scores="ranks"``) a score goes through a second
sigmoid, and only the kept ones count, by their rank: people are to be alike in their best score,
their second best and so on, whichever ROIs these are.

Shapes: B people, R ROIs, n nodes of a layer, k of them kept, C channels, O outputs.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from brainjepa_core.models.braingnn.losses import Scores, added_losses
from brainjepa_core.models.parts.connectivity_learner import ConnectivityNetwork
from brainjepa_core.models.parts.transformer import take_tokens

ScoredBy = Literal["rois", "ranks"]
RATIO = 0.5  # of the nodes, that a pooling keeps
EPS = 1e-4  # spread of scores below which they are equal; in float32 it resolves far less
TINY = 1e-16  # under a root, which has no slope at 0


class Graph(NamedTuple):
    """People's graphs, or what pooling has left of them.

    Attributes
    ----------
    x : Tensor [B, n, C]
        Features of nodes.
    edges : Tensor [B, n, n]
        Weights, 0 where there is none; without loops.
    roi : Tensor [B, n]
        int64 ROI of each node.
    valid : Tensor [B, n]
        bool; nodes that are there.
    """

    x: Tensor
    edges: Tensor
    roi: Tensor
    valid: Tensor


class RoiConvolution(nn.Module):
    """Ra-GConv: each ROI has weights of its own, mixed from those of a few communities (eq. 1-4).

    Parameters
    ----------
    rois, inputs, outputs, communities : int
    """

    def __init__(self, rois: int, inputs: int, outputs: int, communities: int) -> None:
        super().__init__()
        self.shape = (inputs, outputs)
        self.membership = nn.Linear(rois, communities, bias=False)
        self.weights = nn.Linear(communities, inputs * outputs)
        self.bias = nn.Parameter(torch.empty(outputs).uniform_(-1, 1) * inputs**-0.5)

    def forward(self, graph: Graph) -> Tensor:
        """Map features [B, n, inputs] of nodes to [B, n, outputs]."""
        member = F.relu(self.membership.weight.T)[graph.roi]  # [B, n, communities]
        of_communities = self.weights.weight.T.unflatten(1, self.shape)
        h = torch.einsum("bnk,bni,kio->bno", member, graph.x, of_communities)
        h = h + graph.x @ self.weights.bias.unflatten(0, self.shape)
        out: Tensor = self._shares(graph) @ h + self.bias
        return out

    def _shares(self, graph: Graph) -> Tensor:
        """How much [B, n, n] of each node the sums of the others (rows) hear."""
        own = torch.eye(graph.x.shape[1], dtype=torch.bool, device=graph.x.device)
        there = graph.valid[:, None, :] & (graph.edges > 0)
        weights = torch.where(own, 1.0, graph.edges)  # a loop weighs 1
        return weights.masked_fill(~(there | own), -torch.inf).softmax(-1)


class ScoredPooling(nn.Module):
    """TopK pooling: the half of the nodes that score highest, scaled by their scores (eq. 5).

    Parameters
    ----------
    channels : int
    scored_by : {"rois", "ranks"}
        As the module says.
    """

    def __init__(self, channels: int, scored_by: ScoredBy) -> None:
        super().__init__()
        self.scored_by = scored_by
        self.direction = nn.Parameter(torch.empty(channels).uniform_(-1, 1) * channels**-0.5)

    def forward(self, graph: Graph) -> tuple[Graph, Scores]:
        """The graph of the nodes that are kept, and the scores of all."""
        along = graph.x @ self.direction / self.direction.norm()
        scores = torch.sigmoid(
            along if self.scored_by == "ranks" else _standardised(along, graph.valid)
        )
        count = graph.valid.sum(1, keepdim=True)
        keep = (count * RATIO).ceil().long()  # [B, 1]
        most = -(-graph.x.shape[1] // 2)
        index = _best_first(scores, graph.valid)[:, :most]
        valid = torch.arange(most, device=index.device) < keep
        gate = scores.gather(1, index)[..., None] * valid[..., None]
        x = take_tokens(graph.x, index) * gate
        rows = take_tokens(graph.edges, index)
        edges = rows.gather(2, index[:, None, :].expand(-1, most, -1))
        both = valid[:, :, None] & valid[:, None, :]
        kept = Graph(x, edges * both, graph.roi.gather(1, index), valid)
        told = torch.sigmoid(scores) if self.scored_by == "ranks" else scores
        return kept, Scores(told, graph.valid, index, valid)


def _standardised(x: Tensor, valid: Tensor) -> Tensor:
    """Values [B, n] of nodes, z-scored over those of a person that are there."""
    centred, spread = _spread(x, valid)
    return centred / spread.clamp_min(EPS)


def _best_first(scores: Tensor, valid: Tensor) -> Tensor:
    """Nodes [B, n] by their scores, those that are not there last.

    Of equal scores, as all of a person are who has no connectivity, the first ROIs: which of them
    rounding favours is another one on each device.
    """
    _, spread = _spread(scores, valid)
    told = torch.where(spread < EPS, 0.5, scores).masked_fill(~valid, -torch.inf)
    return told.argsort(dim=1, descending=True, stable=True)


def _spread(x: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
    """Values [B, n] less their mean over what is there, and how far they are spread [B, 1]."""
    count = valid.sum(1, keepdim=True).clamp_min(1)
    centred = (x - (x * valid).sum(1, keepdim=True) / count) * valid
    return centred, (centred.square().sum(1, keepdim=True) / count).clamp_min(TINY).sqrt()


def augmented(graph: Graph) -> Graph:
    """With an edge between nodes that two steps join, (A + I)^2, and no loops."""
    own = torch.eye(graph.edges.shape[1], dtype=graph.edges.dtype, device=graph.edges.device)
    both = graph.valid[:, :, None] & graph.valid[:, None, :]
    steps = graph.edges + own
    return graph._replace(edges=(steps @ steps) * (1 - own) * both)


class BrainGnn(ConnectivityNetwork):
    """Two convolutions, each followed by pooling, whose read-outs three linear layers see.

    Parameters
    ----------
    rois, outputs : int
    channels : int
        Of both convolutions, and of the first linear layer.
    communities, hidden : int
        As in `RoiConvolution`; width of the second linear layer.
    norm : {"layer", "batch"}
        After the linear layers; ``batch`` is the paper's, by which an output depends on who else is
        in the batch.
    scored_by : {"rois", "ranks"}
        As the module says.
    consistency : float
        Weight of the group consistency in `learned`; the paper's is 0.1 here.
    dropout : float
    """

    def __init__(
        self,
        rois: int,
        outputs: int,
        *,
        channels: int = 32,
        communities: int = 8,
        hidden: int = 512,
        norm: Literal["layer", "batch"] = "layer",
        scored_by: ScoredBy = "rois",
        consistency: float = 0.1,
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        self.convolutions = nn.ModuleList(
            RoiConvolution(rois, width, channels, communities) for width in (rois, channels)
        )
        self.pools = nn.ModuleList(ScoredPooling(channels, scored_by) for _ in range(2))
        normalise = nn.LayerNorm if norm == "layer" else nn.BatchNorm1d
        self.dense = nn.ModuleList(
            nn.Sequential(nn.Linear(a, b), nn.ReLU(), normalise(b), nn.Dropout(dropout))
            for a, b in ((4 * channels, channels), (channels, hidden))
        )
        self.head = nn.Linear(hidden, outputs)
        self.consistency, self.scored_by = consistency, scored_by

    reads_edges = True

    def forward(self, x: Tensor, valid: Tensor, edges: Tensor) -> Tensor:
        """Outputs [B, O] of people.

        Parameters
        ----------
        x : Tensor [B, R, R]
            Rows of Fisher z, the diagonal 0.
        valid : Tensor [B, R]
            bool; ROIs that are there.
        edges : Tensor [B, R, R]
            Absolute Fisher z of partial correlation, the diagonal 0.
        """
        return self.scored(x, valid, edges)[0]

    def scored(
        self, x: Tensor, valid: Tensor, edges: Tensor
    ) -> tuple[Tensor, tuple[Scores, Scores]]:
        """Outputs, and scores of the nodes of both layers."""
        seen, scores = self.readout(x, valid, edges)
        for layer in self.dense:
            seen = layer(seen)
        return self.head(seen), scores

    def readout(
        self, x: Tensor, valid: Tensor, edges: Tensor
    ) -> tuple[Tensor, tuple[Scores, Scores]]:
        """What the linear layers see [B, 4 C]: largest and mean features after each pooling."""
        graph = _graph(x, valid, edges)
        seen: list[Tensor] = []
        found: list[Scores] = []
        for convolution, pool in zip(self.convolutions, self.pools, strict=True):
            if found:
                graph = augmented(graph)
            graph, scores = pool(graph._replace(x=convolution(graph)))
            found.append(scores)
            inside = graph.valid[..., None]
            seen.append(graph.x.masked_fill(~inside, -torch.inf).amax(1))
            seen.append((graph.x * inside).sum(1) / inside.sum(1))
        return torch.cat(seen, 1), (found[0], found[1])

    def nodes(self, x: Tensor, valid: Tensor, *edges: Tensor) -> Tensor:
        """What the first convolution makes of each ROI [B, R, C]."""
        out: Tensor = self.convolutions[0](_graph(x, valid, *edges))
        return out

    def learned(
        self, arguments: tuple[Tensor, ...], classes: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Outputs [B, O], and what is to be small beside their losses [B].

        That scores decide, a person's own; and that people of a class are alike in them, if
        `classes` [B] are told.
        """
        outputs, scores = self.scored(*arguments)
        return outputs, added_losses(scores, classes, self.consistency, self.scored_by == "ranks")


def _graph(x: Tensor, valid: Tensor, edges: Tensor) -> Graph:
    """All ROIs of people, without what is told of missing ones."""
    roi = torch.arange(x.shape[1], device=x.device).expand(len(x), -1)
    both = valid[:, :, None] & valid[:, None, :]
    return Graph(x * both, edges * both, roi, valid)
