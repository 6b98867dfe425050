"""Moments of a site that knows the rules: no figure is above 1 or no number, nothing raises."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from brainjepa_core.evaluation.common_probe import cross_fit
from brainjepa_core.sums.moments import Group, Moments, moments_to_arrays
from brainjepa_core.wire.messages import Reply
from brainjepa_server.combining.validation import RejectedReply
from brainjepa_server.tasks.yardstick import FederatedYardstick

FOLDS, HELD_OUT, P, Q, N = 4, 1, 5, 2, 40
FIELDS = tuple(Moments.ADDED)


def site(seed: int) -> list[Moments]:
    rng = np.random.default_rng(seed)
    x = 1 + rng.standard_normal((N, P))
    y = 0.5 * x[:, :Q] + rng.standard_normal((N, Q))
    return [Moments.of(x[k::FOLDS], y[k::FOLDS]) for k in range(FOLDS)]


def reply(folds: list[Moments]) -> Reply:
    groups = {Group("mean", "latents", k): m for k, m in enumerate(folds)}
    return Reply({}, dict(moments_to_arrays(groups)))


HONEST = [site(seed) for seed in range(3)]


@st.composite
def hostile(draw) -> list[Moments]:
    """Moments that no honest site sends: of made-up people, or with numbers of their own."""
    rng = np.random.default_rng(draw(st.integers(0, 10**6)))
    kind = draw(st.sampled_from(["perfect", "nobody's", "one field", "turned", "of few", "scaled"]))
    size = 10.0 ** draw(st.floats(-6, 45))
    if kind == "perfect":
        x = size * rng.standard_normal((N, P))
        return [Moments.of(x[k::FOLDS], x[k::FOLDS] @ np.ones((P, Q))) for k in range(FOLDS)]
    if kind == "of few":
        x, y = size * rng.standard_normal((2, P)), size * rng.standard_normal((2, Q))
        return [Moments.of(x[k:], y[k:]) for k in (0, 1, 2, 0)]
    folds = site(int(rng.integers(10**6)))
    values = [m.to_arrays() for m in folds]
    for found in values:
        if kind == "nobody's":
            found |= {f: size * rng.standard_normal(np.shape(found[f])) for f in FIELDS[1:]}
            found["xx"] = found["xx"] @ found["xx"].T
            found["yy"] = np.abs(found["yy"])
        elif kind == "one field":
            name = draw(st.sampled_from(FIELDS))
            found[name] = np.asarray(found[name] * size)
        elif kind == "turned":
            away = draw(st.floats(0, 2))
            found["xy"] = found["xy"] + away * N * rng.standard_normal((P, Q))
        else:
            found |= {f: found[f] * size for f in ("xx", "yy", "xy")}
    return [Moments._made_of({**found, "n": found["n"].round()}) for found in values]


@pytest.mark.slow
@settings(max_examples=150, deadline=None)
@given(lie=hostile())
@pytest.mark.filterwarnings("error")
def test_no_figure_is_above_one_and_none_is_no_number(lie):
    with FederatedYardstick(FOLDS, HELD_OUT) as yardstick:
        for number, folds in enumerate(HONEST):
            yardstick.add(f"site-{number}", reply(folds))
        try:
            yardstick.add("liar", reply(lie))
        except RejectedReply as error:
            assert str(error).startswith("expected")
        measured = yardstick.measure("m")
    assert set(measured.left_out) <= {"liar"}
    (row,) = measured.rows
    assert row.r2 is not None and row.r2 <= 1 and row.r2_at_sites is not None
    assert row.r2_at_sites < 0.9  # that of honest sites is near 0.2, however perfect the liar


@settings(max_examples=150, deadline=None)
@given(lie=hostile())
def test_nor_is_one_of_a_task(lie):
    try:
        lie = [Moments.from_arrays(m.to_arrays()) for m in lie]
    except ValueError:
        return
    folds = [a + b + c for a, b, c in zip(*HONEST[:2], lie, strict=True)]
    found = cross_fit([_of_one(m) for m in folds]).metrics
    assert found["r2"] <= 1 and -1 <= found["r"] <= 1
    assert found["mse"] >= 0 and all(map(math.isfinite, found.values()))


def _of_one(m: Moments) -> Moments:
    """With the first outcome alone, as a task has it."""
    return Moments(m.n, m.x_sum, m.y_sum[:1], m.xx, m.xy[:, :1], m.yy[:1])
