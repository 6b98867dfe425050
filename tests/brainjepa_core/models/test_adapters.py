"""Adapters: nothing changes at the start, little is trained, and what is merged is plain again."""

from __future__ import annotations

import copy

import pytest
import torch
from small_runs import (
    PROVENANCE,
    SIZES,
    TOTAL,
    People,
    bits,
    make_model,
    make_recipe,
    same,
)
from torch import Tensor, nn
from toy_family import LINEAR

from brainjepa_core.models.adapters import with_adapters, without_adapters
from brainjepa_core.models.checkpoint import read_model
from brainjepa_core.models.interface import BrainModel
from brainjepa_core.models.masks.settings import MaskSettings
from brainjepa_core.models.parts.lora import LoraLinear
from brainjepa_core.models.registry import family_named
from brainjepa_core.pretraining.loop import pretrain
from brainjepa_core.pretraining.sampling import batches_of_step
from brainjepa_core.pretraining.step import Training

FAMILIES = ("brain_jepa", "masked_autoencoder")
RANK = 3


def make(family: str = "brain_jepa", rank: int = 0) -> BrainModel:
    """Of random blocks: of branches at zero, as a model starts, an adapter would see nothing."""
    choices = {**SIZES, "adapters": rank, "start": "published"}
    settings = family_named(family).settings.preset("tiny", rois=6, **choices)
    return family_named(family).new(settings, torch.arange(12.0).reshape(6, 2).sin(), seed=4)


def losses(model: BrainModel) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(4, 6, SIZES["frames"], generator=generator).to(model.basis.dtype)
    drawn = model.draw(MaskSettings(), seed=0, step=1, samples=range(4), token_valid=None)
    return model.sample_losses(x.to(next(model.parameters()).dtype), **drawn)


def moved(model: BrainModel, followers: bool = True) -> BrainModel:
    """With adapters that have learned something, a teacher's too."""
    for name, parameter in model.named_parameters():
        if parameter.requires_grad or (followers and model.roles.is_follower(name)):
            parameter.data.add_(0.1 * torch.randn_like(parameter))
    return model


@pytest.mark.parametrize("family", FAMILIES)
def test_at_the_start_it_is_the_model_to_the_bit(family):
    plain, adapted = make(family), make(family, RANK)
    assert torch.equal(losses(plain), losses(adapted))
    again = with_adapters(plain, RANK, seed=7)
    assert torch.equal(losses(plain), losses(again))
    assert plain.settings.adapters == 0 and again.settings == adapted.settings
    weights = without_adapters(adapted).state_dict()
    assert all(torch.equal(value, weights[name]) for name, value in plain.state_dict().items())


@pytest.mark.parametrize("family", FAMILIES)
def test_merged_it_is_a_plain_model_that_computes_the_same(family):
    adapted = moved(make(family, RANK)).double()
    merged, plain = without_adapters(adapted), make(family)
    assert torch.allclose(losses(merged), losses(adapted), rtol=0, atol=1e-12)
    assert not torch.allclose(losses(merged), losses(plain.double()), atol=1e-3)
    assert list(merged.state_dict()) == list(plain.state_dict())
    assert merged.settings == plain.settings and merged.roles == type(plain).roles
    trained = [{n for n, p in m.named_parameters() if p.requires_grad} for m in (merged, plain)]
    assert trained[0] == trained[1]
    assert without_adapters(plain) is plain


@pytest.mark.parametrize("family", FAMILIES)
def test_little_is_trained_and_the_rest_never_moves(family):
    model = make(family, RANK)
    recipe = make_recipe(train="adapters", adapter_rank=RANK)
    before = copy.deepcopy(model.state_dict())
    training = Training(model, recipe)
    for step in range(3):
        training.advance(batches_of_step(People(), model, recipe, step))
    changed = {n for n, v in model.state_dict().items() if not torch.equal(v, before[n])}
    expected = {n for n in before if model.roles.is_trained(n) or model.roles.is_follower(n)}
    assert changed == expected
    assert all(n.endswith(".up") or "norm" in n for n in changed)
    assert {n for n, p in model.named_parameters() if p.requires_grad} == {
        n for n in expected if model.roles.is_trained(n)
    }
    sent = model.roles.sent(before, with_followers=True)
    assert set(sent) == expected
    share = sum(before[n].numel() for n in sent) / sum(v.numel() for v in before.values())
    assert share < 0.4


def trained_alone(model: BrainModel) -> BrainModel:
    """The plain model of which the layers that adapters adapt are trained whole."""
    for name, parameter in model.named_parameters():
        attention = name.endswith(("qkv.weight", "proj.weight"))
        whole = model.roles.is_trained(name) and (attention or "norm" in name)
        parameter.requires_grad_(whole)
    return model


