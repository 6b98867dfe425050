"""Moments travel by pool, outcome and fold; whatever else comes is refused."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from brainjepa_core.sums.moments import Group, Moments, moments_from_arrays, moments_to_arrays


def example() -> dict[Group, Moments]:
    rng = np.random.default_rng(0)
    people = {Group("network_covariance", "age within site", 3): 6, Group("mean", "latents", 12): 0}
    return {
        group: Moments.of(rng.standard_normal((n, 4)), rng.standard_normal((n, 2)))
        for group, n in people.items()
    }


def test_arrays_and_back():
    arrays = moments_to_arrays(example())
    assert all(array.dtype == np.float64 for array in arrays.values())
    assert arrays["moments.network_covariance.3.n"] == 6
    back = moments_from_arrays(arrays)
    assert back.keys() == example().keys()
    for group, m in example().items():
        assert all(np.array_equal(getattr(back[group], f), getattr(m, f)) for f in Moments.ADDED)
        assert isinstance(back[group].n, int)
    assert moments_from_arrays({}) == {}


KEY, OWN = "moments.mean.12.", "moments.mean.12.latents."
WRONG = {
    "a name": ({"weights.mean": np.zeros(1)}, "found 'weights.mean'; check the versions"),
    "a fold": ({"moments.mean.x.n": np.zeros(())}, r"found 'moments\.mean\.x\.n'; check the"),
    "a field": (
        {f"{OWN}zz": np.zeros(())},
        "a set of moments with the arrays n, x_sum, xx, xy",
    ),
    "a shape": (
        {f"{KEY}xx": np.zeros((4, 3))},
        r"'xx' of 4 features as their upper triangle, 10 numbers, found shape \(4, 3\)",
    ),
    "a dtype": (
        {f"{OWN}yy": np.zeros(2, np.float32)},
        r"'yy' as float64 with .* found float32",
    ),
    "NaN": (
        {f"{OWN}xy": np.full((4, 2), np.nan)},
        "expected finite values in 'xy', found 8 of 8",
    ),
    "half a person": ({f"{KEY}n": np.array(0.5)}, "expected a number of people, found n = 0.5"),
    "fewer than nobody": ({f"{KEY}n": np.array(-1.0)}, "expected a number of people, found n ="),
    "a negative square": (
        {f"{OWN}yy": np.array([1.0, -1.0])},
        "sums of products, found some that",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_arrays(name):
    change, text = WRONG[name]
    with pytest.raises(ValueError, match=text):
        moments_from_arrays({**moments_to_arrays(example()), **change})


def test_what_outcomes_share_is_there_once_and_half_of_the_products():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((9, 5))
    moments = {
        Group("mean", outcome, 0): Moments.of(x, rng.standard_normal((9, q)))
        for outcome, q in (("connectivity", 3), ("latents", 2))
    }
    arrays = moments_to_arrays(moments)
    assert sum(name.endswith(".xx") for name in arrays) == 1
    assert arrays["moments.mean.0.xx"].shape == (15,)
    for group, m in moments_from_arrays(arrays).items():
        assert np.array_equal(m.xx, moments[group].xx)


def test_a_missing_field():
    arrays = moments_to_arrays(example())
    del arrays[f"{OWN}xy"]
    with pytest.raises(ValueError, match="found n, x_sum, xx, y_sum, yy; was it written by"):
        moments_from_arrays(arrays)


@given(st.text(max_size=40), st.sampled_from(["", ".", "..", "moments.a.1.b."]))
def test_any_name_is_read_or_refused(text, prefix):
    try:
        moments_from_arrays({prefix + text: np.zeros(())})
    except ValueError as error:
        assert str(error).startswith("expected")
    else:
        pytest.fail("one array is never a whole set of moments")
