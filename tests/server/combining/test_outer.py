"""Outer steps against torch's optimisers and loops; the target encoder against its recursion."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from brainjepa_core.models.brain_jepa.model import BrainJEPA
from brainjepa_core.pretraining.schedules import ScheduleSettings, ema_momentum
from brainjepa_server.combining.outer import OuterOptimizer, followers_on_line, next_weights
from brainjepa_server.settings import AggregationSettings, OuterSettings

SHAPES = {
    "basis": (3, 2),
    "encoder.a": (6, 4),
    "encoder.b": (),
    "predictor.c": (5,),
    "target_encoder.a": (6, 4),
    "target_encoder.b": (),
}
ROLES = BrainJEPA.roles
TRAINED = ("encoder.a", "encoder.b", "predictor.c")


def make_weights(seed: int, dtype=np.float32) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {n: np.asarray(rng.standard_normal(s), dtype) for n, s in SHAPES.items()}


def trained(weights):
    return {n: weights[n] for n in TRAINED}


def same(a, b):
    return a.keys() == b.keys() and all(
        np.asarray(a[n]).tobytes() == np.asarray(b[n]).tobytes() for n in a
    )


def test_plain_averaging_is_the_mean_rounded_once():
    mean = {n: v * 1e-9 for n, v in make_weights(1, np.float64).items()}
    new = OuterOptimizer(OuterSettings(), ROLES).step(make_weights(0), trained(mean), 3)
    assert same(new, {n: mean[n].astype(np.float32) for n in TRAINED})


def test_fedavg_with_a_rate_goes_part_of_the_way():
    base, mean = make_weights(0), make_weights(1, np.float64)
    outer = OuterOptimizer(OuterSettings(lr=0.25), ROLES)
    new = outer.step(base, trained(mean), 0)
    for name in TRAINED:
        np.testing.assert_allclose(new[name], 0.75 * base[name] + 0.25 * mean[name], atol=1e-6)
    assert outer.state == {}


ORACLES = {
    "fedavgm": lambda p: torch.optim.SGD(p, lr=0.7, momentum=0.9, nesterov=True),
    "fedadam": lambda p: torch.optim.Adam(p, lr=0.7, betas=(0.9, 0.99), eps=1e-3),
}


@pytest.mark.parametrize("kind", ORACLES)
def test_momentum_and_adam_are_those_of_torch(kind):
    """The mean difference is minus the gradient; float32 weights between rounds, as here."""
    outer = OuterOptimizer(OuterSettings(kind=kind, lr=0.7, momentum=0.9, epsilon=1e-3), ROLES)
    weights = make_weights(0)
    parameter = torch.tensor(weights["encoder.a"].astype("f8"), requires_grad=True)
    oracle = ORACLES[kind]([parameter])
    for number in range(6):
        mean = {n: weights[n] + 0.1 * v for n, v in make_weights(number + 9, "f8").items()}
        parameter.grad = torch.tensor(weights["encoder.a"] - mean["encoder.a"])
        weights = weights | outer.step(weights, trained(mean), number)
        oracle.step()
        expected = parameter.detach().numpy().astype(np.float32)
        np.testing.assert_allclose(weights["encoder.a"], expected, rtol=1e-6, atol=1e-7)
        parameter.data = torch.tensor(weights["encoder.a"].astype("f8"))


@pytest.mark.parametrize("kind", ["fedavg", "fedavgm", "fedadam"])
def test_a_saved_state_goes_on_bit_for_bit(kind):
    settings = OuterSettings(kind=kind, lr=0.5)
    straight, weights = OuterOptimizer(settings, ROLES), make_weights(0)
    for number in range(3):
        weights |= straight.step(weights, trained(make_weights(number + 1, "f8")), number)
    resumed = OuterOptimizer(settings, ROLES)
    resumed.load({n: v.copy() for n, v in straight.state.items()}, weights)
    mean = trained(make_weights(8, "f8"))
    assert same(resumed.step(weights, mean, 3), straight.step(weights, mean, 3))
    assert same(resumed.state, straight.state)
    assert all(v.dtype == np.float64 for v in resumed.state.values())


def test_a_state_of_another_optimiser_is_refused():
    outer = OuterOptimizer(OuterSettings(kind="fedavgm"), ROLES)
    outer.step(make_weights(0), trained(make_weights(1, "f8")), 0)
    text = r"expected the 6 arrays of a fedadam state, found 9 missing, unknown or of another shape"
    with pytest.raises(ValueError, match=text):
        OuterOptimizer(OuterSettings(kind="fedadam"), ROLES).load(outer.state, make_weights(0))
    short = {n: v[:1] if v.ndim else v for n, v in outer.state.items()}
    with pytest.raises(ValueError, match=r"found 2 missing, .* \(momentum.encoder.a, momentum.pre"):
        OuterOptimizer(OuterSettings(kind="fedavgm"), ROLES).load(short, make_weights(0))
    OuterOptimizer(OuterSettings(kind="fedadam"), ROLES).load(
        {}, make_weights(0)
    )  # the first round


def walk(base, encoder, momenta):
    """The recursion itself, a step at a time."""
    new = {}
    for name in ("a", "b"):
        old, end = (w[f"encoder.{name}"].astype("f8") for w in (base, encoder))
        target = base[f"target_encoder.{name}"].astype("f8")
        for j, m in enumerate(momenta, 1):
            target = m * target + (1 - m) * (old + j / len(momenta) * (end - old))
        new[f"target_encoder.{name}"] = target
    return new


@given(momenta=st.lists(st.floats(0, 1), max_size=60))
def test_the_target_on_the_line_is_the_recursion_over_the_rounds_steps(momenta):
    base, encoder = make_weights(0), make_weights(1)
    found, expected = followers_on_line(base, encoder, momenta, ROLES), walk(base, encoder, momenta)
    assert found.keys() == expected.keys()
    for name in found:
        assert found[name].dtype == np.float32
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-6, atol=1e-6)


def test_the_schedules_own_momenta_move_the_target_a_little():
    schedule = ScheduleSettings(total_steps=200)
    momenta = [ema_momentum(schedule, step) for step in range(50, 100)]
    base, encoder = make_weights(0), make_weights(1)
    found, expected = followers_on_line(base, encoder, momenta, ROLES), walk(base, encoder, momenta)
    np.testing.assert_allclose(
        found["target_encoder.a"], expected["target_encoder.a"], rtol=1e-6, atol=1e-7
    )
    one = followers_on_line(base, encoder, momenta[-1:], ROLES)
    moved, jump = (
        np.linalg.norm(f["target_encoder.a"] - base["target_encoder.a"]) for f in (found, one)
    )
    assert moved > 10 * jump  # one EMA step a round leaves it nearly frozen


def test_what_does_not_move_stays_the_same_to_the_bit():
    base = make_weights(0)
    base |= {f"target_{n}": base[n].copy() for n in ("encoder.a", "encoder.b")}
    found = followers_on_line(base, base, [0.9, 0.99, 0.3], ROLES)
    assert same(found, {n: base[n] for n in found})
    away = followers_on_line(make_weights(0), make_weights(1), [1.0] * 4, ROLES)
    assert same(away, {n: make_weights(0)[n] for n in away})


@pytest.mark.parametrize(
    ("target", "kind", "averaged"),
    [
        ("average", "fedavg", True), ("average", "fedavgm", False), ("average", "fedadam", False),
        ("line", "fedavg", False), ("local", "fedavg", False),
    ],
)  # fmt: skip
def test_targets_are_averaged_only_where_that_is_exact(target, kind, averaged):
    settings = AggregationSettings(target=target, outer=OuterSettings(kind=kind))
    base, mean, momenta = make_weights(0), make_weights(1, "f8"), [0.9, 0.95]
    del mean["basis"]
    new = next_weights(OuterOptimizer(settings.outer, ROLES), settings, base, mean, 0, momenta)
    moved = OuterOptimizer(settings.outer, ROLES).step(base, trained(mean), 0)
    line = followers_on_line(base, moved, momenta, ROLES)
    expected = {n: mean[n].astype("f4") for n in line} if averaged else line
    assert new.keys() == base.keys() and same(trained(new), moved)
    assert same({n: new[n] for n in line}, expected)
    np.testing.assert_array_equal(new["basis"], base["basis"])


def test_averaged_targets_are_the_targets_of_averaged_encoders():
    """Linearity, on sites that walk different ways with the schedule's momenta."""
    base, momenta = make_weights(0), [0.9, 0.8, 0.95]
    sites = [make_weights(seed) for seed in (1, 2, 3)]
    mean = {n: np.mean([walk(base, s, momenta)[n] for s in sites], 0) for n in walk(base, base, [])}
    encoder = {n: np.mean([s[n].astype("f8") for s in sites], 0) for n in TRAINED}
    for name, value in walk(base, encoder, momenta).items():
        np.testing.assert_allclose(value, mean[name], rtol=1e-12)


def test_weights_that_are_not_finite_stop_the_round():
    settings = AggregationSettings(outer=OuterSettings(kind="fedavgm", lr=1e38))
    mean = {n: 1e3 + v for n, v in make_weights(1, "f8").items()}
    with (
        pytest.raises(ValueError, match="expected finite weights after round 4, found NaN or infi"),
        np.errstate(over="ignore", invalid="ignore"),
    ):
        next_weights(
            OuterOptimizer(settings.outer, ROLES),
            settings,
            make_weights(0),
            mean,
            4,
            [0.9],
        )
