"""BrainLM: its loss token by token, its attention by hand, and what its order of tokens does."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from small_runs import People, make_recipe, small_model
from torch import Tensor

from brainjepa_core.models.brainlm.network import NEIGHBOURS, ConvolvedAttention
from brainjepa_core.models.brainlm.settings import BrainLmSettings
from brainjepa_core.models.parts.transformer import masked_attention, use_attention
from brainjepa_core.pretraining.sampling import batches_of_step

RECIPES = ("default", "published")


def made(recipe: str):
    model = small_model("brainlm", recipe=recipe).double()
    torch.manual_seed(0)
    for p in model.parameters():
        p.data.add_(0.2 * torch.randn_like(p))
    (batch,) = batches_of_step(People(ragged=True), model, make_recipe(batch_size=5), 3)
    return model, batch


@pytest.mark.parametrize("recipe", RECIPES)
def test_the_loss_of_each_person_without_any_padding(recipe):
    model, batch = made(recipe)
    x, draws = batch.x.double(), batch.draws
    found = model(x, token_valid=batch.token_valid, **draws)
    for row in range(5):
        there = batch.token_valid[row]
        real = [
            draws[f"{name}_index"][row][
                slice(None) if (v := draws[f"{name}_valid"]) is None else v[row]
            ]
            for name in ("context", "target")
        ]
        assert sorted(torch.cat(real).tolist()) == there.nonzero()[:, 0].tolist()
        one = x[row : row + 1]
        states = model.encoder.states(model.patches(one), model.basis_of(1), real[0][None])
        back = model.decoder(
            model.encoder.norm(states), model.basis_of(1), real[0][None], None, there[None]
        )
        error = (back - model.patches(one))[0, real[1]].square().mean()
        assert torch.allclose(found[row], error, rtol=1e-9)


def test_neighbours_are_a_convolution_of_what_is_there():
    torch.manual_seed(0)
    attention = ConvolvedAttention(8, 2).double()
    x, valid = torch.randn(1, 100, 8).double(), torch.ones(1, 100, dtype=torch.bool)
    valid[0, 40:50] = False
    q, k, v = attention.queries_keys_values(x)
    mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=valid[:, None, None])
    kernel, reach = attention.neighbours.weight[:, 0, :, 0], NEIGHBOURS // 2
    for head in range(2):
        for token in (0, 45, 99):
            for step in range(-reach, reach + 1):
                other = token + step
                if 0 <= other < 100 and valid[0, other]:
                    mixed[0, head, token] += kernel[head, step + reach] * v[0, head, other]
    found: Tensor = attention(x, valid)
    expected = attention.proj(mixed.transpose(1, 2).reshape(1, 100, 8))
    for token in (0, 45, 99):
        assert torch.allclose(found[0, token], expected[0, token], atol=1e-12)


def test_attention_is_that_of_the_kernel_that_was_chosen_beside_the_convolution():
    torch.manual_seed(0)
    attention = ConvolvedAttention(8, 2).double()
    x, valid = torch.randn(2, 9, 8).double(), torch.ones(2, 9, dtype=torch.bool)
    expected, asked = attention(x, valid), []
    use_attention(attention, lambda *given: asked.append(given) or masked_attention(*given))
    assert torch.equal(attention(x, valid), expected)
    assert len(asked) == 1 and torch.equal(asked[0][3], valid)


@pytest.mark.parametrize("recipe", RECIPES)
def test_the_order_of_tokens_matters_to_the_convolution_alone(recipe):
    model, batch = made(recipe)
    patches, basis = model.patches(batch.x.double()), model.basis_of(5)
    order = torch.arange(model.settings.tokens).expand(5, -1)
    straight = model.encoder.states(patches, basis, order)
    turned = model.encoder.states(patches, basis, order.flip(1))
    back = torch.cat([turned[:, :1], turned[:, 1:].flip(1)], 1)
    assert torch.allclose(straight, back, atol=1e-9) == (recipe == "default")


def test_the_unit_of_coordinates_matters_to_the_published_network_alone():
    for recipe in RECIPES:
        model, batch = made(recipe)
        patches, basis = model.patches(batch.x.double()), model.basis_of(5)
        a, b = (model.encoder(patches, unit * basis) for unit in (1, 10))
        assert torch.allclose(a, b, atol=1e-9) == (recipe == "default")


@pytest.mark.parametrize("name", ["", "decoder_"])
def test_heads_divide(name):
    text = f"expected {name}width to be a multiple of {name}heads, found width 10 and 4 heads"
    with pytest.raises(ValueError, match=text):
        BrainLmSettings.preset("tiny", rois=3, **{f"{name}width": 10})
