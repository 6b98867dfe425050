from __future__ import annotations

import copy

import pytest
import torch
from numpy.testing import assert_allclose

from brainjepa_core.models.parts.lora import LoraLinear, add_lora, merge_lora
from brainjepa_core.models.parts.transformer import Blocks


@pytest.fixture
def blocks() -> Blocks:
    torch.manual_seed(0)
    return Blocks(2, 8, 2, 2.0).double()


def randomise(module) -> None:
    for part in module.modules():
        if isinstance(part, LoraLinear):
            torch.nn.init.normal_(part.up)


def test_at_zero_it_is_the_frozen_model(blocks):
    x = torch.randn(3, 5, 8).double()
    adapted = copy.deepcopy(blocks)
    add_lora(adapted, 2, 4.0)
    assert torch.equal(adapted(x), blocks(x))


def test_merged_equals_applied(blocks):
    x = torch.randn(3, 5, 8).double()
    names = list(blocks.state_dict())
    add_lora(blocks, 2, 4.0)
    randomise(blocks)
    applied = blocks(x)
    merge_lora(blocks)
    assert list(blocks.state_dict()) == names
    assert_allclose(blocks(x).detach(), applied.detach(), atol=1e-12)


@pytest.mark.parametrize("bias", [True, False])
def test_one_layer_by_the_formula(bias):
    torch.manual_seed(0)
    base = torch.nn.Linear(4, 3, bias=bias).double()
    layer = LoraLinear(base, rank=2, alpha=6.0)
    torch.nn.init.normal_(layer.up)
    x = torch.randn(5, 4).double()
    expected = base(x) + 3.0 * x @ (layer.up @ layer.down).T
    assert_allclose(layer(x).detach(), expected.detach(), atol=1e-12)
    assert_allclose(layer.merged()(x).detach(), expected.detach(), atol=1e-12)


def test_only_the_projections_of_attention_learn_at_low_rank(blocks):
    blocks.requires_grad_(False)
    add_lora(blocks, 2, 4.0)
    learned = {name for name, p in blocks.named_parameters() if p.requires_grad}
    assert learned == {
        f"{i}.attn.{layer}.{part}"
        for i in (0, 1)
        for layer in ("qkv", "proj")
        for part in ("up", "down")
    }
