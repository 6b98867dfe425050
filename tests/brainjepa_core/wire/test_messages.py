"""Weights on the wire: fp32 to the last bit, differences in half the bytes or a quarter."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.testing import assert_allclose
from pydantic import ValidationError

from brainjepa_core.pretraining.settings import PretrainingSettings
from brainjepa_core.wire.messages import KINDS, WIRE_VERSION, Assignment, Reply, Request, told_round
from brainjepa_core.wire.quantising import BLOCK
from brainjepa_core.wire.weights import (
    decode_difference,
    encode_weights,
    left_over,
    travelling_bytes,
    travels_as,
)

SCALE = np.ones(2, np.float32)
FLOATS = st.floats(-(2.0**60), 2.0**60, width=32)
SHAPES = hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4)


@st.composite
def pairs(draw):
    """Weights and the global ones they are told apart from."""
    shape = draw(SHAPES)
    arrays = [draw(hnp.arrays(np.float32, shape, elements=FLOATS)) for _ in range(2)]
    return ({"a": np.asarray(arrays[0])}, {"a": np.asarray(arrays[1])})


def test_people_read_of_the_first_round_as_round_1():
    assert [told_round(index) for index in (0, 1, 9)] == [1, 2, 10]


@given(pairs())
def test_fp32_comes_back_to_the_last_bit(pair):
    weights, base = pair
    sent = encode_weights(weights, base, "fp32")
    assert sent["a"].dtype == np.float32 and sent["a"].flags.c_contiguous
    assert sent["a"].tobytes() == weights["a"].tobytes()
    difference = decode_difference("a", sent, base, "fp32")
    assert difference.dtype == np.float64
    back = base["a"].astype(np.float64) + difference
    exponents = np.abs(np.log2(np.abs(weights["a"]) + (weights["a"] == 0)))
    if (exponents < 20).all() and (np.abs(base["a"]) < 2.0**8).all():  # float64 holds both
        assert np.array_equal(back.astype(np.float32), weights["a"])


@given(pairs())
def test_bf16_halves_the_bytes_and_keeps_eight_bits(pair):
    weights, base = pair
    sent = encode_weights(weights, base, "bf16")
    assert sent["a"].dtype == np.uint16 and sent["a"].shape == weights["a"].shape
    assert 2 * sent["a"].nbytes == weights["a"].nbytes
    exact = weights["a"] - base["a"]
    found = decode_difference("a", sent, base, "bf16")
    assert found.dtype == np.float64
    assert (np.abs(found - exact) <= 2.0**-8 * np.abs(exact) + 2.0**-133).all()
    assert np.array_equal(
        encode_weights({"a": base["a"] + 0}, base, "bf16")["a"], np.zeros_like(sent["a"])
    )


def test_any_layout_may_be_sent():
    weights = {"a": np.arange(6, dtype="f4").reshape(2, 3).T}
    for wire in ("fp32", "bf16", "int8"):
        base = {"a": np.zeros((3, 2), "f4")}
        sent = encode_weights(weights, base, wire)
        assert_allclose(decode_difference("a", sent, base, wire), weights["a"], atol=5 / 254)


@given(pairs(), st.integers(1, 5))
def test_int8_keeps_what_it_drops_and_sends_it_later(pair, rounds):
    """Telescoping: what was sent and what is kept add up to the differences themselves."""
    weights, base = pair
    exact = rounds * (weights["a"].astype(np.float64) - base["a"])
    sent_in_all, kept = np.zeros_like(exact), None
    for _ in range(rounds):
        sent = encode_weights(weights, base, "int8", kept)
        kept = left_over(weights, base, sent, kept)
        sent_in_all += decode_difference("a", sent, base, "int8")
        half = np.repeat(sent["a/scales"], BLOCK)[: exact.size].reshape(exact.shape) / 2
        assert (np.abs(kept["a"]) <= half * (1 + 2.0**-20) + 2.0**-140).all()
    largest = np.abs(exact).max(initial=0)
    assert_allclose(sent_in_all + kept["a"], exact, rtol=0, atol=2.0**-29 * largest + 2.0**-145)
    assert sum(v.nbytes for v in sent.values()) == travelling_bytes(exact.shape, "int8")
    assert kept["a"].dtype == np.float32


def test_without_what_was_kept_int8_never_sends_small_differences():
    """The oracle's other side: the same rounds without error feedback do not add up."""
    base = {"a": np.zeros(2, "f4")}
    weights = {"a": np.array([1.0, 0.003], "f4")}  # less than half a code of the largest value
    plain, fed, kept = np.zeros(2), np.zeros(2), None
    for _ in range(100):
        plain += decode_difference("a", encode_weights(weights, base, "int8"), base, "int8")
        sent = encode_weights(weights, base, "int8", kept)
        fed += decode_difference("a", sent, base, "int8")
        kept = left_over(weights, base, sent, kept)
    assert plain[1] == 0
    assert_allclose(fed, [100, 0.3], rtol=0.02)


