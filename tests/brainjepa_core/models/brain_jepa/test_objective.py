"""What the objective adds to the published loss, against loops, and that nobody else enters it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from pydantic import ValidationError
from torch import Tensor

from brainjepa_core.models.brain_jepa.model import BrainJEPA
from brainjepa_core.models.brain_jepa.objective import (
    ObjectiveSettings,
    rank_penalty,
    without_direction,
)
from brainjepa_core.models.brain_jepa.settings import BrainJepaSettings

ROIS, PATCHES, LENGTH = 6, 4, 3


def make(recipe: str = "default", **choices) -> BrainJEPA:
    torch.manual_seed(0)
    sizes = dict(width=16, depth=2, heads=2, predictor_width=12, predictor_depth=2)
    grid = dict(frames=PATCHES * LENGTH, patch=LENGTH, components=2, predictor_heads=3)
    s = BrainJepaSettings.preset("tiny", rois=ROIS, recipe=recipe, **{**sizes, **grid, **choices})
    model = BrainJEPA(s, torch.randn(ROIS, 2)).double()
    for p in model.parameters():
        p.data.add_(0.1 * torch.randn_like(p))
    return model


def arguments(batch: int = 4, masks: int = 2, padded: bool = True) -> tuple[Tensor | None, ...]:
    """Windows, indices, validity of both, and of the tokens, as `sample_losses` takes them."""
    tokens, n_context, n_target = ROIS * PATCHES, 8, 6
    order = torch.rand(batch, masks, tokens).argsort(-1)
    index = order[..., :n_context], order[..., -n_target:]
    x = torch.randn(batch, ROIS, PATCHES * LENGTH).double()
    if not padded:
        return x, *index, None, None, None
    valid = [torch.arange(n) < torch.randint(1, n + 1, (batch, masks, 1)) for n in (8, 6)]
    return x, *index, *valid, torch.rand(batch, tokens) > 0.2


def naive_penalty(
    tokens: NDArray[np.float64], variance_weight: float, covariance_weight: float
) -> float:
    """One sample's tokens [n, D], all of them real."""
    n, width = tokens.shape
    moments = np.zeros((width, width))
    for token in tokens:
        for i in range(width):
            for j in range(width):
                moments[i, j] += token[i] * token[j] / n
    penalty = 0.0
    for i in range(width):
        penalty += variance_weight * max(0.0, 1 - np.sqrt(moments[i, i] + 1e-4)) / width
        for j in range(width):
            if i != j:
                penalty += covariance_weight * moments[i, j] ** 2 / width
    return penalty


@given(st.integers(1, 9), st.integers(1, 3), st.integers(0, 2**31))
def test_what_is_left_is_orthogonal_and_stays(width, batch, seed):
    rng = torch.Generator().manual_seed(seed)
    tokens, direction = (
        torch.randn(batch, 5, width, generator=rng, dtype=torch.float64) for _ in range(2)
    )
    left = without_direction(tokens, direction)
    expected = np.array(
        [
            [
                t - (t @ d) / max(d @ d, 1e-6) * d
                for t, d in zip(ts.numpy(), ds.numpy(), strict=True)
            ]
            for ts, ds in zip(tokens, direction, strict=True)
        ]
    )
    assert np.allclose(left.numpy(), expected, atol=1e-12)
    assert torch.allclose((left * direction).sum(-1), torch.zeros(()).double(), atol=1e-4)
    if (direction.square().sum(-1) > 1e-6).all():
        assert (left * direction).sum(-1).abs().max() < 1e-9
        assert torch.allclose(without_direction(left, direction), left, atol=1e-9)
        assert torch.allclose(without_direction(tokens, -3 * direction), left, atol=1e-9)
    assert (left.norm(dim=-1) <= tokens.norm(dim=-1) + 1e-9).all()


def test_no_direction_takes_nothing_out():
    tokens = torch.randn(2, 3, 4)
    assert torch.equal(without_direction(tokens, torch.zeros(4)), tokens)
    alone = without_direction(tokens, tokens)
    assert alone.abs().max() < 1e-5


