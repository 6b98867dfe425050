"""Weights on the wire: fp32 to the last bit, bf16 differences in half the bytes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from pydantic import ValidationError

from brainjepa_core.pretraining.settings import PretrainingSettings
from brainjepa_core.wire.messages import KINDS, WIRE_VERSION, Assignment, Reply, Request, told_round
from brainjepa_core.wire.weights import decode_difference, encode_weights

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
    difference = decode_difference("a", sent["a"], base, "fp32")
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
    found = decode_difference("a", sent["a"], base, "bf16")
    assert found.dtype == np.float64
    assert (np.abs(found - exact) <= 2.0**-8 * np.abs(exact) + 2.0**-133).all()
    assert np.array_equal(
        encode_weights({"a": base["a"] + 0}, base, "bf16")["a"], np.zeros_like(sent["a"])
    )


def test_any_layout_may_be_sent():
    weights = {"a": np.arange(6, dtype="f4").reshape(2, 3).T}
    for wire in ("fp32", "bf16"):
        base = {"a": np.zeros((3, 2), "f4")}
        sent = encode_weights(weights, base, wire)["a"]
        assert np.array_equal(decode_difference("a", sent, base, wire), weights["a"])


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
    ],
)
def test_what_does_not_fit_is_named(name, value, wire, text):
    with pytest.raises(ValueError, match=text):
        decode_difference(name, value, {"a": np.zeros(2, "f4")}, wire)


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