@pytest.mark.parametrize("wire", ["fp32", "bf16", "int8"])
def test_bytes_are_told_beforehand(wire):
    for shape in ((), (0,), (1,), (256,), (257,), (3, 500)):
        weights = {"a": np.ones(shape, "f4")}
        sent = encode_weights(weights, {"a": np.zeros(shape, "f4")}, wire)
        assert sum(v.nbytes for v in sent.values()) == travelling_bytes(shape, wire)
        assert {n: (v.dtype, v.shape) for n, v in sent.items()} == travels_as("a", shape, wire)


@pytest.mark.parametrize(
    ("name", "value", "wire", "text"),
    [
        ("b", np.zeros(2, "f4"), "fp32", "expected arrays of the model, found 'b'; check the"),
        ("b" * 300, np.zeros(2, "f4"), "fp32", "found '" + "b" * 80 + "'"),
        ("a", np.zeros(3, "f4"), "fp32", r"'a' as float32 of shape \[2\], found float32 of sh"),
        ("a", np.zeros((2, 1), "f4"), "fp32", r"found float32 of shape \[2, 1\]; check study"),
        ("a", np.zeros(2, "f8"), "fp32", "expected 'a' as float32 .* found float64"),
        ("a", np.zeros(2, "f4"), "bf16", "expected 'a' as uint16 .* found float32"),
        ("a", np.zeros(2, "u2"), "fp32", "expected 'a' as float32 .* found uint16"),
        ("a", np.zeros(2, "u1"), "int8", "expected 'a' as int8 .* found uint8"),
        ("a", np.zeros(2, "i1"), "int8", r"'a/scales' as float32 of shape \[1\], .* shape \[2\]"),
    ],
)
def test_what_does_not_fit_is_named(name, value, wire, text):
    with pytest.raises(ValueError, match=text):
        decode_difference(name, {name: value, "a/scales": SCALE}, {"a": np.zeros(2, "f4")}, wire)


def test_weights_the_coordinator_does_not_know_cannot_be_packed_as_differences():
    with pytest.raises(KeyError):
        encode_weights({"b": np.zeros(2, "f4")}, {}, "bf16")


def test_a_task_survives_its_json():
    task = Assignment(
        study_id="s",
        pretraining=PretrainingSettings(model={"depth": 1}),
        round=3,
        steps=2,
        wire="bf16",
    )
    assert Assignment.model_validate_json(task.model_dump_json()) == task
    assert task.version == WIRE_VERSION and task.model_dump()["pretraining"]["model"] == {
        "depth": 1
    }


@pytest.mark.parametrize(
    "wrong",
    [
        {"study_id": "../x"}, {"study_id": ""}, {"study_id": "x" * 65}, {"round": -1},
        {"wire": "fp16"}, {"target": "none"}, {"folds": 2}, {"proximal": -1}, {"steps": -1},
        {"unknown": 1}, {"weights": "people"},
    ],
)  # fmt: skip
def test_a_task_that_is_none_is_refused(wrong):
    with pytest.raises(ValidationError):
        Assignment(**{"study_id": "s", "pretraining": PretrainingSettings(), **wrong})


def test_a_reply_is_empty_unless_filled():
    assert Reply(refusal="no") == Reply({}, {}, "no")
    request = Request(KINDS[0], Assignment(study_id="s", pretraining=PretrainingSettings()))
    assert request.arrays == {} and KINDS == ("describe", "gradients", "train", "evaluate")
