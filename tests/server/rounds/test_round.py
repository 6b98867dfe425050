"""A round: the honest sites' mean and nothing else, whatever the others send."""

from __future__ import annotations

import math

import numpy as np
import pytest
from fake_grid import FakeGrid, failing, replying
from flwr.app import ConfigRecord, Message, RecordDict
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from brainjepa_core.models.brain_jepa.model import BrainJEPA
from brainjepa_core.pretraining.schedules import ScheduleSettings
from brainjepa_core.pretraining.settings import PretrainingSettings
from brainjepa_core.pretraining.training_settings import TrainingSettings
from brainjepa_core.sums.moments import Group, Moments, moments_to_arrays
from brainjepa_core.wire.weights import encode_weights, travelling_bytes
from brainjepa_server.combining.outer import OuterOptimizer
from brainjepa_server.combining.validation import Counts
from brainjepa_server.record.history import SiteRecord
from brainjepa_server.rounds.retrying import QuorumMissed
from brainjepa_server.rounds.round import _beyond, chosen_sites, evaluate, train_round
from brainjepa_server.rounds.sites import Sites
from brainjepa_server.settings import StudySettings

NAMES = ("encoder.a", "encoder.b", "predictor.c", "target_encoder.a", "target_encoder.b")
SHAPES = ((2, 3), (4,), (), (2, 3), (4,))
BASIS = np.zeros((3, 2), "f4")


def make_settings(quorum=1, sites=None, seed=0, **aggregation) -> StudySettings:
    schedule = ScheduleSettings(total_steps=6)
    return StudySettings(
        name="s",
        pretraining=PretrainingSettings(training=TrainingSettings(seed=seed, schedule=schedule)),
        rounds={"local_steps": 2, "quorum": quorum, "sites": sites, "deadline": 60},
        aggregation=aggregation,
    )


def base() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {n: rng.standard_normal(s).astype("f4") for n, s in zip(NAMES, SHAPES, strict=True)}


def trained(node: int, length: float = 0.4) -> dict[str, np.ndarray]:
    """Weights of a site: all differences are of one length, as those of AdamW nearly are."""
    rng = np.random.default_rng(node)
    moves = {n: rng.standard_normal(v.shape) for n, v in base().items()}
    norm = math.sqrt(sum((move**2).sum() for move in moves.values()))
    return {n: np.asarray(v + length / norm * moves[n], "f4") for n, v in base().items()}


def numbers(node: int) -> dict:
    return {"share": 1.0 + node, "loss": 0.5 * node, "loss_last": 0.25, "steps": 2,
            "seconds": 0.01, "rank_people": 3.0}  # fmt: skip


def with_array(value, name="encoder.a"):
    return lambda arrays, metrics: arrays.update({name: np.asarray(value)})


def with_number(**changes):
    return lambda arrays, metrics: metrics.update(changes)


def without(name):
    return lambda arrays, metrics: (arrays.pop(name, None), metrics.pop(name, None))


SPOILED = {  # what is done to arrays and metrics of an honest reply
    "nan": with_array(np.full((2, 3), np.nan, "f4")),
    "infinity": with_array(np.full((2, 3), np.inf, "f4")),
    "another shape": with_array(np.zeros((3, 2), "f4")),
    "one more axis": with_array(np.zeros((2, 3, 1), "f4")),
    "another dtype": with_array(np.zeros((2, 3), "f8")),
    "integers": with_array(np.zeros((2, 3), "i4")),
    "a huge norm": with_array(np.full((2, 3), 1e30, "f4")),
    "the largest float": with_array(np.full((2, 3), 3.4e38, "f4")),
    "a missing array": without("encoder.a"),
    "no target": without("target_encoder.b"),
    "an unknown array": with_array(np.zeros(2, "f4"), "encoder.z"),
    "no share": without("share"),
    "zero share": with_number(share=0.0),
    "negative share": with_number(share=-1.0),
    "nan share": with_number(share=math.nan),
    "infinite share": with_number(share=math.inf),
    "enormous share": with_number(share=1e300),
    "text as share": with_number(share="12"),
    "true as share": with_number(share=True),
    "a list as share": with_number(share=[1.0]),
    "no loss": without("loss"),
    "nan loss": with_number(loss=math.nan),
    "other steps": with_number(steps=3),
    "no steps": without("steps"),
    "no arrays": lambda arrays, metrics: arrays.clear(),
    "no metrics": lambda arrays, metrics: metrics.clear(),
}
WHOLE = ("refusal", "error", "silence", "empty", "other records")


