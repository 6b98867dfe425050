"""What a site sends is garbage until shown otherwise, and garbage has one exception."""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_replies import BASE, ROLES, SHAPES, STEPS, make_reply

from brainjepa_core.wire.messages import Reply
from brainjepa_core.wire.weights import encode_weights
from brainjepa_server.combining.validation import RejectedReply, check_reply, safe
from brainjepa_server.settings import AggregationSettings


def check(reply, agreed: AggregationSettings | None = None):
    return check_reply(reply, BASE, agreed or AggregationSettings(), ROLES, STEPS)


@pytest.mark.parametrize("target", ["average", "line", "local"])
@pytest.mark.parametrize("wire", ["fp32", "bf16", "int8"])
def test_a_good_reply_passes_with_its_values(wire, target):
    agreed = AggregationSettings(wire=wire, target=target)
    reply = make_reply(agreed)
    update = check(reply, agreed)
    values = dict(update.values(BASE))
    assert list(values) == ROLES.sent(BASE, target == "average") == sorted(values)
    assert any(name.startswith("target_encoder.") for name in values) == (target == "average")
    sent = dict(check(make_reply()).values(BASE))
    for name, value in values.items():
        if wire == "fp32":
            assert value is reply.arrays[name]  # no copy, no rounding
        elif target == "average":  # the same draws as in `sent`
            np.testing.assert_allclose(value, sent[name], atol=0.05 / 127)
    assert update.share == 20 and update.metrics["loss"] == 0.5
    square = sum(((values[n] - BASE[n].astype("f8")) ** 2).sum() for n in values)
    size = sum((BASE[n].astype("f8") ** 2).sum() for n in values)
    assert update.norm == pytest.approx(np.sqrt(square / size), rel=1e-6)


def test_figures_for_the_log_are_kept_by_name_if_finite():
    metrics = {"loss_last": float("nan"), "rank_tokens": "7", "seconds": 10**400, "people": 9}
    kept = check(make_reply(metrics=metrics)).metrics
    assert kept == {"share": 20.0, "loss": 0.5, "rank_people": 3.0}


A = "encoder.a.weight"
WRONG = [
    ({"metrics": {"share": 0.0}}, "share as a finite number from 1e-09 to 1e+09, found 0"),
    ({"metrics": {"share": -1.0}}, "share as a finite number from 1e-09 to 1e+09, found -1"),
    ({"metrics": {"share": float("nan")}}, "to 1e+09, found nan; check the site's version"),
    ({"metrics": {"share": float("inf")}}, "to 1e+09, found inf"),
    ({"metrics": {"share": 1.1e9}}, "to 1e+09, found 1.1e+09"),
    ({"metrics": {"share": 10**400}}, "to 1e+09, found one out of range"),
    ({"metrics": {"share": True}}, "share as a finite number from 1e-09 to 1e+09, found a"),
    ({"metrics": {"share": "20"}}, "share as a finite number from 1e-09 to 1e+09, found a"),
    ({"metrics": {"share": None}}, "share as a finite number from 1e-09 to 1e+09, found no"),
    ({"metrics": {"loss": float("-inf")}}, "loss as a finite number from 0 to 1e+06, found -inf"),
    ({"metrics": {"loss": 10**400}}, "loss as a finite number from 0 to 1e+06, found one out of"),
    ({"metrics": {"loss": -9e18}}, "loss as a finite number from 0 to 1e+06, found -9e+18; check"),
    ({"metrics": {"loss": 1e308}}, "loss as a finite number from 0 to 1e+06, found 1e+308; check"),
    ({"metrics": {"steps": 5.0}}, "expected steps as an integer from 0 to 1e+09, found a float"),
    ({"metrics": {"steps": 4}}, "expected 5 steps, found 4; check the site's version"),
    ({"arrays": {"encoder.x": BASE[A]}}, "expected 5 arrays, found 0 of them missing and 1 unk"),
    ({"arrays": {"basis": BASE["basis"]}}, "and 1 unknown (basis); check study and versions"),
    ({"arrays": {A: BASE[A].T}}, f"expected '{A}' as float32 of shape [4, 3], found float32 of"),
    ({"arrays": {A: BASE[A].astype("f8")}}, "found float64 of shape [4, 3]; check study"),
    ({"arrays": {A: BASE[A].astype(object)}}, "found object of shape [4, 3]"),
    ({"arrays": {A: BASE[A].astype(">f4")}}, "found float32 of shape [4, 3]"),
    ({"arrays": {A: BASE[A].tolist()}}, "expected an array, found a list: encoder.a.weight"),
    ({"arrays": {A: np.ma.array(BASE[A])}}, "expected an array, found a MaskedArray"),
    ({"arrays": {A: BASE[A] * np.float32("nan")}}, f"in '{A}', found 12 of 12 NaN or infinite; lo"),
    ({"arrays": {A: np.float32(100) + BASE[A]}}, "(10 times the global weights'), found "),
    ({"arrays": {A: np.full((4, 3), 3e38, "f4")}}, "expected a difference of norm at most"),
    ({"refusal": "my policy says no"}, "no usable reply: my policy says no"),
]  # fmt: skip


