"""Blocks against naive attention; asking for some tokens; hiding others; attention maps."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from brainjepa_core.models.parts.transformer import (
    Attention,
    Block,
    Blocks,
    initialise,
    take_tokens,
    valid_of,
)


def naive_attention(module: Attention, x: torch.Tensor, valid: list[bool]) -> torch.Tensor:
    """Head by head and query by query, for one [N, D]."""
    n, width = x.shape
    size = width // module.heads
    q, k, v = module.qkv(x).split(width, dim=1)
    rows = []
    for i in range(n):
        heads = []
        for h in range(module.heads):
            part = slice(h * size, (h + 1) * size)
            seen = [j for j in range(n) if valid[j]]
            scores = [(q[i, part] @ k[j, part]).item() / math.sqrt(size) for j in seen]
            top = sum(math.exp(s) for s in scores)
            heads.append(
                sum(math.exp(s) / top * v[j, part] for s, j in zip(scores, seen, strict=True))
            )
        rows.append(torch.cat(heads))
    return module.proj(torch.stack(rows))


@pytest.fixture
def attention():
    module = Attention(8, 2).double()
    module.qkv.weight.data *= 3  # far from uniform attention
    return module


@pytest.mark.parametrize("valid", [[True] * 5, [True, False, True, True, False]])
def test_attention_equals_loops(attention, valid):
    x = torch.randn(5, 8, dtype=torch.float64)
    found = attention(x[None], torch.tensor([valid]))[0]
    assert torch.allclose(found, naive_attention(attention, x, valid), atol=1e-12)


@pytest.mark.parametrize("leading", [(2,), (2, 3)])
@pytest.mark.parametrize("hidden", [False, True])
def test_asking_for_some_tokens_is_asking_for_all_and_gathering(leading, hidden):
    blocks = Blocks(3, 8, 2, 4.0).double()
    x = torch.randn(*leading, 6, 8, dtype=torch.float64)
    valid = torch.rand(*leading, 6) > 0.3 if hidden else None
    if hidden:
        valid[..., 0] = True
    index = torch.randint(6, (*leading, 4))
    assert torch.allclose(blocks(x, valid, index), take_tokens(blocks(x, valid), index))


def test_hidden_tokens_change_nothing():
    block = Block(8, 2, 4.0).double()
    x = torch.randn(1, 6, 8, dtype=torch.float64)
    valid = torch.tensor([[True, True, False, True, False, True]])
    assert torch.allclose(block(x, valid)[valid], block(x[:, valid[0]])[0])
    changed = torch.where(valid[..., None], x, 1e3)
    assert torch.equal(block(changed, valid)[valid], block(x, valid)[valid])


def test_block_by_hand():
    block = Block(8, 2, 4.0)
    x = torch.randn(1, 5, 8)
    y = x + block.attn(F.layer_norm(x, (8,), eps=1e-6))
    hidden = block.mlp.fc1(F.layer_norm(y, (8,), eps=1e-6))
    hidden = 0.5 * hidden * (1 + torch.erf(hidden / math.sqrt(2)))
    assert torch.allclose(block(x), y + block.mlp.fc2(hidden), atol=1e-5)


def test_tokens_at_an_index_are_there():
    found = valid_of(torch.tensor([[3, 0], [1, 1]]), 4)
    assert found.tolist() == [[True, False, False, True], [False, True, False, False]]
    assert valid_of(None, 4) is None


def test_take_tokens_by_loops():
    x, index = torch.randn(2, 3, 5, 4), torch.randint(5, (2, 3, 7))
    found = take_tokens(x, index)
    for b in range(2):
        for k in range(3):
            assert torch.equal(found[b, k], x[b, k, index[b, k]])


def test_initialisation():
    layers = nn.ModuleList([nn.Linear(300, 300), nn.Embedding(1, 3000), nn.LayerNorm(4)])
    layers.apply(initialise)
    for layer in layers[:2]:
        assert float(layer.weight.detach().std()) == pytest.approx(0.02, rel=0.05)
    assert not layers[0].bias.any()
    assert layers[2].weight.tolist() == [1.0] * 4