def message_of(node: int, fault: str | None, message: Message) -> Message | None:
    if fault == "refusal":
        return replying(message, {}, {}, "this site's policy does not allow train")
    if fault == "error":
        return failing(message)
    if fault == "silence":
        return None
    if fault == "empty":
        return Message(RecordDict({}), reply_to=message)
    if fault == "other records":
        return Message(RecordDict({"x": ConfigRecord({"y": b"z"})}), reply_to=message)
    arrays, metrics = trained(node), numbers(node)
    if fault is not None:
        SPOILED[fault](arrays, metrics)
    return replying(message, arrays, metrics)


def one_round(faults: list[str | None], settings: StudySettings, number: int = 0):
    """Train with node 1, 2 ... of these faults; what the coordinator has, and what it heard."""
    names = {f"site-{node:02d}": node for node in range(1, len(faults) + 1)}
    grid = FakeGrid(lambda node, m: message_of(node, faults[node - 1], m), list(names.values()))
    heard = []
    outer = OuterOptimizer(settings.aggregation.outer, BrainJEPA.roles)
    listen = lambda site, reason: heard.append((site, reason))  # noqa: E731
    new, record = train_round(Sites(grid, names), settings, number, base(), BASIS, outer, listen)
    return new, record, heard


@hypothesis_settings(max_examples=300)
@given(
    st.lists(st.sampled_from((None, *SPOILED, *WHOLE)), min_size=1, max_size=5), st.integers(1, 4)
)
def test_only_honest_replies_count_and_the_others_get_a_reason(faults, quorum):
    honest = [node for node, fault in enumerate(faults, 1) if fault is None]
    settings = make_settings(quorum)
    if len(honest) < quorum:
        text = rf"expected at least {quorum} usable replies \(rounds.quorum\) in round 1, found"
        with pytest.raises(ValueError, match=text) as caught:
            one_round(faults, settings)
        left_out = len(faults) - len(honest)
        assert str(caught.value).count("; site-") == left_out and "canary" not in str(caught.value)
        return
    new, record, heard = one_round(faults, settings)
    assert sorted(record.sites) == [f"site-{node:02d}" for node in honest]
    assert len(record.sites) + len(record.rejected) == len(faults)
    assert all(record.rejected.values()) and "canary" not in record.model_dump_json()
    assert {name: reason for name, reason in heard if reason} == record.rejected
    total = sum(1.0 + node for node in honest)
    for name in NAMES:
        mean = sum((1.0 + node) * trained(node)[name].astype("f8") for node in honest) / total
        assert_allclose(new[name], mean, rtol=1e-6, atol=1e-7)
        assert new[name].dtype == np.float32
    if len(honest) == 1:
        assert all(np.array_equal(new[n], trained(honest[0])[n]) for n in NAMES)
    assert record.bytes_down == len(faults) * (
        sum(v.nbytes for v in base().values()) + BASIS.nbytes
    )


@pytest.mark.parametrize("fault", [*SPOILED, *WHOLE])
@pytest.mark.parametrize("combine", ["mean", "trimmed_mean", "median"])
def test_each_fault_alone(fault, combine):
    new, record, _ = one_round([None, fault, None], make_settings(combine=combine))
    assert list(record.rejected) == ["site-02"] and len(record.rejected["site-02"]) > 10
    expected, _, _ = one_round([None, "silence", None], make_settings(combine=combine))
    assert all(np.array_equal(new[name], expected[name]) for name in NAMES)


