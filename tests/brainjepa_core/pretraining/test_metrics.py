"""Collapse metrics: tokens of which one knows what they are."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from brainjepa_core.pretraining.metrics import collapse_metrics, effective_rank


def naive_rank(vectors: np.ndarray) -> float:
    centred = vectors - vectors.mean(axis=0)
    singular = np.linalg.svd(centred, compute_uv=False)
    if singular.sum() == 0:
        return 0.0
    p = [s / singular.sum() for s in singular if s > 0]
    return float(np.exp(-sum(q * np.log(q) for q in p)))


@given(st.integers(2, 12), st.integers(1, 8), st.integers(0, 2**32 - 1), st.floats(1e-3, 1e3))
def test_effective_rank_by_numpy(n, width, seed, scale):
    rng = np.random.default_rng(seed)
    vectors = scale * rng.standard_normal((n, width)) * rng.uniform(0.01, 1, width)
    found = float(effective_rank(torch.tensor(vectors)))
    assert found == pytest.approx(naive_rank(vectors), rel=1e-3)
    assert 1 - 1e-4 <= found <= min(n - 1, width) + 1e-4


@pytest.mark.parametrize("k", [1, 2, 5, 8])
def test_k_equal_orthogonal_directions_have_rank_k(k):
    rotation, _ = np.linalg.qr(np.random.default_rng(k).standard_normal((8, 8)))
    rows = np.concatenate([rotation[:k], -rotation[:k]]) + 3.0
    assert float(effective_rank(torch.tensor(rows))) == pytest.approx(k, abs=1e-4)


@given(st.integers(2, 40), st.integers(1, 8), st.integers(0, 2**32 - 1))
def test_equal_rows_have_rank_0(n, width, seed):
    row = np.random.default_rng(seed).standard_normal(width)
    assert float(effective_rank(torch.tensor(np.tile(row, (n, 1))))) == 0.0
    assert float(effective_rank(torch.zeros(n, width))) == 0.0


def iid(*shape: int) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(0).standard_normal(shape))


def test_tokens_that_are_only_their_position():
    found = collapse_metrics(iid(1, 50, 16).expand(6, -1, -1))
    assert found["position_share"] == pytest.approx(1.0, abs=1e-5)
    assert found["spread_people"] == pytest.approx(0.0, abs=1e-5)
    assert found["rank_people"] == 0.0
    assert found["spread_positions"] == pytest.approx(1.0, abs=0.05)
    assert found["rank_tokens"] > 12


def test_tokens_that_owe_their_position_nothing():
    found = collapse_metrics(iid(20, 50, 16))
    assert found["position_share"] == pytest.approx(0.0, abs=0.02)
    assert found["spread_people"] == pytest.approx(1.0, abs=0.02)
    assert found["spread_positions"] == pytest.approx(1.0, abs=0.02)
    assert found["rank_people"] > 10


def test_half_position_half_person():
    found = collapse_metrics(iid(1, 400, 8) + iid(30, 400, 8) + 5)
    assert found["position_share"] == pytest.approx(0.5, abs=0.03)


def test_by_loops():
    tokens = (iid(3, 5, 4) * torch.arange(1, 5) + 10 * iid(1, 1, 4)).numpy()
    at_position = [tokens[:, n, d].var(ddof=1) for n in range(5) for d in range(4)]
    of_person = [tokens[b, :, d].var(ddof=1) for b in range(3) for d in range(4)]
    of_feature = [tokens[:, :, d].var(ddof=1) for d in range(4)]
    assert collapse_metrics(torch.tensor(tokens)) == pytest.approx(
        {
            "spread_people": np.mean(at_position) ** 0.5,
            "spread_positions": np.mean(of_person) ** 0.5,
            "position_share": 1 - np.mean(at_position) / np.mean(of_feature),
            "rank_tokens": np.mean([naive_rank(person) for person in tokens]),
            "rank_people": naive_rank(tokens.mean(axis=1)),
        },
        rel=1e-4,
    )


def test_a_few_directions_of_many_tokens_keep_their_rank():
    """Products in float32 would see a dozen directions in what has three."""
    rows = iid(3000, 3).float() @ iid(3, 96).float() + 2
    expected = naive_rank(rows.numpy().astype(np.float64))
    assert float(effective_rank(rows)) == pytest.approx(expected, rel=1e-3) and expected < 3


def test_the_rank_of_tokens_is_that_of_four_people():
    tokens = iid(6, 20, 8)
    tokens[4:] = 1.0  # without any
    assert collapse_metrics(tokens)["rank_tokens"] == pytest.approx(
        np.mean([naive_rank(person.numpy()) for person in tokens[:4]])
    )


def test_tokens_that_are_not_valid_are_not_compared():
    """What a model gives for padding or a missing ROI is no sign of anything."""
    tokens, valid = iid(6, 20, 8), torch.ones(6, 20, dtype=torch.bool)
    valid[:, 15:] = False  # padded frames
    valid[2, 4] = False  # an ROI that one person lacks
    hidden = torch.where(valid[..., None], tokens, 0.0)
    kept = [n for n in range(15) if n != 4]
    expected = collapse_metrics(tokens[:, kept])
    assert collapse_metrics(hidden, valid) == expected
    assert collapse_metrics(hidden) != pytest.approx(expected, rel=0.05)
    assert collapse_metrics(tokens, torch.ones_like(valid)) == collapse_metrics(tokens)


@pytest.mark.parametrize("positions", [0, 1])
def test_nothing_is_said_of_fewer_than_two_positions(positions):
    valid = torch.arange(20).expand(6, -1) < positions
    assert collapse_metrics(iid(6, 20, 8), valid) == {}


def test_people_who_are_a_constant_each():
    """All positions say the same: no position shortcut, and tokens without rank."""
    found = collapse_metrics(iid(12, 1, 8).expand(-1, 30, -1))
    assert found["rank_tokens"] == 0.0 and found["spread_positions"] == 0.0
    assert found["position_share"] == pytest.approx(0.0, abs=0.1)
    assert found["rank_people"] > 4


def test_complete_collapse():
    found = collapse_metrics(torch.full((4, 10, 8), 0.3))
    assert found["rank_tokens"] == found["rank_people"] == 0.0
    assert found["spread_people"] == pytest.approx(0.0, abs=1e-6)
    assert all(np.isfinite(value) and type(value) is float for value in found.values())


def test_half_precision_is_measured_in_single():
    tokens = iid(6, 40, 8).to(torch.bfloat16)
    assert collapse_metrics(tokens) == collapse_metrics(tokens.float())


def test_one_person_cannot_be_compared():
    with pytest.raises(ValueError, match="at least 2 people to compare, found 1; use a larger"):
        collapse_metrics(iid(1, 5, 4))
