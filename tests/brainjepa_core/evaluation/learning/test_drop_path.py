from __future__ import annotations

import copy

import torch

from brainjepa_core.evaluation.learning.drop_path import DropPath, add_drop_path
from brainjepa_core.models.parts.transformer import Blocks


def test_samples_are_dropped_as_a_whole_and_the_expectation_stays():
    layer = torch.nn.Identity()
    layer.register_forward_hook(DropPath(0.25))
    torch.manual_seed(0)
    found = layer(torch.ones(20_000, 3, 2))
    assert torch.equal(found, found[:, :1, :1].expand_as(found))  # all of a sample or nothing
    assert set(found.unique().tolist()) == {0.0, torch.tensor(1 / 0.75).item()}
    assert abs(found.mean() - 1) < 0.02


def test_nothing_happens_in_evaluation():
    torch.manual_seed(0)
    blocks = Blocks(3, 8, 2, 2.0)
    dropped = copy.deepcopy(blocks)
    add_drop_path(dropped, 0.9)
    x = torch.randn(4, 5, 8)
    assert torch.equal(dropped.eval()(x), blocks.eval()(x))
    assert not torch.equal(dropped.train()(x), blocks(x))
    assert list(dropped.state_dict()) == list(blocks.state_dict())


def test_rates_grow_with_depth_and_the_first_block_is_kept():
    blocks = Blocks(3, 8, 2, 2.0).train()
    add_drop_path(blocks, 0.4)
    rates = [next(iter(b.mlp._forward_hooks.values())).rate for b in blocks]
    assert rates == [0.0, 0.2, 0.4]
    x = torch.randn(2, 5, 8)
    assert torch.equal(blocks[0](x), blocks[0].eval()(x))


def test_a_block_whose_branches_are_dropped_is_the_identity():
    block = Blocks(2, 8, 2, 2.0)
    add_drop_path(block, 1 - 1e-9)
    x = torch.randn(6, 5, 8)
    assert torch.equal(block[1].train()(x), x)
