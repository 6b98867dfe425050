"""Encoder and head: what moves, how fast, and that nothing invalid is read."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

from brainjepa_core.evaluation.learning.finetune_settings import FinetuneSettings
from brainjepa_core.evaluation.learning.finetuned_network import (
    FinetunedNetwork,
    layer_groups,
    prepare,
)
from brainjepa_core.models.brain_jepa.model import BrainJEPA
from brainjepa_core.models.brain_jepa.settings import BrainJepaSettings

NETWORKS = np.array([0, 0, 1, 1, 2])


def small_model(depth: int = 3) -> BrainJEPA:
    torch.manual_seed(0)
    sizes = dict(width=8, depth=depth, heads=2, predictor_width=8, predictor_heads=2)
    s = BrainJepaSettings.preset("tiny", rois=5, frames=8, patch=4, components=2, **sizes)
    model = BrainJEPA(s, torch.randn(5, 2))
    for parameter in model.target_encoder.parameters():  # unlike the context encoder's
        parameter.data += 0.1 * torch.randn_like(parameter)
    return model


def network_of(model: BrainJEPA | None = None, pool="mean", outputs: int = 2) -> FinetunedNetwork:
    torch.manual_seed(1)
    return FinetunedNetwork(model or small_model(), outputs, pool, NETWORKS)


def prepared(**choices) -> FinetunedNetwork:
    network = network_of()
    prepare(network, FinetuneSettings(**choices))
    return network


def moving(network: FinetunedNetwork) -> set[str]:
    names = {name for name, p in network.named_parameters() if p.requires_grad}
    assert {"head.weight", "head.bias"} <= names
    return names - {"head.weight", "head.bias"}


@pytest.mark.parametrize("pool", ["mean", "second_order", ("mean", "network_covariance")])
def test_it_reads_what_the_model_embeds(pool):
    model = small_model()
    network, x = network_of(model, pool), torch.randn(4, 5, 8)
    valid = torch.rand(4, 10) > 0.2
    expected = model.embed(x, pool, valid, torch.from_numpy(NETWORKS))
    assert torch.equal(network.pooled(x, valid), expected)
    assert network.head.in_features == expected.shape[1]
    network.standardise(expected.split(3))
    z = (expected - expected.mean(0)) / expected.std(0, unbiased=False)
    assert_allclose(network(x, valid).detach(), network.head(z).detach(), atol=1e-4)


def test_a_feature_that_does_not_vary_counts_nothing():
    network = network_of()
    features = torch.randn(6, 8)
    features[:, 2] = 3.0
    network.standardise([features])
    assert network.scale[2] == 0 and (network.scale[[0, 1, 3]] > 0).all()


def test_the_model_is_left_alone():
    model = small_model()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    network = network_of(model)
    prepare(network, FinetuneSettings(train="lora"))
    network(torch.randn(2, 5, 8)).sum().backward()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter += 1
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert not any(p.requires_grad for p in model.target_encoder.parameters())


def test_missing_rois_and_padded_frames_never_influence():
    network, x = network_of(pool="second_order"), torch.randn(2, 5, 8)
    valid = torch.ones(2, 5, 2, dtype=torch.bool)
    valid[0, 3], valid[1, :, 1] = False, False
    other = x.clone()
    other[0, 3], other[1, :, 4:] = 99.0, -99.0
    valid = valid.flatten(1)
    assert torch.equal(network(x, valid), network(other, valid))
    assert not torch.equal(network(x), network(other))


def test_all_moves_but_for_frozen_blocks():
    everything = {name for name, _ in network_of().named_parameters()} - {
        "head.weight", "head.bias",
    }  # fmt: skip
    assert moving(prepared()) == everything
    low = ("encoder.patch", "encoder.positions", "encoder.blocks.0", "encoder.blocks.1")
    assert moving(prepared(freeze_blocks=2)) == {n for n in everything if not n.startswith(low)}
    top = {"encoder.norm.weight", "encoder.norm.bias"}
    assert moving(prepared(freeze_blocks=3)) == top


def test_the_head_alone_moves():
    network = prepared(train="head", drop_path=0.9)
    assert moving(network) == set()
    x = torch.randn(2, 5, 8)
    assert torch.equal(network.train()(x), network.eval()(x))  # nothing is dropped


def test_norms_alone_move():
    names = moving(prepared(train="norms", freeze_blocks=1))
    parts = [f"encoder.blocks.{i}.norm{j}" for i in (1, 2) for j in (1, 2)] + ["encoder.norm"]
    assert names == {f"{part}.{kind}" for part in parts for kind in ("weight", "bias")}


def test_low_rank_differences_alone_move():
    names = moving(prepared(train="lora", freeze_blocks=2))
    assert names == {
        f"encoder.blocks.2.attn.{layer}.{part}"
        for layer in ("qkv", "proj")
        for part in ("up", "down")
    }


def test_more_frozen_blocks_than_there_are():
    with pytest.raises(ValueError, match="freeze_blocks of at most 3, found 4; lower it"):
        prepared(freeze_blocks=4)


def test_each_layer_has_its_factor():
    network = network_of()
    groups = layer_groups(network, 0.5, head_factor=7.0)
    names = {id(p): name for name, p in network.named_parameters()}
    found = {names[id(p)]: group.factor for group in groups for p in group.parameters}
    assert len(found) == len(names)
    for name, factor in found.items():
        expected = {"patch": 0.5**4, "positions": 0.5**4, "norm": 1.0}
        parts = name.split(".")
        if parts[0] == "head":
            assert factor == 7
        elif parts[1] == "blocks":
            assert factor == 0.5 ** (3 - int(parts[2]))
        else:
            assert factor == expected[parts[1]]


def test_frozen_parameters_are_in_no_group():
    groups = layer_groups(prepared(train="head"), 0.5)
    assert [group.factor for group in groups] == [1.0] and len(groups[0].parameters) == 2


@pytest.mark.parametrize("pool", ["second_order", ("time_std",)])
def test_gradients_are_finite_where_a_spread_is_zero(pool):
    """A scan of one time patch has no spread in time, whose square root has no slope."""
    network = network_of(pool=pool)
    valid = torch.ones(2, 5, 2, dtype=torch.bool)
    valid[0, :, 1] = False
    network(torch.randn(2, 5, 8), valid.flatten(1)).square().sum().backward()
    slopes = [p.grad for p in network.encoder.parameters()]
    assert all(torch.isfinite(slope).all() for slope in slopes)
    assert any(slope.abs().max() > 0 for slope in slopes)


def test_a_network_is_made_where_the_model_lies():
    """On another device than the CPU's; this one has shapes and no numbers."""
    here = network_of()
    there = FinetunedNetwork(small_model().to("meta"), 2, here.pools, NETWORKS)
    assert there.head.in_features == here.head.in_features
    assert there.encoder.patch.weight.device.type == there.basis.device.type == "meta"
