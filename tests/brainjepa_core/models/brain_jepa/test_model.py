"""What the model promises: masks, padding, independence of people, shapes, errors, the EMA."""

from __future__ import annotations

import copy
import warnings

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from oracles.attention import attention_maps
from torch import Tensor

from brainjepa_core.models.brain_jepa.model import BrainJEPA
from brainjepa_core.models.brain_jepa.settings import BrainJepaSettings
from brainjepa_core.models.pooling import pool_tokens


def make(rois: int = 6, patches: int = 4, recipe: str = "default", **choices) -> BrainJEPA:
    torch.manual_seed(0)
    sizes = dict(width=16, depth=2, heads=2, predictor_width=12, predictor_heads=3)
    choices = {"patch": 3, "components": 2, **sizes, **choices}
    frames = patches * choices["patch"]
    s = BrainJepaSettings.preset("tiny", rois=rois, recipe=recipe, frames=frames, **choices)
    model = BrainJEPA(s, torch.randn(rois, s.components))
    for p in model.parameters():
        p.data.add_(0.1 * torch.randn_like(p))
    return model


@pytest.fixture(params=["default", "published"])
def model(request) -> BrainJEPA:
    return make(recipe=request.param)


def windows(model: BrainJEPA, batch: int = 2) -> Tensor:
    return torch.randn(batch, model.settings.rois, model.settings.frames)


def draw(model: BrainJEPA, leading: tuple[int, ...], n_context: int = 7, n_target: int = 5):
    orders = torch.rand(*leading, model.settings.tokens).argsort(-1)
    return orders[..., :n_context], orders[..., -n_target:]


def close(a: Tensor, b: Tensor, tolerance: float = 1e-6) -> bool:
    return bool((a - b).abs().max() <= tolerance * b.abs().max())


