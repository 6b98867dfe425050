"""Pools against loops over tokens."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from brainjepa_core.models.pooling import (
    GROUP_POOLS,
    POOLS,
    SECOND_ORDER,
    pool_names,
    pool_tokens,
)

B, R, W, D = 3, 5, 4, 6
NETWORKS = torch.tensor([0, 1, 0, 2, 1])


def naive(pool: str, tokens: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """One sample: tokens [R, W, D], valid [R, W]."""
    seen = [tokens[r, w] for r in range(R) for w in range(W) if valid[r, w]]
    if pool == "mean":
        return np.mean(seen, axis=0)
    if pool == "std":
        return np.std(seen, axis=0)
    times = [w for w in range(W) if valid[:, w].any()]
    if pool == "time_std":
        return np.std([tokens[valid[:, w], w].mean(0) for w in times], axis=0)
    if pool in GROUP_POOLS:
        labels = NETWORKS.tolist() if pool == "network_mean" else list(range(R))
        means = []
        for g in range(max(labels) + 1):
            cells = [(r, w) for r in range(R) for w in range(W) if labels[r] == g]
            own = [tokens[cell] for cell in cells if valid[cell]]
            means.append(np.mean(own or seen, axis=0))
        return np.concatenate(means)
    series = np.full((3, W, D), np.nan)  # a network's mean token at each time it was seen
    for g in range(3):
        for w in range(W):
            own = [r for r in range(R) if NETWORKS[r] == g and valid[r, w]]
            if own:
                series[g, w] = tokens[own, w].mean(0)
    centred = series - np.nanmean(series, axis=1, keepdims=True)
    covariance = np.array([[np.nanmean(a * b) for b in centred] for a in centred])
    return covariance[np.triu_indices(3)]


@pytest.fixture
def tokens():
    return torch.randn(B, R * W, D, dtype=torch.float64)


@pytest.mark.parametrize("pool", POOLS + GROUP_POOLS)
@pytest.mark.parametrize("hidden", [False, True])
def test_pools_equal_loops(pool, hidden, tokens):
    valid = torch.ones(B, R, W, dtype=torch.bool)
    if hidden:
        valid[0, 4], valid[1, :, 2], valid[2, [0, 3], 0], valid[2, :2, 1:3] = [False] * 4
    flat = valid.flatten(1) if hidden else None
    found = pool_tokens(tokens, W, (pool,), flat, NETWORKS)
    for i in range(B):
        expected = naive(pool, tokens[i].reshape(R, W, D).numpy(), valid[i].numpy())
        np.testing.assert_allclose(found[i], expected, atol=1e-12)


def test_pools_are_joined_in_the_order_asked(tokens):
    found = pool_tokens(tokens, W, ("std", "mean"))
    expected = torch.cat([tokens.std(1, correction=0), tokens.mean(1)], 1)
    assert torch.allclose(found, expected)


def test_invalid_values_count_nowhere(tokens):
    valid = torch.rand(B, R * W) > 0.3
    wild = torch.where(valid[..., None], tokens, 1e9)
    for pool in POOLS + GROUP_POOLS:
        a, b = (pool_tokens(t, W, (pool,), valid, NETWORKS) for t in (tokens, wild))
        assert torch.allclose(a, b), pool


def test_names_of_pools():
    assert pool_names("mean", None) == ("mean",)
    assert pool_names(["std", "mean"], None) == ("std", "mean")
    assert pool_names("second_order", NETWORKS) == SECOND_ORDER
    assert pool_names("second_order", None) == ("std", "time_std")


def test_error_texts(tokens):
    with pytest.raises(ValueError, match=r"expected pools among mean, std.*found 'median'; take"):
        pool_tokens(tokens, W, ("median",))
    with pytest.raises(ValueError, match=r"expected the network of each ROI.*found none; take an"):
        pool_tokens(tokens, W, ("network_covariance",))
    with pytest.raises(ValueError, match=r"network of each ROI for the pool 'network_mean', found"):
        pool_tokens(tokens, W, ("network_mean",))
