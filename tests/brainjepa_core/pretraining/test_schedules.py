"""Schedules: the published numbers, and what holds for any settings."""

from __future__ import annotations

import json

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from pydantic import ValidationError
from shared_data import shared

from brainjepa_core.pretraining.schedules import (
    ScheduleSettings,
    ema_momentum,
    learning_rate,
    values_at,
    weight_decay,
)

rates = st.floats(1e-6, 1.0)
shares = st.floats(0.0, 1.0)


@st.composite
def schedules(draw) -> ScheduleSettings:
    total = draw(st.integers(1, 5000))
    return ScheduleSettings(
        total_steps=total,
        warmup_steps=draw(st.integers(0, total)),
        start_lr=draw(rates),
        lr=draw(rates),
        final_lr=draw(rates),
        weight_decay=draw(shares),
        final_weight_decay=draw(shares),
        ema=draw(shares),
        final_ema=draw(shares),
        ema_mode=draw(st.sampled_from(["exact", "official"])),
        accumulation=draw(st.integers(1, 8)),
    )


def within(value: float, *ends: float) -> bool:
    return min(ends) - 1e-12 <= value <= max(ends) + 1e-12


@pytest.fixture(scope="module")
def published() -> dict:
    return json.loads(shared("reference", "schedules.json").read_text())


def published_settings(r: dict, **choices) -> ScheduleSettings:
    a_step = r["accumulation_steps"]
    return ScheduleSettings(
        total_steps=r["epochs"] * r["iterations_per_epoch"] // a_step,
        warmup_steps=r["warmup_epochs"] * r["iterations_per_epoch"] // a_step,
        start_lr=r["start_lr"],
        lr=r["lr"],
        final_lr=r["final_lr"],
        weight_decay=r["weight_decay"],
        final_weight_decay=r["final_weight_decay"],
        ema=r["ema"][0],
        final_ema=r["ema"][1],
        accumulation=a_step,
        **choices,
    )


def test_the_published_numbers(published):
    s = published_settings(published, ema_mode="official")
    assert len(published["optimizer_step"]) > 10
    for i, step in enumerate(published["optimizer_step"]):
        found = values_at(s, step)
        assert found.lr == pytest.approx(published["lr_at"][i], rel=1e-9)
        assert found.weight_decay == pytest.approx(published["wd_at"][i], rel=1e-9)
        assert found.momentum == pytest.approx(published["ema_momentum_at"][i], rel=1e-9)


def test_the_official_momentum_ends_short_and_ours_does_not(published):
    last = values_at(published_settings(published, ema_mode="official"), 3749)
    assert last.momentum == pytest.approx(0.9965, abs=1e-6)
    exact = published_settings(published)
    assert values_at(exact, 3749).momentum == 1.0
    assert values_at(exact, 0).momentum == 0.996
    assert values_at(exact, 3749)[:2] == last[:2]  # the mode is about momentum only


def test_a_study_by_hand():
    s = ScheduleSettings(
        total_steps=4, warmup_steps=2, start_lr=0.0, lr=1.0, final_lr=0.5,
        weight_decay=0.0, final_weight_decay=1.0, ema=0.4, final_ema=1.0,
    )  # fmt: skip
    assert [learning_rate(s, i) for i in range(4)] == pytest.approx([0.5, 1.0, 0.75, 0.5])
    half = 2**-0.5 / 2
    expected = [0.5 - half, 0.5, 0.5 + half, 1.0]
    assert [weight_decay(s, i) for i in range(4)] == pytest.approx(expected)
    assert [ema_momentum(s, i) for i in range(4)] == pytest.approx([0.4, 0.6, 0.8, 1.0])


@given(schedules(), st.data())
def test_values_stay_between_their_ends(s, data):
    step = data.draw(st.integers(0, s.total_steps + 10))
    found = values_at(s, step)
    in_warmup = step + 1 < s.warmup_steps
    assert within(found.lr, s.start_lr if in_warmup else s.final_lr, s.lr)
    assert within(found.weight_decay, s.weight_decay, s.final_weight_decay)
    assert within(found.momentum, s.ema, s.final_ema)


@given(schedules())
def test_the_ends_are_reached(s):
    assume(s.warmup_steps < s.total_steps)
    last = values_at(s, s.total_steps - 1)
    assert last.lr == pytest.approx(s.final_lr)
    assert last.weight_decay == pytest.approx(s.final_weight_decay)
    if s.warmup_steps:
        assert learning_rate(s, s.warmup_steps - 1) == pytest.approx(s.lr)
    assert values_at(s, 0).momentum == s.ema
    if s.ema_mode == "exact" and s.total_steps > 1:
        assert last.momentum == pytest.approx(s.final_ema)
    assert values_at(s, 10 * s.total_steps)[:2] == pytest.approx(last[:2])


@given(schedules(), st.data())
def test_each_part_runs_one_way(s, data):
    step = data.draw(st.integers(0, s.total_steps - 1))
    a, b = values_at(s, step), values_at(s, step + 1)
    if step + 2 <= s.warmup_steps:
        change = b.lr - a.lr
        assert change * (s.lr - s.start_lr) >= 0
        assert change == pytest.approx((s.lr - s.start_lr) / s.warmup_steps, abs=1e-12)
    elif step + 1 >= s.warmup_steps:
        assert (b.lr - a.lr) * (s.final_lr - s.lr) >= -1e-15
    assert (b.weight_decay - a.weight_decay) * (s.final_weight_decay - s.weight_decay) >= -1e-15
    assert (b.momentum - a.momentum) * (s.final_ema - s.ema) >= -1e-15


@given(schedules(), st.lists(st.integers(0, 6000), min_size=1, max_size=20))
def test_values_are_a_function_of_the_step_alone(s, steps):
    forward = {step: values_at(s, step) for step in sorted(steps)}
    again = ScheduleSettings(**s.model_dump())
    assert all(values_at(again, step) == forward[step] for step in steps)


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"warmup_steps": 11}, r"warmup_steps of at most total_steps \(10\), found 11; shorten"),
        ({"total_steps": 0}, "total_steps\n.*greater than or equal to 1"),
        ({"lr": 0.0}, "lr\n.*greater than 0"),
        ({"start_lr": -1e-9}, "start_lr\n.*greater than or equal to 0"),
        ({"weight_decay": -0.1}, "weight_decay\n.*greater than or equal to 0"),
        ({"final_ema": 1.1}, "final_ema\n.*less than or equal to 1"),
        ({"accumulation": 0}, "accumulation\n.*greater than or equal to 1"),
        ({"ema_mode": "linear"}, "ema_mode\n.*'exact' or 'official'"),
        ({"epochs": 3}, "epochs\n.*not permitted"),
    ],
)
def test_bad_settings(fields, text):
    with pytest.raises(ValidationError, match=text):
        ScheduleSettings(**{"total_steps": 10, **fields})


def test_settings_are_frozen():
    with pytest.raises(ValidationError, match="frozen"):
        ScheduleSettings(total_steps=10).total_steps = 11
