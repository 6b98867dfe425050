"""Replies to a round of a model of a few weights."""

from __future__ import annotations

import numpy as np

from brainjepa_core.models.brain_jepa.model import BrainJEPA
from brainjepa_core.wire.messages import Reply
from brainjepa_core.wire.weights import encode_weights
from brainjepa_server.settings import AggregationSettings

ROLES, STEPS = BrainJEPA.roles, 5
SHAPES = {
    "basis": (3, 2),
    "encoder.a.weight": (4, 3),
    "encoder.b": (1,),
    "predictor.c": (5,),
    "target_encoder.a.weight": (4, 3),
    "target_encoder.b": (1,),
}


def make_base() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {name: rng.standard_normal(s).astype(np.float32) for name, s in SHAPES.items()}


BASE = make_base()


def make_reply(agreed: AggregationSettings | None = None, **changes) -> Reply:
    agreed = agreed or AggregationSettings()
    rng = np.random.default_rng(1)
    names = ROLES.sent(BASE, agreed.target == "average")
    weights = {
        n: np.asarray(BASE[n] + 0.01 * rng.standard_normal(BASE[n].shape), np.float32)
        for n in names
    }
    arrays = encode_weights(weights, BASE, agreed.wire) | changes.pop("arrays", {})
    metrics = {"share": 20.0, "loss": 0.5, "steps": STEPS, "seconds": 2.5, "rank_people": 3.0}
    return Reply(metrics | changes.pop("metrics", {}), arrays, **changes)
