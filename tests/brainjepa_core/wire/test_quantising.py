"""int8 codes: within half a scale of the numbers, block by block, whatever the numbers are."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from brainjepa_core.wire.quantising import BLOCK, LARGEST, dequantise, quantise, scales_of

FLOAT32_MAX = float(np.finfo(np.float32).max)
NUMBERS = st.floats(-FLOAT32_MAX, FLOAT32_MAX) | st.sampled_from(
    [0.0, -0.0, 1e-45, -1e-40, 2.0**-149, 1e-310, FLOAT32_MAX, -FLOAT32_MAX]
)
ARRAYS = hnp.arrays(
    np.float64, hnp.array_shapes(min_dims=0, max_dims=3, min_side=0), elements=NUMBERS
)


def naive(values: np.ndarray) -> tuple[list[int], list[np.float32]]:
    """Number by number."""
    flat = [float(value) for value in values.reshape(-1)]
    codes: list[int] = []
    scales: list[np.float32] = []
    for start in range(0, len(flat), BLOCK):
        block = flat[start : start + BLOCK]
        scale = np.float32(max(abs(value) for value in block) / LARGEST)
        scales.append(scale)
        for value in block:
            code = round(value / float(scale)) if scale else 0
            codes.append(max(-LARGEST, min(LARGEST, code)))
    return codes, scales


@given(ARRAYS)
@example(np.zeros(BLOCK + 1))
@example(np.full(3, 1e-45))
@example(np.r_[np.full(BLOCK, 1e-3), 3e38])  # one huge value spoils no block but its own
@example(np.array([FLOAT32_MAX, -FLOAT32_MAX, 1.0]))
@example(np.array([2.5, 3.5, 127.0]))  # halves go to the even code
def test_codes_are_those_of_a_loop(values):
    codes, scales = quantise(values)
    expected_codes, expected_scales = naive(values)
    assert codes.dtype == np.int8 and scales.dtype == np.float32
    assert codes.shape == values.shape and scales.shape == (scales_of(values.size),)
    assert codes.reshape(-1).tolist() == expected_codes
    assert scales.tolist() == [float(scale) for scale in expected_scales]
    back = dequantise(codes, scales)
    assert back.shape == values.shape and back.dtype == np.float64
    of_each = np.repeat(scales.astype(np.float64), BLOCK)[: values.size].reshape(values.shape)
    normal = of_each >= np.finfo(np.float32).tiny
    assert (np.abs(back - values)[normal] <= (of_each / 2 * (1 + 1e-5))[normal]).all()
    assert (np.abs(back - values)[~normal] <= 2.0**-126 * LARGEST).all()
    assert (np.sign(back) * np.sign(values) >= 0).all()


def test_a_huge_value_costs_its_own_block_alone():
    values = np.random.default_rng(0).standard_normal(4 * BLOCK)
    spoilt = values.copy()
    spoilt[BLOCK + 5] = 1e30
    exact, found = (dequantise(*quantise(v)) for v in (values, spoilt))
    others = np.r_[0:BLOCK, 2 * BLOCK : 4 * BLOCK]
    assert np.array_equal(exact[others], found[others])
    assert (found[BLOCK : BLOCK + 5] == 0).all()


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e39])
def test_what_is_no_float32_is_refused(bad):
    with pytest.raises(
        ValueError, match="expected finite float32 values to quantise, found NaN or"
    ):
        quantise(np.array([1.0, bad]))