@pytest.mark.parametrize(("changes", "text"), WRONG)
def test_what_does_not_fit_is_rejected_with_what_was_expected_and_found(changes, text):
    with pytest.raises(RejectedReply, match=re.escape(text)) as caught:
        check(make_reply(**changes))
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize("wire", ["fp32", "bf16", "int8"])
def test_a_difference_is_no_longer_than_any_training_makes_it(wire):
    agreed = AggregationSettings(wire=wire)
    trained = ROLES.sent(BASE, True)
    for factor, kept in ((9.9, True), (10.1, False)):
        scaled = {name: np.asarray((1 + factor) * BASE[name], np.float32) for name in trained}
        reply = make_reply(agreed, arrays=encode_weights(scaled, BASE, wire))
        if kept:
            assert check(reply, agreed).norm == pytest.approx(factor, rel=0.01)
        else:
            with pytest.raises(RejectedReply, match=r"\(10 times the global weights'\), found"):
                check(reply, agreed)


@pytest.mark.parametrize("wire", ["fp32", "bf16"])
def test_a_clipped_update_is_a_part_of_its_difference(wire):
    agreed = AggregationSettings(wire=wire)
    update = check(make_reply(agreed), agreed)
    whole = dict(update.values(BASE))
    for name, value in replace(update, scale=0.25).values(BASE):
        expected = BASE[name] + 0.25 * (whole[name].astype("f8") - BASE[name])
        np.testing.assert_allclose(value, expected, rtol=1e-15)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("loss_last", -1.0),
        ("loss_last", 1e7),
        ("seconds", -1.0),
        ("rank_people", 1e9),
        ("rank_tokens", -0.1),
        ("position_share", 1.5),
        ("position_share", -1.5),
        ("spread_people", 1e30),
        ("spread_positions", -1e-3),
    ],
)
def test_a_figure_that_cannot_be_is_not_kept(name, value):
    assert name not in check(make_reply(metrics={name: value})).metrics


def test_missing_arrays_are_named():
    reply = make_reply()
    del reply.arrays["predictor.c"]
    with pytest.raises(RejectedReply, match=r"expected 5 arrays, found 1 of them missing \(predic"):
        check(reply)
    with pytest.raises(RejectedReply, match="expected 3 arrays, found 0 of them missing and 2 unk"):
        check(make_reply(), AggregationSettings(target="line"))


def test_bf16_differences_that_are_not_finite_are_rejected():
    agreed = AggregationSettings(wire="bf16")
    broken = make_reply(agreed, arrays={A: np.full((4, 3), 0x7F80, np.uint16)})  # infinity
    with pytest.raises(RejectedReply, match="found 12 of 12 NaN or infinite"):
        check(broken, agreed)
    with pytest.raises(RejectedReply, match=f"expected '{A}' as uint16 of shape"):
        check(make_reply(), agreed)


@pytest.mark.parametrize(
    ("arrays", "text"),
    [
        ({f"{A}/scales": np.float32([np.nan])}, f"in '{A}/scales', found 1 of 1 NaN or infinite"),
        ({f"{A}/scales": np.float32([np.inf])}, f"in '{A}/scales', found 1 of 1 NaN or infinite"),
        ({f"{A}/scales": np.float32([1, 1])}, f"'{A}/scales' as float32 of shape [1], found fl"),
        ({f"{A}/scales": np.float64([1])}, f"expected '{A}/scales' as float32 of shape [1], found"),
        ({A: np.zeros((4, 3), np.uint8)}, f"expected '{A}' as int8 of shape [4, 3], found uint8"),
        ({A: np.full((4, 3), -128, np.int8), f"{A}/scales": np.float32([3e38])},
         "expected a difference of norm at most"),
        ({"basis/scales": np.float32([1])}, "expected 10 arrays, found 0 of them missing and 1 un"),
    ],
)  # fmt: skip
def test_int8_codes_and_scales_that_do_not_fit_are_rejected(arrays, text):
    agreed = AggregationSettings(wire="int8")
    with pytest.raises(RejectedReply, match=re.escape(text)):
        check(make_reply(agreed, arrays=arrays), agreed)


def test_codes_without_scales_are_rejected():
    agreed = AggregationSettings(wire="int8")
    reply = make_reply(agreed)
    del reply.arrays["encoder.b/scales"]
    with pytest.raises(RejectedReply, match=r"found 1 of them missing \(encoder.b/scales\) and 0"):
        check(reply, agreed)


def test_where_sites_count_the_same_none_counts_more():
    agreed = AggregationSettings(shares="equal")
    with pytest.raises(RejectedReply, match="expected share 1 where all sites count the same, fo"):
        check(make_reply(), agreed)
    assert check(make_reply(metrics={"share": 1.0}), agreed).share == 1