@given(
    st.integers(1, 4), st.integers(1, 7), st.integers(2, 5), st.floats(0, 3), st.floats(0, 3),
    st.booleans(), st.floats(0.1, 3), st.integers(0, 2**31),
)  # fmt: skip
def test_rank_penalty_equals_a_loop(batch, n, width, variance, covariance, padded, scale, seed):
    rng = np.random.default_rng(seed)
    tokens = scale * rng.standard_normal((batch, n, width))
    valid = np.ones((batch, n), bool)
    if padded:
        valid = rng.permuted(np.arange(n) < rng.integers(1, n + 1, (batch, 1)), axis=1)
    settings = ObjectiveSettings(variance_weight=variance, covariance_weight=covariance)
    given_valid = torch.from_numpy(valid) if padded else None
    found = rank_penalty(torch.from_numpy(tokens), given_valid, settings)
    expected = [
        naive_penalty(row[real], variance, covariance)
        for row, real in zip(tokens, valid, strict=True)
    ]
    assert found.shape == (batch,)
    assert np.allclose(found.numpy(), expected, rtol=1e-9, atol=1e-12)
    hidden = torch.from_numpy(np.where(valid[..., None], tokens, 99.0))
    assert torch.allclose(rank_penalty(hidden, given_valid, settings), found)


def test_rank_penalty_prefers_full_rank_and_survives_collapse():
    settings = ObjectiveSettings()
    white = torch.linalg.qr(torch.randn(64, 8))[0][None] * 8  # unit variance, no covariance
    one_direction = torch.randn(1, 64, 1) * torch.randn(8)
    nothing = torch.zeros(1, 64, 8, requires_grad=True)
    values = [rank_penalty(t, None, settings).item() for t in (white, one_direction, nothing)]
    assert values[0] < 1e-3 < min(values[1:])
    assert values[2] == pytest.approx(0.99, abs=1e-6)
    rank_penalty(nothing, None, settings).sum().backward()
    assert nothing.grad is not None and torch.isfinite(nothing.grad).all()


def test_rank_penalty_is_summed_in_float32_under_autocast():
    tokens, settings = torch.randn(2, 500, 16), ObjectiveSettings(covariance_weight=1.0)
    expected = rank_penalty(tokens, None, settings)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = rank_penalty(tokens, None, settings)
        half = rank_penalty(tokens.bfloat16(), None, settings)
    assert torch.equal(found, expected)
    assert half.dtype == torch.float32
    assert torch.allclose(half, rank_penalty(tokens.bfloat16().float(), None, settings))


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("masks", [None, 3])
def test_the_models_penalty_is_the_mean_over_masks_of_tokens_freed_of_position(masks, padded):
    model = make()
    x, index, _, valid, *_ = arguments(3, masks or 1, padded)
    if masks is None:
        index, valid = index[:, 0], None if valid is None else valid[:, 0]
    with torch.no_grad():
        context, blank = model.context(x, index, valid), model.blank_response()
        found = model._rank_penalty(context, valid, blank[index])
        pieces = (context, index, torch.ones_like(index).bool() if valid is None else valid)
        for b in range(3):
            rows, places, real = (t[b].reshape(masks or 1, *t.shape[-d:][-d:])
                                  for t, d in zip(pieces, (2, 1, 1), strict=True))  # fmt: skip
            each = []
            for k in range(masks or 1):
                tokens = F.layer_norm(rows[k], (16,)).numpy()
                along = blank[places[k]].numpy()
                share = (tokens * along).sum(1, keepdims=True) / (along**2).sum(1, keepdims=True)
                kept = (tokens - share * along)[real[k].numpy()]
                weights = model.settings.objective
                each.append(naive_penalty(kept, weights.variance_weight, weights.covariance_weight))
            assert found[b].item() == pytest.approx(np.mean(each), rel=1e-9)


