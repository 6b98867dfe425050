"""Replies wait on disk until all are there, and nothing stays behind."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from brainjepa_core.models.brain_jepa.model import BrainJEPA
from brainjepa_core.wire.messages import Reply
from brainjepa_core.wire.weights import encode_weights
from brainjepa_server.combining.judging import JudgedReplies
from brainjepa_server.combining.validation import RejectedReply
from brainjepa_server.settings import AggregationSettings

SHAPES = {"encoder.a": (40, 30), "encoder.b": (), "target_encoder.a": (40, 30),
          "target_encoder.b": ()}  # fmt: skip
BASE = {
    n: np.random.default_rng(0).standard_normal(s).astype("f4") + np.zeros(s, "f4")
    for n, s in SHAPES.items()
}


def reply(seed: int, wire: str = "fp32", share: float = 10.0) -> Reply:
    rng = np.random.default_rng(seed)
    weights = {n: np.asarray(v + 0.1 * rng.standard_normal(v.shape), "f4") for n, v in BASE.items()}
    metrics = {"share": share, "loss": 0.5, "steps": 3}
    return Reply(metrics, dict(encode_weights(weights, BASE, wire)))


def judged(folder: Path, **settings) -> JudgedReplies:
    return JudgedReplies(BASE, AggregationSettings(**settings), BrainJEPA.roles, 3, folder)


@pytest.mark.parametrize("combine", ["mean", "trimmed_mean", "median"])
def test_replies_wait_on_disk_and_are_gone_afterwards(tmp_path, combine):
    with judged(tmp_path, combine=combine) as replies:
        for seed in (1, 2, 3):
            replies.take(f"site-{seed}", reply(seed))
        sizes = [path.stat().st_size for path in tmp_path.rglob("0*")]
        weights = sum(4 * value.size for value in BASE.values())
        assert len(sizes) == 3 and all(weights < size < weights + 1000 for size in sizes)
        assert all(update.arrays == {} for update in replies.updates.values())
        replies.combine(replies.limits())
    assert list(tmp_path.iterdir()) == []


def test_a_round_that_ends_early_leaves_nothing(tmp_path):
    with pytest.raises(KeyboardInterrupt), judged(tmp_path) as replies:
        replies.take("a", reply(1))
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("wire", ["fp32", "bf16"])
def test_what_passes_is_combined_bit_for_bit(tmp_path, wire):
    with judged(tmp_path, wire=wire) as replies:
        replies.take("a", reply(1, wire))
        with pytest.raises(RejectedReply, match="expected 3 steps, found 4"):
            sent = reply(2, wire)
            replies.take("b", Reply({**sent.metrics, "steps": 4}, sent.arrays))
        found = replies.combine(replies.limits())
    if wire == "fp32":
        sent = reply(1).arrays
        assert all(found[n].astype("f4").tobytes() == sent[n].tobytes() for n in BASE)
    for name, value in reply(1).arrays.items():
        np.testing.assert_allclose(found[name], value, atol=0.5 * 2**-8)


def test_nothing_is_no_round(tmp_path):
    with (
        judged(tmp_path) as replies,
        pytest.raises(ValueError, match="expected at least one usable reply in a round, found n"),
    ):
        replies.combine(replies.limits())
