"""BrainGNN as its paper means it, by naive loops; missing ROIs take no part."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

from brainjepa_core.models.braingnn.losses import Scores, apart, undecided
from brainjepa_core.models.braingnn.network import BrainGnn, Graph, RoiConvolution, ScoredPooling

R = 7


def network(rois: int = R, **choices) -> BrainGnn:
    torch.manual_seed(0)
    return BrainGnn(rois, 2, channels=4, communities=3, hidden=6, **choices).double().eval()


def graphs(people: int = 3, rois: int = R, seed: int = 1):
    torch.manual_seed(seed)
    x, edges = torch.randn(people, rois, rois), torch.rand(people, rois, rois)
    edges = torch.where(edges > 0.3, edges, 0)
    off = 1 - torch.eye(rois)
    x, edges = ((a + a.mT) * off for a in (x, edges))
    return x.double(), torch.ones(people, rois, dtype=torch.bool), edges.double()


def test_a_convolution_by_loops():
    torch.manual_seed(0)
    layer = RoiConvolution(R, 5, 2, 3).double().requires_grad_(False)
    x, roi = torch.randn(1, 3, 5).double(), torch.tensor([[6, 0, 2]])
    edges = torch.tensor([[[0, 0.5, 0], [0.5, 0, 0.1], [0, 0.1, 0]]], dtype=torch.float64)
    graph = Graph(x, edges, roi, torch.ones(1, 3, dtype=torch.bool))
    h = []
    for node in range(3):
        member = layer.membership.weight[:, roi[0, node]].clamp_min(0)
        weights = (layer.weights.weight @ member + layer.weights.bias).reshape(5, 2)
        h.append(x[0, node] @ weights)
    expected = []
    for node, heard in enumerate([{0: 1, 1: 0.5}, {0: 0.5, 1: 1, 2: 0.1}, {1: 0.1, 2: 1}]):
        total = sum(math.exp(w) for w in heard.values())
        of_all = sum((math.exp(w) / total * h[j] for j, w in heard.items()), layer.bias)
        assert node in heard
        expected.append(of_all)
    assert_allclose(layer(graph)[0], torch.stack(expected), rtol=1e-12)


@pytest.mark.parametrize("scored_by", ["rois", "ranks"])
def test_of_equal_scores_the_first_rois_are_kept_whatever_rounding_says(scored_by):
    torch.manual_seed(0)
    pool = ScoredPooling(4, scored_by).double().requires_grad_(False)
    x = torch.randn(4).expand(3, R, 4) * (1 + 1e-12 * torch.randn(3, R, 1)).double()
    valid = torch.ones(3, R, dtype=torch.bool)
    valid[1, 0] = False
    _, scores = pool(Graph(x, graphs()[2], torch.arange(R).expand(3, -1), valid))
    first = [[0, 1, 2, 3], [1, 2, 3, 4], [0, 1, 2, 3]]
    assert scores.index.tolist() == first and scores.kept[0].all()


def test_pooling_by_loops_keeps_half_of_the_rois_that_are_there():
    torch.manual_seed(0)
    pool = ScoredPooling(4, "rois").double().requires_grad_(False)
    x, valid = torch.randn(2, R, 4).double(), torch.ones(2, R, dtype=torch.bool)
    valid[1, [0, 3, 4, 5]] = False
    graph = Graph(x, graphs(2)[2], torch.arange(R).expand(2, -1), valid)
    kept, scores = pool(graph)
    for person, there in enumerate([[0, 1, 2, 3, 4, 5, 6], [1, 2, 6]]):
        along = np.array([float(x[person, i] @ pool.direction) for i in there])
        z = (along - along.mean()) / along.std()
        s = 1 / (1 + np.exp(-z))
        assert_allclose(scores.values[person, there], s, rtol=1e-9)
        order = [there[i] for i in np.argsort(-s)][: math.ceil(len(there) / 2)]
        count = len(order)
        assert kept.valid[person].tolist() == [True] * count + [False] * (4 - count)
        assert kept.roi[person, :count].tolist() == order
        by_roi = dict(zip(there, s, strict=True))
        assert_allclose(kept.x[person, :count], [x[person, i] * by_roi[i] for i in order])
        assert not kept.x[person, count:].any()
        found = kept.edges[person, :count, :count]
        assert_allclose(found, graph.edges[person][order][:, order])
    assert pool.direction.norm() != 1  # its length does not count


def test_decided_scores_cost_nothing():
    valid, index = torch.tensor([[True, True, True, False]]), torch.tensor([[2, 0]])
    kept = torch.ones_like(index, dtype=torch.bool)
    s = torch.tensor([[0.7, 0.2, 0.9, 0.5]]).double()
    expected = -(math.log(0.9) + math.log(0.7) + math.log(0.8)) / 3
    assert undecided(Scores(s, valid, index, kept)).tolist() == pytest.approx([expected])
    sure = torch.tensor([[1.0, 0.0, 1.0, 0.5]]).double()
    assert float(undecided(Scores(sure, valid, index, kept))) == pytest.approx(0, abs=1e-9)


def test_consistency_is_of_rois_and_not_of_ranks():
    """Two people whose scores are the same numbers at other ROIs are apart."""
    s = torch.tensor([[0.9, 0.1, 0.5], [0.1, 0.9, 0.5], [0.3, 0.3, 0.3]]).double()
    everywhere, groups = torch.ones_like(s, dtype=torch.bool), torch.tensor([0, 0, 1])
    pairs = sum(float((s[i] - s[j]).square().sum()) for i in (0, 1) for j in (0, 1))
    assert float(apart(s, everywhere, groups)) == pytest.approx(pairs / 2 / 2**2)
    assert float(apart(s.sort(1).values, everywhere, groups)) == 0
    lacking = everywhere.clone()
    lacking[1, 0] = False
    assert float(apart(s, lacking, groups)) == pytest.approx(pairs / 2 / 2 / 2**2)


@pytest.mark.parametrize("scored_by", ["rois", "ranks"])
def test_missing_rois_never_influence(scored_by):
    model, (x, valid, edges) = network(scored_by=scored_by), graphs()
    valid[1, [1, 4]] = False
    other, crossed = x.clone(), edges.clone()
    for array in (other, crossed):
        array[1, [1, 4]], array[1, :, [1, 4]] = 99.0, 99.0
    assert torch.equal(model(x, valid, edges), model(other, valid, crossed))
    whole = torch.ones_like(valid)
    assert not torch.allclose(model(x, valid, edges)[1], model(x, whole, edges)[1])


def test_a_missing_roi_is_as_one_that_was_never_there():
    model, (x, valid, edges) = network(), graphs(1)
    kept = [0, 1, 3, 4, 6]
    valid[0, [2, 5]] = False
    rest = network(len(kept))
    state = model.state_dict()
    first = "convolutions.0."
    state[f"{first}membership.weight"] = state[f"{first}membership.weight"][:, kept]
    by_row = state[f"{first}weights.weight"].reshape(R, 4, 3)[kept].flatten(0, 1)
    state[f"{first}weights.weight"] = by_row
    state[f"{first}weights.bias"] = state[f"{first}weights.bias"].reshape(R, 4)[kept].flatten()
    later = "convolutions.1."
    state[f"{later}membership.weight"] = state[f"{later}membership.weight"][:, kept]
    rest.load_state_dict(state)
    alone = rest(
        *(a[:, kept][:, :, kept] if a.ndim == 3 else a[:, kept] for a in (x, valid, edges))
    )
    assert_allclose(model(x, valid, edges).detach(), alone.detach(), rtol=1e-9)


def test_nobody_depends_on_the_others_and_everything_learns():
    model, (x, valid, edges) = network(dropout=0.0), graphs()
    alone = model(x[:1], valid[:1], edges[:1])
    assert_allclose(model(x, valid, edges)[:1].detach(), alone.detach(), rtol=1e-9)
    outputs, added = model.learned((x, valid, edges), torch.tensor([0, 0, 1]))
    (outputs.square().sum(1) + added).mean().backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in model.parameters())


def test_groups_are_drawn_together():
    model, told = network(), graphs()
    groups = torch.tensor([0, 0, 1])
    far, near = (model.learned(told, g)[1] for g in (groups, None))
    assert (far > near).all()
    assert torch.equal(network(consistency=0.0).learned(told, groups)[1], near)


def test_ranks_of_people_who_lack_rois_are_of_nothing():
    """Nothing is decided by data where it may be on a GPU, or of many people side by side."""
    model, (x, valid, edges) = network(scored_by="ranks"), graphs()
    valid[1, [1, 4]] = False
    added = model.learned((x, valid, edges), None)[1]
    assert added.isnan().tolist() == [False, True, False]