def test_a_round_as_it_is_recorded():
    _, record, heard = one_round([None, None, "refusal"], make_settings(), number=2)
    assert (record.number, record.first_step) == (3, 4)
    assert heard[:2] == [("site-01", ""), ("site-02", "")]
    assert record.rejected == {
        "site-03": "no usable reply: this site's policy does not allow train"
    }
    site = record.sites["site-02"]
    assert (site.loss, site.loss_last, site.share, site.steps) == (1.0, 0.25, 3.0, 2)
    assert site.metrics == {"rank_people": 3.0}
    one = sum(value.nbytes for value in base().values())
    assert site.bytes_up == one and site.bytes_down == one + BASIS.nbytes
    assert record.bytes_up == 2 * one and record.bytes_down == 3 * (one + BASIS.nbytes)
    assert 0 <= record.seconds_beyond_sites <= record.seconds
    assert record.loss == pytest.approx((2 * 0.5 + 3 * 1.0) / 5)


@pytest.mark.parametrize(
    ("own", "own_machines", "beyond"),
    [
        ([2.0, 3.0], False, 5.0),  # they took turns
        ([8.0, 7.0], False, 2.0),  # they cannot have
        ([2.0, 3.0], True, 7.0),  # nor here, however long the line took
        ([20.0, 1.0], True, 0.0),
        ([], True, 10.0),
    ],
)
def test_seconds_in_which_no_site_was_at_work(own, own_machines, beyond):
    records = {str(number): SiteRecord(seconds=seconds) for number, seconds in enumerate(own)}
    assert _beyond(10.0, records, own_machines) == beyond


def counted_round(counts: dict[str, Counts], share: float, **aggregation):
    """Two sites that told of so many people; `b` names a share of its choice."""

    def answer(node, message):
        told = numbers(node) | ({"share": share} if node == 2 else {"share": 20.0})
        return replying(message, trained(node), told)

    settings, names = make_settings(**aggregation), {"a": 1, "b": 2}
    outer = OuterOptimizer(settings.aggregation.outer, BrainJEPA.roles)
    sites = Sites(FakeGrid(answer, [1, 2]), names, counts=counts)
    return train_round(sites, settings, 0, base(), BASIS, outer, lambda *_: None)


@pytest.mark.parametrize(
    ("shares", "most"), [("scans", 30), ("subjects", 20)], ids=["scans", "subjects"]
)
def test_a_share_is_no_larger_than_what_the_site_told_of_when_it_joined(shares, most):
    counts = {"a": Counts(20, 20), "b": Counts(20, 30)}
    new, record = counted_round(counts, 1e9, shares=shares)
    assert record.rejected == {} and record.sites["b"].share == most
    assert record.capped == {
        "b": f"expected a share of at most {most}, the {shares} that the site told of when it "
        f"joined, found 1e+09; its reply counts by {most}"
    }
    honest, told = counted_round(counts, most, shares=shares)
    assert told.capped == {} and all(np.array_equal(new[name], honest[name]) for name in NAMES)
    for name in NAMES:
        mean = (20.0 * trained(1)[name] + most * trained(2)[name].astype("f8")) / (20 + most)
        assert_allclose(new[name], mean, rtol=1e-6, atol=1e-7)


def test_a_site_that_told_of_nobody_counts_as_one():
    _, record = counted_round({"a": Counts(20, 20), "b": Counts(0, 0)}, 12.0)
    assert record.sites["b"].share == 1 and list(record.capped) == ["b"]


@pytest.mark.parametrize("told", ["many", -4, True, 1e9, 10**12, None])
def test_what_is_no_number_of_people_counts_as_none(told):
    assert Counts.of({"subjects": told, "scans": 30}) == Counts(0, 30)


def pulled_round(lengths: list[float], shares: list[float], **aggregation):
    """Sites whose differences have these lengths."""

    def answer(node, message):
        told = numbers(node) | {"share": shares[node - 1]}
        return replying(message, trained(node, lengths[node - 1]), told)

    names = {f"site-{node:02d}": node for node in range(1, len(lengths) + 1)}
    settings, heard = make_settings(**aggregation), []
    outer = OuterOptimizer(settings.aggregation.outer, BrainJEPA.roles)
    sites = Sites(FakeGrid(answer, list(names.values())), names)
    listen = lambda site, reason: heard.append((site, reason))  # noqa: E731
    return *train_round(sites, settings, 0, base(), BASIS, outer, listen), heard


def mean_of(lengths: list[float], shares: list[float]) -> dict[str, np.ndarray]:
    sites = [trained(node, length) for node, length in enumerate(lengths, 1)]
    return {n: np.average([site[n].astype("f8") for site in sites], 0, shares) for n in NAMES}


