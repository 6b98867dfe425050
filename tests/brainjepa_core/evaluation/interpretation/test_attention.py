"""Attention between networks against sums over whole attention maps."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from oracles.attention import attention_maps

from brainjepa_core.evaluation.interpretation import attention
from brainjepa_core.evaluation.interpretation.attention import network_attention, people_attention
from brainjepa_core.models.brain_jepa.model import BrainJEPA
from brainjepa_core.models.brain_jepa.settings import BrainJepaSettings

ROIS, PATCHES, PATCH, DEPTH = 6, 4, 3, 3
NETWORKS = np.array([0, 1, 1, 2, 0, 1])


@pytest.fixture
def model() -> BrainJEPA:
    torch.manual_seed(0)
    s = BrainJepaSettings.preset(
        "tiny", rois=ROIS, frames=PATCHES * PATCH, patch=PATCH, components=2, width=16,
        depth=DEPTH, heads=2, predictor_width=8, predictor_heads=2,
    )  # fmt: skip
    model = BrainJEPA(s, torch.randn(ROIS, 2))
    for parameter in model.parameters():  # attention of random weights is nearly even
        parameter.data.add_(0.3 * torch.randn_like(parameter))
    return model


def naive(model: BrainJEPA, x: torch.Tensor, valid: torch.Tensor) -> np.ndarray:
    """Whole maps, one pair of networks at a time."""
    of_token = np.repeat(NETWORKS, PATCHES)
    result = np.full((len(x), DEPTH, 3, 3), np.nan)
    for layer in range(DEPTH):
        maps = attention_maps(model, x, layer, valid).double().numpy()
        for b in range(len(x)):
            seen = valid[b].numpy()
            for g in range(3):
                for h in range(3):
                    queries, keys = seen & (of_token == g), seen & (of_token == h)
                    if queries.any() and keys.any():
                        given = maps[b][:, queries][:, :, keys].sum(-1).mean()
                        result[b, layer, g, h] = given / (keys.sum() / seen.sum())
    return result


@pytest.mark.parametrize("queries", [5, 24, 1000])
def test_equal_to_whole_maps(model, monkeypatch, queries):
    monkeypatch.setattr(attention, "QUERIES", queries)
    x, valid = torch.randn(3, ROIS, 12), torch.ones(3, 24, dtype=torch.bool)
    valid[1, 3:7] = False
    valid[2, 12:16] = False  # the only ROI of network 2
    expected = naive(model, x, valid)
    found = network_attention(model, x, torch.from_numpy(NETWORKS), valid)
    np.testing.assert_allclose(found, expected, rtol=1e-4)
    assert np.isnan(expected[2, :, 2]).all() and np.nanmax(np.abs(expected - 1)) > 0.2
    alone = network_attention(model, x[:1], torch.from_numpy(NETWORKS))
    np.testing.assert_allclose(alone, expected[:1], rtol=1e-4)


def test_blind_attention_is_one_whatever_the_size_of_networks(model):
    for block in model.target_encoder.blocks:
        block.attn.qkv.weight.data.zero_()
        block.attn.qkv.bias.data.zero_()
    found = network_attention(model, torch.randn(2, ROIS, 12), torch.from_numpy(NETWORKS))
    torch.testing.assert_close(found, torch.ones(2, DEPTH, 3, 3))


def test_what_a_network_gives_away_is_all_it_has(model):
    found = network_attention(model, torch.randn(2, ROIS, 12), torch.from_numpy(NETWORKS))
    share = torch.tensor([2.0, 3.0, 1.0]) / 6
    torch.testing.assert_close((found * share).sum(-1), torch.ones(2, DEPTH, 3))


class People:
    """Person 0 has one window, person 1 two, of which the second lacks network 2."""

    subjects = 2

    def full_windows(self, subject):
        rng = np.random.default_rng(subject)
        x = rng.standard_normal((subject + 1, ROIS, 12)).astype(np.float32)
        rois = np.ones((subject + 1, ROIS), bool)
        if subject:
            rois[1, 3] = False
        return x * rois[..., None], np.ones((subject + 1, 12), bool), rois


def test_people_are_means_over_their_windows(model):
    found = people_attention(model, People(), [1, 0], NETWORKS)
    x, _, rois = People().full_windows(1)
    valid = torch.from_numpy(np.repeat(rois, PATCHES, axis=1))
    expected = np.nanmean(naive(model, torch.from_numpy(x), valid), axis=0)
    np.testing.assert_allclose(found[0], expected, rtol=1e-4)
    assert found.shape == (2, DEPTH, 3, 3) and np.isfinite(found).all()


def test_networks_of_another_atlas(model):
    with pytest.raises(ValueError, match=r"network of each of 6 ROIs, found shape \[4\]"):
        network_attention(model, torch.randn(1, ROIS, 12), torch.zeros(4, dtype=torch.int64))
