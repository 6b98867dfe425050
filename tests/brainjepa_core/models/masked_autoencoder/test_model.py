"""The masked autoencoder: which tokens are hidden, the loss against a loop, where gradients go."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from brainjepa_core.models.brain_jepa.model import BrainJEPA
from brainjepa_core.models.brain_jepa.settings import BrainJepaSettings
from brainjepa_core.models.interface import BrainModel
from brainjepa_core.models.masked_autoencoder.model import MaskedAutoencoder
from brainjepa_core.models.masked_autoencoder.settings import MaskedAutoencoderSettings
from brainjepa_core.models.masks.random_masks import random_masks
from brainjepa_core.models.masks.settings import MaskSettings

ROIS, PATCHES, PATCH = 6, 4, 3
SIZES = dict(
    rois=ROIS, frames=PATCHES * PATCH, patch=PATCH, components=2, width=16, depth=2,
    heads=2, predictor_width=12, predictor_depth=2, predictor_heads=3,
)  # fmt: skip
BASIS = torch.randn(ROIS, 2, generator=torch.Generator().manual_seed(1))


def make() -> MaskedAutoencoder:
    torch.manual_seed(0)
    model = MaskedAutoencoder(MaskedAutoencoderSettings(**SIZES), BASIS)
    for parameter in model.parameters():  # blocks that add something, as after training
        parameter.data.add_(0.1 * torch.randn_like(parameter))
    return model


def validity(seed: int, batch: int) -> np.ndarray:
    valid = np.random.default_rng(seed).random((batch, ROIS * PATCHES)) < 0.7
    valid[:, :2] = True
    return valid


def members(index: Tensor, valid: Tensor | None, row: int) -> list[int]:
    taken = index[row] if valid is None else index[row][valid[row]]
    return taken.tolist()


@given(
    seed=st.integers(0, 2**40),
    step=st.integers(0, 2**40),
    batch=st.integers(1, 5),
    ratio=st.floats(0.05, 0.95),
    ragged=st.booleans(),
)
def test_every_valid_token_is_either_visible_or_masked(seed, step, batch, ratio, ragged):
    valid = validity(seed % 1000, batch) if ragged else None
    masks = random_masks(
        24, seed=seed, step=step, samples=range(batch), token_valid=valid, ratio=ratio
    )
    for row in range(batch):
        visible = members(masks.context_index, masks.context_valid, row)
        hidden = members(masks.target_index, masks.target_valid, row)
        expected = range(24) if valid is None else np.flatnonzero(valid[row])
        assert sorted(visible + hidden) == list(expected)
        assert len(visible) == min(max(round((1 - ratio) * len(expected)), 1), len(expected) - 1)


def test_published_ratio_and_no_padding_without_missing_tokens():
    masks = random_masks(24, seed=0, step=0, samples=[3, 4])
    assert masks.context_index.shape == (2, 6) and masks.target_index.shape == (2, 18)
    assert masks.context_valid is None and masks.target_valid is None


def test_a_mask_is_a_function_of_seed_step_and_sample():
    def hidden(seed: int, step: int, samples: list[int]) -> list[list[int]]:
        return random_masks(24, seed=seed, step=step, samples=samples).target_index.tolist()

    alone, among = hidden(0, 5, [7]), hidden(0, 5, [2, 7, 7])
    assert among[1] == among[2] == alone[0] != among[0]
    assert alone != hidden(1, 5, [7]) and alone != hidden(0, 6, [7])


def test_every_token_is_hidden_equally_often():
    masks = random_masks(8, seed=0, step=0, samples=range(2000))
    counts = np.bincount(masks.target_index.flatten(), minlength=8)
    assert np.abs(counts / 2000 - 0.75).max() < 0.04  # four standard errors


def test_too_few_tokens():
    valid = np.zeros((2, 24), bool)
    valid[0], valid[1, 3] = True, True
    with pytest.raises(ValueError, match=r"at least 2 valid tokens of 24 in every window, found 1"):
        random_masks(24, seed=0, step=0, samples=[0, 1], token_valid=valid)


def naive_loss(model: BrainModel, x: Tensor, visible: list[int], hidden: list[int]) -> Tensor:
    """One sample, one masked token at a time, without any padding."""
    index = torch.tensor([visible])
    tokens = model.encoder(model.patches(x), model.basis[None], index)
    decoded = model.decoder(tokens, model.basis[None], index, torch.tensor([hidden]))[0]
    errors = []
    for place, token in enumerate(hidden):
        roi, patch = divmod(token, PATCHES)
        signal = x[0, roi, patch * PATCH : (patch + 1) * PATCH]
        errors += [(decoded[place, i] - signal[i]) ** 2 for i in range(PATCH)]
    return torch.stack(errors).mean()


@pytest.mark.parametrize("ragged", [False, True])
def test_the_loss_of_each_sample_is_the_naive_one(ragged):
    model, batch = make(), 3
    x = torch.randn(batch, ROIS, PATCHES * PATCH)
    valid = validity(0, batch) if ragged else None
    masks = random_masks(24, seed=0, step=0, samples=range(batch), token_valid=valid)
    found = model(
        x, masks.context_index, masks.target_index, masks.context_valid, masks.target_valid
    )
    expected = [
        naive_loss(
            model,
            x[i : i + 1],
            members(masks.context_index, masks.context_valid, i),
            members(masks.target_index, masks.target_valid, i),
        )
        for i in range(batch)
    ]
    assert ragged == (masks.target_valid is not None)
    torch.testing.assert_close(found, torch.stack(expected))


def test_invalid_and_other_peoples_signals_change_nothing():
    model, valid = make(), validity(0, 2)
    x = torch.randn(2, ROIS, PATCHES * PATCH)
    masks = random_masks(24, seed=0, step=0, samples=[0, 1], token_valid=valid)
    indices = (masks.context_index, masks.target_index, masks.context_valid, masks.target_valid)
    changed = x.clone()
    changed[1] = torch.randn_like(x[1])
    changed[0].view(24, PATCH)[torch.from_numpy(~valid[0])] = 1e3
    before, after = model(x, *indices), model(changed, *indices)
    torch.testing.assert_close(before[0], after[0])
    assert before[1] != after[1]


def test_numbers_beyond_the_counter_are_refused():
    with pytest.raises(ValueError, match=r"found -1, 0, 0 and 0; number them from 0"):
        random_masks(24, seed=-1, step=0, samples=[0])


def test_gradients_reach_everything():
    model = make()
    draws = model.draw(MaskSettings(), seed=0, step=0, samples=[0, 1], token_valid=None)
    model(torch.randn(2, ROIS, PATCHES * PATCH), **draws).sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and bool(parameter.grad.any()), name


def test_masks_of_a_model_are_of_its_ratio():
    torch.manual_seed(0)
    model = MaskedAutoencoder(MaskedAutoencoderSettings(**SIZES, mask_ratio=0.5), BASIS)
    draws = model.draw(MaskSettings(), seed=3, step=4, samples=[5], token_valid=None)
    expected = random_masks(24, seed=3, step=4, samples=[5], ratio=0.5)
    assert draws["target_index"].shape == (1, 12)
    assert torch.equal(draws["target_index"], expected.target_index)


def test_the_encoder_is_that_of_a_jepa_of_the_same_seed():
    torch.manual_seed(0)
    jepa = BrainJEPA(BrainJepaSettings(**SIZES), BASIS).encoder.state_dict()
    torch.manual_seed(0)
    ours = MaskedAutoencoder(MaskedAutoencoderSettings(**SIZES), BASIS).encoder.state_dict()
    assert ours.keys() == jepa.keys() and all(torch.equal(ours[k], jepa[k]) for k in ours)


def test_embeddings_are_read_from_the_encoder():
    model = make()
    x = torch.randn(2, ROIS, PATCHES * PATCH)
    expected = model.encoder(model.patches(x), model.basis_of(2))
    assert torch.equal(model.encode(x), expected)
    model.after_step(0.996)  # nothing follows
    assert torch.equal(model.encode(x), expected)


def test_settings():
    text = "expected a recipe among default, published, found 'mine'; take one of these"
    with pytest.raises(ValueError, match=text):
        MaskedAutoencoderSettings.preset("tiny", rois=6, recipe="mine")
    for ratio in (0.0, 1.0):
        with pytest.raises(ValueError, match="mask_ratio"):
            MaskedAutoencoderSettings(**SIZES, mask_ratio=ratio)