def test_a_long_difference_is_shortened_and_a_very_long_one_is_left_out():
    new, record, heard = pulled_round([0.4, 0.4, 0.4, 0.8, 1.3], [1.0] * 5)
    assert record.rejected == {
        "site-05": "expected a difference of at most 3 times the round's median norm "
        "(aggregation.max_norm), found 3.25 times; look at the site's loss and learning rate"
    }
    assert heard[-1] == ("site-05", record.rejected["site-05"])
    assert record.clipped == {
        "site-04": "expected a difference of at most 1.1 times the round's median norm "
        "(aggregation.clip_norm), found 2 times; it is shortened to that"
    }
    assert record.sites["site-04"].scale == pytest.approx(0.55, rel=1e-6)
    assert [record.sites[f"site-{n:02d}"].scale for n in (1, 2, 3)] == [1.0] * 3
    norms = [record.sites[f"site-{n:02d}"].norm for n in (1, 4)]
    assert norms[1] == pytest.approx(2 * norms[0], rel=1e-5) and record.capped == {}
    expected = mean_of([0.4, 0.4, 0.4, 0.44], [1.0] * 4)
    for name in NAMES:
        assert_allclose(new[name], expected[name], rtol=1e-6, atol=1e-7)


def test_no_site_counts_by_more_than_twice_an_even_part():
    new, record, _ = pulled_round([0.4] * 4, [20.0, 20.0, 20.0, 1e9])
    assert record.capped == {
        "site-04": "expected a share of at most 50% of the round's (twice an even part), found "
        "1e+09 of 1e+09; its reply counts by 60"
    }
    assert record.sites["site-04"].share == 60 and record.rejected == record.clipped == {}
    expected = mean_of([0.4] * 4, [20.0, 20.0, 20.0, 60.0])
    for name in NAMES:
        assert_allclose(new[name], expected[name], rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("combine", ["trimmed_mean", "median"])
def test_robust_combinations_leave_out_and_do_not_clip(combine):
    lengths = [0.4, 0.4, 0.4, 0.8, 1.3]
    _, record, _ = pulled_round(lengths, [1.0] * 4 + [1e9], combine=combine)
    assert list(record.rejected) == ["site-05"] and record.clipped == record.capped == {}
    assert all(site.scale == 1 for site in record.sites.values())


def test_a_quorum_is_of_replies_that_count():
    with pytest.raises(
        QuorumMissed, match=r"found 3; .*; site-04: expected a difference of at mos"
    ):
        pulled_round([0.4, 0.4, 0.4, 4.0], [1.0] * 4, quorum=4)


def test_two_sites_cannot_judge_each_other():
    new, record, _ = pulled_round([0.1, 0.8], [1.0, 99.0])
    assert record.clipped == record.capped == record.rejected == {}
    expected = mean_of([0.1, 0.8], [1.0, 99.0])
    for name in NAMES:
        assert_allclose(new[name], expected[name], rtol=1e-6, atol=1e-7)


def test_a_failed_round_moves_nothing():
    settings = make_settings(2, outer={"kind": "fedavgm"})
    outer = OuterOptimizer(settings.aggregation.outer, BrainJEPA.roles)
    weights = base()
    grid = FakeGrid(lambda node, m: message_of(node, "nan", m), [1, 2])
    with pytest.raises(ValueError, match="found 0; mend the sites and resume"):
        sites = Sites(grid, {"a": 1, "b": 2})
        train_round(sites, settings, 0, weights, BASIS, outer, lambda *_: None)
    assert outer.state == {} and all(np.array_equal(weights[n], base()[n]) for n in NAMES)


@pytest.mark.parametrize("combine", ["mean", "trimmed_mean"])
@pytest.mark.parametrize("wire", ["bf16", "int8"])
def test_replies_of_differences(wire, combine):
    settings = make_settings(wire=wire, combine=combine)
    grid = FakeGrid(
        lambda node, m: replying(m, encode_weights(trained(node), base(), wire), numbers(node)),
        [1, 2, 3],
    )
    outer = OuterOptimizer(settings.aggregation.outer, BrainJEPA.roles)
    names = {"a": 1, "b": 2, "c": 3}
    new, record = train_round(
        Sites(grid, names), settings, 0, base(), BASIS, outer, lambda *_: None
    )
    assert record.rejected == {}
    whole, plain, _ = one_round([None] * 3, make_settings(combine=combine))
    assert record.bytes_up == 3 * sum(travelling_bytes(base()[n].shape, wire) for n in NAMES)
    assert record.bytes_up <= plain.bytes_up / (2 if wire == "bf16" else 1)
    for name in NAMES:
        assert_allclose(new[name], whole[name], atol=0.4 * 2**-8)


def test_the_sites_of_a_round_are_a_function_of_round_and_seed():
    names = [f"site-{i}" for i in range(9)]
    settings = make_settings(quorum=1, sites=3)
    asked = [chosen_sites(settings, names, number) for number in range(40)]
    assert asked == [chosen_sites(settings, names[::-1], number) for number in range(40)]
    assert all(len(set(found)) == 3 and found == sorted(found) for found in asked)
    assert {name for found in asked for name in found} == set(names)
    assert len({tuple(found) for found in asked}) > 10
    other = make_settings(quorum=1, sites=3, seed=1)
    assert asked != [chosen_sites(other, names, number) for number in range(40)]
    assert chosen_sites(make_settings(sites=20), names, 3) == names
    assert chosen_sites(make_settings(), names[::-1], 3) == names


def moments(seed: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    groups = {
        Group("mean", "connectivity", fold): Moments.of(
            rng.standard_normal((6, 2)), rng.standard_normal((6, 1))
        )
        for fold in range(5)
    }
    return moments_to_arrays(groups)


def judge(answer, nodes=3):
    names = {f"site-{node}": node for node in range(1, nodes + 1)}
    grid = FakeGrid(answer, list(names.values()))
    return evaluate(
        Sites(grid, names), make_settings(), 0, base(), BASIS, np.zeros((3, 2)), "federated"
    )


def test_an_evaluation_adds_up_what_is_usable():
    def answer(node, message, fault="silence"):
        if node == 2:
            return message_of(2, fault, message)
        told = {"drift": 30.0 * node} if node == 1 else {"drift": math.nan}
        told |= {"people_not_read": 1500} if node == 1 else {"people_not_read": -3}
        return replying(message, moments(seed=node), {"people": 30, **told})

    rows, drift, rejected, not_read = judge(answer)
    assert not_read == {"site-1": 1500}  # what cannot be a count is not known
    assert [(r.model, r.pool, r.outcome, r.features) for r in rows] == [
        ("federated", "mean", "connectivity", 2)
    ]
    assert math.isfinite(rows[0].r2) and drift == {"site-1": 30.0}
    assert list(rejected) == ["site-2"]
    for fault in ("nan", "error", "empty", "refusal"):
        found = judge(lambda node, m, fault=fault: answer(node, m, fault))
        assert found[:2] == (rows, drift) and list(found.rejected) == ["site-2"]


def test_sums_of_more_people_than_a_site_can_have_are_not_judged_by():
    """Six in each of five folds; a site that told of 20, rounded down, has fewer than 40."""
    names = {"site-1": 1, "site-2": 2, "site-3": 3}
    grid = FakeGrid(lambda node, m: replying(m, moments(seed=node), {"people": 30}), [1, 2, 3])
    counts = {"site-1": Counts(20, 20), "site-2": Counts(10, 10), "site-3": Counts(0, 0)}
    sites = Sites(grid, names, counts=counts)
    found = evaluate(sites, make_settings(), 0, base(), BASIS, np.zeros((3, 2)), "federated")
    assert found.rejected["site-2"] == (
        "expected the 10 people that the site told of when it joined (rounded down: fewer than "
        "twice as many), found 30; look at the site's version, or have it round less "
        "(policy.round_counts_to)"
    )
    assert list(found.rejected) == ["site-2", "site-3"] and found.rows


def test_an_evaluation_of_nobody_has_no_rows():
    rows, drift, rejected, not_read = judge(lambda node, m: None)
    assert rows == [] and drift == not_read == {} and len(rejected) == 3
    assert set(rejected.values()) == {"no usable reply: no reply before the deadline"}