def test_at_full_rank_a_step_is_that_of_the_whole_layers():
    """With A square and orthogonal, -lr dL/dB A = -lr dL/dW A'A = -lr dL/dW."""
    choices = dict(
        optimizer="sgd", schedule={"lr": 0.1, "weight_decay": 0.0, "final_weight_decay": 0.0}
    )
    recipe = make_recipe(**choices)
    plain = trained_alone(make().double())
    adapted = make(rank=SIZES["width"]).double()
    for layer in adapted.modules():
        if isinstance(layer, LoraLinear):
            nn.init.orthogonal_(layer.down)  # anew, to float64's precision
    adapted.target_encoder.load_state_dict(adapted.encoder.state_dict())
    for model in (plain, adapted):
        training = Training(model, recipe)
        for step in range(3):
            (batch,) = batches_of_step(People(), model, recipe, step)
            training.advance([type(batch)(batch.x.double(), batch.token_valid, batch.draws)])
    start, merged = make().double().state_dict(), without_adapters(adapted).state_dict()
    for name, value in plain.state_dict().items():
        assert torch.allclose(merged[name], value, rtol=0, atol=1e-9), name
    assert (
        plain.state_dict()["encoder.blocks.0.attn.qkv.weight"]
        - start["encoder.blocks.0.attn.qkv.weight"]
    ).abs().max() > 1e-6


def test_the_teacher_is_the_exponential_mean_of_the_whole_weights():
    model = make(rank=RANK).double()
    whole = without_adapters(model).encoder.named_parameters()
    expected = {name: p.detach().clone() for name, p in whole}
    start = copy.deepcopy(expected)
    for _ in range(5):
        moved(model, followers=False)
        model.after_step(0.8)
        for name, p in without_adapters(model).encoder.named_parameters():
            expected[name] = 0.8 * expected[name] + 0.2 * p.detach()
    for name, p in without_adapters(model).target_encoder.named_parameters():
        assert torch.allclose(p, expected[name], rtol=0, atol=1e-12), name
    name = "blocks.0.attn.qkv.weight"
    assert not torch.allclose(expected[name], start[name], atol=1e-3)


def test_a_teacher_that_was_behind_stays_so_and_follows_the_change():
    plain = make().double()
    for p in plain.target_encoder.parameters():
        p.data.add_(0.05)
    model = with_adapters(plain, RANK, seed=0)
    assert torch.equal(losses(plain), losses(model))
    behind = copy.deepcopy(model.target_encoder)
    model.after_step(0.5)  # nothing has been learned: the LayerNorms alone differ
    for name, p in model.target_encoder.named_parameters():
        assert torch.equal(p, behind.get_parameter(name)) != ("norm" in name)


def test_the_mean_of_the_sites_adapters_is_the_mean_of_their_weights():
    models = [moved(make(rank=RANK).double()) for _ in range(3)]
    mean = make(rank=RANK).double()
    mean.load_state_dict({n: sum(m.state_dict()[n] for m in models) / 3 for n in mean.state_dict()})
    merged = [without_adapters(model).state_dict() for model in models]
    for name, value in without_adapters(mean).state_dict().items():
        assert torch.allclose(value, sum(m[name] for m in merged) / 3, rtol=0, atol=1e-12), name


def test_a_change_of_b_is_as_large_as_that_of_the_weight():
    model = moved(make(rank=RANK).double())
    layer = next(m for m in model.modules() if isinstance(m, LoraLinear))
    assert torch.allclose(layer.down @ layer.down.T, torch.eye(RANK).double(), atol=1e-6)
    change = layer.merged().weight - layer.base.weight
    assert float(change.detach().norm()) == pytest.approx(float(layer.up.detach().norm()), rel=1e-6)


def adapted_training() -> Training:
    plain = make_model()
    model = with_adapters(plain, 2, seed=0)
    return Training(model, make_recipe(train="adapters", adapter_rank=2))


def test_stopped_and_resumed_it_is_the_whole_run_and_ends_as_a_plain_model(tmp_path):
    whole = adapted_training()
    options = dict(save_every=3, log_every=2, progress=False)
    pretrain(whole, People(ragged=True), PROVENANCE, tmp_path / "whole", **options)
    pretrain(
        adapted_training(), People(ragged=True), PROVENANCE, tmp_path / "cut", until=5, **options
    )
    resumed = adapted_training()
    pretrain(resumed, People(ragged=True), PROVENANCE, tmp_path / "cut", **options)
    assert resumed.step == TOTAL and same(bits(whole), bits(resumed))
    model, _ = read_model(tmp_path / "cut" / "final")
    assert model.settings == make_model().settings
    assert list(model.state_dict()) == list(make_model().state_dict())
    assert torch.allclose(losses(model), losses(whole.model), atol=1e-6)


def test_what_cannot_be_adapted_is_refused():
    with pytest.raises(
        ValueError, match=r"rank of at most 8, the width .* found 9; lower training"
    ):
        make(rank=9)
    with pytest.raises(ValueError, match="blocks of attention, found LinearModel, which has none"):
        LINEAR.new(
            LINEAR.settings(rois=6, frames=12, patch=3, components=2, adapters=2), torch.zeros(6, 2)
        )