def test_a_sites_own_text_is_cut_and_harmless():
    hostile = "\x1b[31m<script>\n/data/sub-01" + "y" * 10_000
    for reply in (
        make_reply(refusal=hostile),
        make_reply(arrays={hostile: BASE[A]}),
        make_reply(arrays={A: np.zeros((4, 3), np.dtype([(hostile, "f4")]))}),
    ):
        with pytest.raises(RejectedReply) as caught:
            check(reply)
        assert len(str(caught.value)) < 300 and not re.search(r"[\x1b\n<>]", str(caught.value))
    assert len(safe(hostile)) == 80 and safe(7) == "a int"


KEYS = st.sampled_from([*SHAPES, "", "encoder.", "moments.x"]) | st.text(max_size=5)
DTYPES = st.sampled_from(["f4", "f8", "f2", "i8", "u2", "?", "O", "U3", "S2", "c8", "M8[s]", ">f4"])
VALUES = st.sampled_from([0.0, 1.0, np.nan, np.inf, -np.inf, 3e38, 1e-45])


@st.composite
def odd_arrays(draw):
    name = draw(st.sampled_from(sorted(SHAPES)))
    shape = draw(st.sampled_from([SHAPES[name], (), (0,), (12,), (1, 4, 3), (3, 4)]))
    with np.errstate(all="ignore"):
        return np.full(shape, draw(VALUES)).astype("f4").astype(draw(DTYPES), copy=False)


JUNK = st.one_of(
    st.none(), st.booleans(), st.integers(), st.just(10**400), st.floats(), st.text(max_size=9),
    st.binary(max_size=9), odd_arrays(), st.lists(st.integers(), max_size=2), st.just(object()),
    st.dictionaries(st.text(max_size=2), st.integers(), max_size=2),
)  # fmt: skip
METRICS = st.dictionaries(
    st.sampled_from(["share", "loss", "steps", "loss_last", "seconds"]) | st.text(max_size=3), JUNK
)
ANY_KEY = KEYS | st.integers() | st.none()


@settings(max_examples=400)
@given(
    metrics=METRICS | JUNK | st.dictionaries(ANY_KEY, JUNK, max_size=2),
    arrays=st.dictionaries(ANY_KEY, odd_arrays() | JUNK, max_size=6) | JUNK,
    refusal=st.just("") | JUNK,
    wire=st.sampled_from(["fp32", "bf16", "int8"]),
)
def test_no_garbage_raises_anything_else(metrics, arrays, refusal, wire):
    with pytest.raises(RejectedReply):
        check(Reply(metrics, arrays, refusal), AggregationSettings(wire=wire))


@settings(max_examples=300)
@given(data=st.data(), wire=st.sampled_from(["fp32", "bf16", "int8"]))
def test_one_thing_spoilt_in_a_good_reply_raises_nothing_else(data, wire):
    agreed = AggregationSettings(wire=wire)
    reply = make_reply(agreed)
    if data.draw(st.booleans()):
        reply.metrics[data.draw(st.sampled_from(sorted(reply.metrics)))] = data.draw(JUNK)
    else:
        reply.arrays[data.draw(st.sampled_from(sorted(reply.arrays)))] = data.draw(
            odd_arrays() | JUNK | st.builds(np.float32, st.lists(VALUES, max_size=2))
        )
    try:
        update = check(reply, agreed)
    except RejectedReply:
        return
    assert 0 < update.share <= 1e9 and update.norm <= 10
    assert all(np.isfinite(v) for v in update.metrics.values())
    assert all(np.isfinite(value).all() for _, value in update.values(BASE))


@pytest.mark.parametrize("junk", [None, 7, "reply", [], {}, object(), np.zeros(3)])
def test_what_is_no_reply_is_rejected(junk):
    with pytest.raises(RejectedReply, match="expected a reply, found a "):
        check(junk)


def test_a_private_reply_is_weights_and_steps_and_counts_by_what_its_site_told():
    reply = make_reply()
    bare = Reply({"steps": STEPS}, reply.arrays)
    update = check_reply(bare, BASE, AggregationSettings(), ROLES, STEPS, 40.0)
    assert update.share == 40.0 and update.metrics == {"share": 40.0}
    more = check_reply(reply, BASE, AggregationSettings(), ROLES, STEPS, 40.0)
    assert more.metrics == {"share": 40.0}  # a loss that a site sends all the same is not kept
    with pytest.raises(RejectedReply, match="expected share as a finite number"):
        check(bare)
    with pytest.raises(RejectedReply, match=r"expected \d+ steps, found 99"):
        check_reply(
            Reply({"steps": 99}, reply.arrays), BASE, AggregationSettings(), ROLES, STEPS, 1
        )


@given(st.dictionaries(st.text(max_size=8), st.one_of(st.floats(), st.text(max_size=5))))
def test_whatever_numbers_a_private_reply_has_one_exception_comes_out(metrics):
    reply = Reply(metrics, make_reply().arrays)
    with suppress(RejectedReply):
        update = check_reply(reply, BASE, AggregationSettings(), ROLES, STEPS, 1.0)
        assert update.metrics == {"share": 1.0}
