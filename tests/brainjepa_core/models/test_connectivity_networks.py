"""BrainNetCNN's layers by naive loops, BNT's readout by its formula; missing ROIs take no part."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

from brainjepa_core.models.brain_network_transformer.network import (
    BrainNetworkTransformer,
    ClusterReadout,
)
from brainjepa_core.models.brainnetcnn.network import BrainNetCnn, EdgeToEdge

B, C, OUT, R = 2, 2, 3, 5


def test_edge_to_edge_by_loops():
    torch.manual_seed(0)
    layer, x = EdgeToEdge(C, OUT, R), torch.randn(B, C, R, R)
    layer.requires_grad_(False)
    row, column = layer.row.weight[:, :, 0], layer.column.weight[:, :, :, 0]
    expected = np.zeros((B, OUT, R, R))
    for b, o, i, j in np.ndindex(B, OUT, R, R):
        expected[b, o, i, j] = layer.row.bias[o]
        for c in range(C):
            for k in range(R):
                expected[b, o, i, j] += row[o, c, k] * x[b, c, i, k]
                expected[b, o, i, j] += column[o, c, k] * x[b, c, k, j]
    assert_allclose(layer(x), expected, atol=1e-5)


def test_brainnetcnn_by_its_layers():
    torch.manual_seed(0)
    network = BrainNetCnn(R, 2, edges=3, nodes=4, graph=6, depth=2, hidden=(5, 4)).eval()
    x, valid = torch.randn(B, R, R), torch.ones(B, R, dtype=torch.bool)

    def leaky(a):
        return torch.where(a > 0, a, 0.33 * a)

    edges = leaky(network.edge_to_edge[1](leaky(network.edge_to_edge[0](x[:, None]))))
    to_node, to_graph = network.edge_to_node, network.node_to_graph
    nodes = torch.einsum("bcij,ocj->boi", edges, to_node.weight[:, :, 0])
    nodes = leaky(nodes + to_node.bias[:, None])
    graph = torch.einsum("bci,oci->bo", nodes, to_graph.weight[:, :, :, 0]) + to_graph.bias
    first, second = network.dense
    expected = network.head(leaky(second(leaky(first(leaky(graph))))))
    assert_allclose(network(x, valid).detach(), expected.detach(), atol=1e-5)


def test_centres_are_orthonormal_and_do_not_move():
    torch.manual_seed(0)
    readout = ClusterReadout(8, 5)
    assert_allclose(readout.centres @ readout.centres.T, np.eye(5), atol=1e-6)
    assert list(readout.parameters()) == []


def test_readout_by_loops():
    torch.manual_seed(0)
    readout, x = ClusterReadout(4, 3), torch.randn(B, R, 4)
    valid = torch.tensor([[1, 1, 1, 1, 1], [1, 0, 1, 1, 0]]).bool()
    expected = np.zeros((B, 3, 4))
    for b in range(B):
        for r in range(R):
            scores = np.exp([float(x[b, r] @ centre) for centre in readout.centres])
            for k in range(3):
                expected[b, k] += valid[b, r].item() * scores[k] / scores.sum() * x[b, r].numpy()
    assert_allclose(readout(x, valid), expected.reshape(B, -1), atol=1e-5)


def small(kind):
    torch.manual_seed(0)
    sizes = {"width": 8, "heads": 2, "clusters": 4} if kind is BrainNetworkTransformer else {}
    return kind(R, 2, **sizes)


@pytest.mark.parametrize("kind", [BrainNetCnn, BrainNetworkTransformer])
def test_missing_rois_never_influence(kind):
    network = small(kind).eval()
    valid = torch.tensor([[1, 1, 1, 1, 1], [1, 0, 1, 1, 0]]).bool()
    x = torch.randn(B, R, R)
    other = x.clone()
    other[1, [1, 4]], other[1, :, [1, 4]] = 99.0, -99.0
    assert torch.equal(network(x, valid), network(other, valid))
    assert not torch.equal(network(x, valid)[1], network(x, torch.ones_like(valid))[1])


def test_a_missing_roi_is_as_one_that_was_never_there():
    """The transformer shares its weights over ROIs, so it can be asked without the ROI."""
    network = small(BrainNetworkTransformer).eval()
    x = torch.randn(1, R, R)
    valid = torch.tensor([[True, True, False, True, True]])
    kept = [0, 1, 3, 4]
    rest = BrainNetworkTransformer(4, 2, width=8, heads=2, clusters=4).eval()
    state = network.state_dict()
    state["embed.weight"] = state["embed.weight"][:, kept]
    rest.load_state_dict(state)
    alone = rest(x[:, kept][:, :, kept], valid[:, kept])
    assert_allclose(network(x, valid).detach(), alone.detach(), atol=1e-6)


@pytest.mark.parametrize("kind", [BrainNetCnn, BrainNetworkTransformer])
def test_nobody_depends_on_the_others(kind):
    network = small(kind).eval()
    x, valid = torch.randn(4, R, R), torch.ones(4, R, dtype=torch.bool)
    assert_allclose(network(x, valid)[:1].detach(), network(x[:1], valid[:1]).detach(), atol=1e-6)
    network.train()(x, valid).sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in network.parameters())