@given(
    rois=st.integers(1, 9),
    patches=st.integers(1, 5),
    patch=st.integers(1, 6),
    components=st.integers(1, 8),
    positions=st.sampled_from(["gradient", "anatomical", "sincos"]),
    scaling=st.sampled_from(["minmax", "rows"]),
    recipe=st.sampled_from(["default", "published"]),
    masks=st.integers(1, 3),
    batch=st.integers(1, 3),
)
def test_every_size_trains(
    rois, patches, patch, components, positions, scaling, recipe, masks, batch
):
    model = make(
        rois, patches, patch=patch, components=components,
        positions=positions, position_scaling=scaling, recipe=recipe,
    )  # fmt: skip
    tokens = rois * patches
    context, target = draw(model, (batch, masks), max(1, tokens // 2), max(1, tokens // 3))
    losses = model(windows(model, batch), context, target)
    assert losses.shape == (batch,) and (losses > 0).all()
    losses.sum().backward()
    grads = [p.grad for p in model.parameters() if p.requires_grad]
    assert all(g is not None and torch.isfinite(g).all() for g in grads)


def test_the_loss_of_several_masks_is_the_mean_of_each(model):
    x, (context, target) = windows(model), draw(model, (2, 3))
    found = model.sample_losses(x, context, target)
    each = [model.sample_losses(x, context[:, k], target[:, k]) for k in range(3)]
    assert close(found, torch.stack(each).mean(0))
    assert close(model(x, context, target).mean(), found.mean())


def test_targets_are_the_same_whether_few_or_many_are_asked_for():
    model = make()
    x = windows(model)
    everything = F.layer_norm(model.encode(x), (16,))
    for masks, count in ((1, 5), (3, 20)):  # the second asks for more tokens than there are
        _, target = draw(model, (2, masks), 1, count)
        found = model.targets(x, target)
        assert found.shape == (2, masks, count, 16)
        for b in range(2):
            for k in range(masks):
                assert close(found[b, k], everything[b, target[b, k]])


@pytest.mark.parametrize("masks", [(), (2,)])
def test_padding_equals_each_sample_alone_without_it(model, masks):
    x = windows(model, 3)
    context, target = draw(model, (3, *masks), 9, 8)
    token_valid = torch.rand(3, 24) > 0.2
    n_context, n_target = torch.tensor([9, 4, 1]), torch.tensor([3, 8, 1])
    pad = [
        (torch.arange(width) < n.reshape(-1, *[1] * (len(masks) + 1))).expand_as(index)
        for width, n, index in ((9, n_context, context), (8, n_target, target))
    ]
    context = torch.where(pad[0], context, 0)
    target = torch.where(pad[1], target, 0)
    found = model.sample_losses(x, context, target, *pad, token_valid)
    for i in range(3):
        alone = model.sample_losses(
            x[i : i + 1],
            context[i : i + 1, ..., : n_context[i]],
            target[i : i + 1, ..., : n_target[i]],
            token_valid=token_valid[i : i + 1],
        )
        assert close(found[i], alone[0])


def test_masks_of_different_sizes_weigh_by_their_targets():
    model = make(recipe="published")
    x, (context, target) = windows(model, 1), draw(model, (1, 2), 7, 6)
    valid = torch.arange(6) < torch.tensor([[[6], [2]]])
    found = model.sample_losses(x, context, target, target_valid=valid)
    a = model.sample_losses(x, context[:, 0], target[:, 0])
    b = model.sample_losses(x, context[:, 1], target[:, 1, :2])
    assert close(found, (6 * a + 2 * b) / 8)


def test_values_under_hidden_tokens_do_not_matter(model):
    x, (context, target) = windows(model), draw(model, (2,))
    token_valid = torch.ones(2, 6, 4, dtype=torch.bool)
    token_valid[0, 2], token_valid[1, :, 3] = False, False
    frames = token_valid.repeat_interleave(3, dim=2)
    flat = token_valid.flatten(1)
    seen = flat.gather(1, context)
    losses = [
        model.sample_losses(
            torch.where(frames, x, fill), context, target, seen, flat.gather(1, target), flat
        )
        for fill in (0.0, 50.0)
    ]
    assert close(*losses)
    tokens = [model.encode(torch.where(frames, x, fill), flat) for fill in (0.0, 50.0)]
    assert close(tokens[0][flat], tokens[1][flat])


def test_a_persons_loss_does_not_depend_on_the_others(model):
    x, (context, target) = windows(model, 4), draw(model, (4,))
    alone = model.sample_losses(x[:1], context[:1], target[:1])
    assert close(model.sample_losses(x, context, target)[:1], alone)
    x[1:] = 1e4 * torch.randn_like(x[1:])
    assert close(model.sample_losses(x, context, target)[:1], alone)


def test_context_sees_the_context_only(model):
    x, (context, _) = windows(model, 1), draw(model, (1,))
    inside = torch.zeros(1, 24, dtype=torch.bool).scatter(1, context, True)
    frames = inside.reshape(1, 6, 4).repeat_interleave(3, dim=2)
    other = torch.where(frames, x, torch.randn_like(x))
    assert torch.equal(model.context(x, context), model.context(other, context))
    assert not torch.equal(model.encode(x), model.encode(other))


@pytest.mark.parametrize("hidden", [False, True])
def test_embed_is_a_pool_of_the_tokens(hidden):
    model = make()
    x, networks = windows(model), torch.tensor([0, 0, 1, 1, 2, 0])
    valid = torch.rand(2, 24) > 0.2 if hidden else None
    tokens = model.encode(x, valid)
    mean = tokens.mean(1)
    if hidden:
        mean = torch.stack([t[v].mean(0) for t, v in zip(tokens, valid, strict=True)])
    assert close(model.embed(x, token_valid=valid), mean)
    for pool, names, nets in (
        ("std", ("std",), None),
        (("mean", "time_std"), ("mean", "time_std"), None),
        ("second_order", ("std", "time_std"), None),
        ("second_order", ("std", "time_std", "network_covariance"), networks),
    ):
        expected = pool_tokens(tokens, 4, names, valid, networks)
        assert close(model.embed(x, pool, valid, nets), expected)
    assert not model.embed(x).requires_grad


@pytest.mark.parametrize("hidden", [False, True])
@pytest.mark.parametrize("layer", [0, 1])
def test_attention_maps_reproduce_the_forward_pass(layer, hidden):
    model = make()
    x = windows(model)
    valid = torch.rand(2, 24) > 0.2 if hidden else None
    block, captured = model.target_encoder.blocks[layer], {}
    handle = block.attn.register_forward_hook(
        lambda module, arguments, output: captured.update(x=arguments[0], out=output)
    )
    model.encode(x, valid)
    handle.remove()
    maps = attention_maps(model, x, layer, valid)
    assert maps.shape == (2, 2, 24, 24)
    assert close(maps.sum(-1), torch.ones(2, 2, 24))
    values = block.attn.qkv(captured["x"])[..., 32:].unflatten(-1, (2, 8)).transpose(1, 2)
    out = block.attn.proj((maps @ values).transpose(1, 2).flatten(2))
    assert close(out, captured["out"], 1e-5)


def test_the_ema_by_loops():
    model = make()
    before = copy.deepcopy(model.target_encoder.state_dict())
    model.after_step(0.75)
    for key, value in model.target_encoder.state_dict().items():
        expected = 0.75 * before[key] + 0.25 * model.encoder.state_dict()[key]
        assert close(value, expected), key
    frozen = copy.deepcopy(model.target_encoder.state_dict())
    model.after_step(1.0)
    for key, value in model.target_encoder.state_dict().items():
        assert torch.equal(value, frozen[key])


def test_the_target_starts_as_the_encoder_and_is_never_trained():
    s = BrainJepaSettings.preset("tiny", rois=4, frames=32)
    model = BrainJEPA(s, torch.randn(4, 30))
    for a, b in zip(model.encoder.parameters(), model.target_encoder.parameters(), strict=True):
        assert torch.equal(a, b) and a is not b and not b.requires_grad
    x, (context, target) = windows(model), draw(model, (2,), 3, 2)
    model(x, context, target).mean().backward()
    assert all(p.grad is None for p in model.target_encoder.parameters())


def test_the_basis_is_in_the_checkpoint_and_moves_with_the_model():
    model = make()
    assert "basis" in model.state_dict()
    assert "basis" not in dict(model.named_parameters())
    double = copy.deepcopy(model).double()
    assert double.basis.dtype == torch.float64
    x, (context, target) = windows(model), draw(model, (2,))
    exact = double(x.double(), context, target).mean()
    assert exact.dtype == torch.float64
    assert close(model(x, context, target).mean(), exact.float(), 1e-5)
    assert model.to("meta").basis.device.type == "meta"
    assert all(b.device.type == "meta" for b in model.buffers())


def test_positions_modes_differ_and_sincos_ignores_the_basis():
    x = None
    seen = {}
    for positions in ("gradient", "anatomical", "sincos"):
        model = make(positions=positions)
        x = windows(model) if x is None else x
        seen[positions] = model.encode(x)
        model.basis.mul_(torch.tensor([1.0, -3.0]))
        same = torch.equal(model.encode(x), seen[positions])
        assert same == (positions == "sincos")
    # Centroids take the place of gradients: the same arithmetic on another basis.
    assert torch.equal(seen["gradient"], seen["anatomical"])
    assert not torch.allclose(seen["gradient"], seen["sincos"])


def test_content_begins_at_unit_amplitude_but_in_the_published_start():
    for recipe, std in (("published", 0.02), ("default", 0.25)):  # 1 / sqrt(patch)
        s = BrainJepaSettings.preset("small", rois=1, recipe=recipe, depth=1, predictor_depth=1)
        weight = BrainJEPA(s, torch.zeros(1, 30)).encoder.patch.weight
        assert float(weight.detach().std()) == pytest.approx(std, rel=0.05)


def test_targets_lose_their_component_along_the_blank_response():
    model = make()
    x, (_, target) = windows(model), draw(model, (2, 3))
    blank = F.layer_norm(model.encode(torch.zeros(1, 6, 12)), (16,))[0]
    assert close(model.blank_response(), blank)
    plain, freed = model.targets(x, target), model.targets(x, target, blank=blank)
    for b in range(2):
        for k in range(3):
            for i, token in enumerate(target[b, k]):
                a, d = plain[b, k, i], blank[token]
                assert close(freed[b, k, i], a - (a @ d) / (d @ d) * d, 1e-5)


def test_the_default_objective_by_hand():
    model = make()
    x, (context, target) = windows(model), draw(model, (2, 3))
    blank = model.blank_response()
    error = []
    for b in range(2):
        for k in range(3):
            one = x[b : b + 1], context[b : b + 1, k], target[b : b + 1, k]
            encoded = model.context(one[0], one[1])
            found = F.smooth_l1_loss(
                model.predict(encoded, one[1], one[2]), model.targets(one[0], one[2], blank=blank)
            )
            tokens = F.layer_norm(encoded[0], (16,))
            d = F.normalize(blank[context[b, k]], dim=1)
            tokens = tokens - (tokens * d).sum(1, keepdim=True) * d
            moments = sum(torch.outer(t, t) for t in tokens) / len(tokens)
            variance = moments.diag()
            low = (1 - (variance + 1e-4).sqrt()).clamp_min(0).mean()
            between = (moments - variance.diag()).square().sum() / 16
            error.append(found + 1.0 * low + 0.05 * between)
    expected = torch.stack(error).reshape(2, 3).mean(1)
    assert close(model.sample_losses(x, context, target), expected, 1e-5)


@pytest.mark.parametrize(
    ("size", "part", "millions"), [("small", "encoder", 22.17), ("small", "predictor", 11.81)]
)
def test_published_parameter_counts(size, part, millions):
    with torch.device("meta"), warnings.catch_warnings(action="ignore"):
        model = BrainJEPA.__new__(BrainJEPA)
        torch.nn.Module.__init__(model)
        s = BrainJepaSettings.preset(size, rois=450)
        BrainJEPA.__init__(model, s, torch.zeros(450, 30, device="cpu"))
    count = sum(p.numel() for p in getattr(model, part).parameters())
    # The published count holds the fixed time table too.
    assert (count + 4500 * 192) / 1e6 == pytest.approx(millions, abs=0.01)


def test_error_texts():
    s = BrainJepaSettings.preset("tiny", rois=4, components=3)
    with pytest.raises(ValueError, match=r"finite ROI basis of shape \(4, 3\), found shape \(3, 4"):
        BrainJEPA(s, torch.zeros(3, 4))
    with pytest.raises(ValueError, match="expected a finite ROI basis"):
        BrainJEPA(s, torch.full((4, 3), torch.nan))
    model = BrainJEPA(s, torch.zeros(4, 3))
    for shape in ((2, 4, 159), (2, 5, 160), (4, 160), (2, 1, 4, 160)):
        with pytest.raises(ValueError, match=r"\[batch, 4 ROIs, 160 frames\], found \[.*check the"):
            model.encode(torch.zeros(shape))
    with pytest.raises(ValueError, match="expected pools among"):
        model.embed(torch.zeros(1, 4, 160), "median")


def test_the_layout_of_the_basis_does_not_matter():
    model = make()
    strided = model.basis.T.contiguous().T
    again = BrainJEPA(model.settings, strided)
    assert not strided.is_contiguous() and again.basis.is_contiguous()
    assert torch.equal(again.basis, model.basis)