def smooth_l1(model: BrainJEPA, call: tuple[Tensor | None, ...], blank: Tensor | None) -> Tensor:
    """The mean over real targets, and for each the mean over features."""
    x, context_index, target_index, context_valid, target_valid, token_valid = call
    with torch.no_grad():
        everything = F.layer_norm(model.encode(x, token_valid), (16,))
        context = model.context(x, context_index, context_valid)
        predicted = model.predict(context, context_index, target_index, context_valid, target_valid)
    losses = []
    for b in range(len(x)):
        errors = []
        for k, place in np.ndindex(*target_index.shape[1:]):
            if target_valid is None or target_valid[b, k, place]:
                token = int(target_index[b, k, place])
                target = everything[b, token]
                if blank is not None:
                    d = blank[token]
                    target = target - (target @ d) / (d @ d) * d
                gap = (predicted[b, k, place] - target).abs()
                errors.append(torch.where(gap < 1, gap**2 / 2, gap - 0.5).mean())
        losses.append(torch.stack(errors).mean())
    return torch.stack(losses)


@pytest.mark.parametrize("padded", [False, True])
def test_the_published_objective_is_the_published_loss_and_nothing_else(padded):
    model, call = make("published"), arguments(padded=padded)
    assert model.settings.objective == ObjectiveSettings.published()
    assert not model.settings.objective.holds_rank
    assert torch.allclose(model.sample_losses(*call), smooth_l1(model, call, None), atol=1e-12)


@pytest.mark.parametrize("padded", [False, True])
def test_the_default_objective_is_the_sum_of_its_terms(padded):
    model, call = make(), arguments(padded=padded)
    blank = model.blank_response()
    context = model.context(call[0], call[1], call[3])
    penalty = model._rank_penalty(context, call[3], blank[call[1]])
    expected = smooth_l1(model, call, blank) + penalty
    assert torch.allclose(model.sample_losses(*call), expected, atol=1e-12)


@pytest.mark.parametrize(
    "objective",
    [
        {},
        {"remove_position": False},
        {"variance_weight": 0.0, "covariance_weight": 0.0},
        {"covariance_weight": 0.0},
    ],
)
def test_the_loss_of_a_person_is_the_same_whoever_else_is_there(objective):
    model, call = make(objective=ObjectiveSettings(**objective)), arguments(batch=5)
    together = model.sample_losses(*call)
    for i in range(5):
        for others in ([], [(i + 1) % 5], [(i + 2) % 5, (i + 3) % 5, (i + 4) % 5]):
            rows = [i, *others]
            some = model.sample_losses(*[None if a is None else a[rows] for a in call])
            assert torch.allclose(some[0], together[i], rtol=1e-12)
    x = call[0].clone()
    x[1:] *= 1000
    assert torch.allclose(model.sample_losses(x, *call[1:])[0], together[0], rtol=1e-12)


def test_the_blank_response_is_what_a_blank_window_leaves_and_takes_no_gradient():
    model = make()
    blank = model.blank_response()
    assert blank.shape == (ROIS * PATCHES, 16) and not blank.requires_grad
    expected = F.layer_norm(model.encode(torch.zeros(1, ROIS, PATCHES * LENGTH).double()), (16,))
    assert torch.allclose(blank, expected[0])
    # So a blank window has no targets at all: position alone is not rewarded.
    index = torch.arange(ROIS * PATCHES)[None, None]
    zero = torch.zeros(1, ROIS, PATCHES * LENGTH).double()
    assert model.targets(zero, index, blank=blank).abs().max() < 1e-9


def test_settings():
    assert ObjectiveSettings().remove_position and ObjectiveSettings().holds_rank
    assert ObjectiveSettings(variance_weight=0).holds_rank
    assert not ObjectiveSettings(variance_weight=0, covariance_weight=0).holds_rank
    for bad in ({"variance_weight": -1}, {"covariance_weight": -0.1}, {"weight": 1}):
        with pytest.raises(ValidationError):
            ObjectiveSettings(**bad)
    with pytest.raises(ValidationError, match="frozen"):
        ObjectiveSettings().variance_weight = 2.0
