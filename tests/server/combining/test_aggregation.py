"""The mean of sites: exact for one, the same in any order, and of constant memory."""

from __future__ import annotations

import itertools
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from brainjepa_server.combining.aggregation import WeightedMean, combiner
from brainjepa_server.combining.robust import Spooled
from brainjepa_server.combining.validation import Update
from brainjepa_server.settings import AggregationSettings

SHAPES = {"encoder.a": (40, 30), "encoder.b": (7,), "target_encoder.a": (40, 30)}


def make_base(seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {n: rng.standard_normal(s).astype(np.float32) for n, s in SHAPES.items()}


def make_update(arrays: dict[str, np.ndarray], weight: float = 1.0, wire="fp32") -> Update:
    return Update(arrays, wire, weight, 0.0, {})


def mean_of(base, updates):
    mean = WeightedMean(base)
    for update in updates:
        mean.add(update)
    return mean.result()


FLOATS = hnp.arrays(
    np.float32, (3, 2), elements=st.floats(width=32, allow_nan=False, allow_infinity=False)
)


@given(value=FLOATS, base=FLOATS, weight=st.floats(1e-9, 1e9) | st.integers(1, 10**9))
@settings(max_examples=200)
def test_a_site_that_is_alone_gives_back_its_weights_bit_for_bit(value, base, weight):
    mean = mean_of({"encoder.a": base}, [make_update({"encoder.a": value}, float(weight))])
    assert mean["encoder.a"].dtype == np.float64
    assert mean["encoder.a"].astype(np.float32).tobytes() == value.tobytes()


def test_a_weight_that_shrinks_a_lot_is_kept_where_a_difference_would_lose_it():
    base, value = np.array([0.5], np.float32), np.array([1.2345e-12], np.float32)
    difference = value.astype("f8") - base
    assert np.float32(base.astype("f8") + difference) != value
    mean = mean_of({"encoder.a": base}, [make_update({"encoder.a": value}, 3.0)])
    np.testing.assert_array_equal(mean["encoder.a"].astype("f4"), value)


def test_it_is_the_weighted_mean():
    base = make_base()
    sites = [(make_base(seed), weight) for seed, weight in ((1, 3.0), (2, 40.0), (3, 0.5))]
    mean = mean_of(base, [make_update(*site) for site in sites])
    for name in SHAPES:
        expected = np.average([s[name].astype("f8") for s, _ in sites], 0, [w for _, w in sites])
        np.testing.assert_allclose(mean[name], expected, rtol=1e-14, atol=1e-15)


def test_the_order_of_replies_does_not_show():
    base = make_base()
    rng = np.random.default_rng(5)
    sites = [
        ({n: v * np.float32(10.0 ** rng.integers(-3, 4)) for n, v in make_base(seed).items()}, w)
        for seed, w in enumerate(rng.uniform(0.1, 500, 5))
    ]
    naive, found = set(), set()
    for order in itertools.permutations(sites):
        mean = mean_of(base, [make_update(*site) for site in order])
        found.add(b"".join(mean[n].tobytes() for n in sorted(mean)))
        naive.add(sum(w * s["encoder.a"].astype("f8") for s, w in order).tobytes())
    assert len(found) == 1 < len(naive)


def test_it_is_the_exact_mean_rounded_once_where_sites_cancel():
    values = [1e16, 1.0, -1e16, 2.0, 3.5e-4]
    updates = [make_update({"encoder.a": np.array([v], "f4")}, 1.0) for v in values]
    exact = sum(Fraction(float(np.float32(v))) for v in values) / len(values)
    found = mean_of({"encoder.a": np.zeros(1, "f4")}, updates)["encoder.a"]
    assert found[0] == pytest.approx(float(exact), rel=1e-7)  # plain float64 gives 0.4


def test_bf16_differences_are_added_to_the_global_weights():
    base = make_base()
    one = {n: np.full(s, 0x3F80, np.uint16) for n, s in SHAPES.items()}  # 1.0
    mean = mean_of(base, [make_update(one, 2.0, "bf16"), make_update(one, 1.0, "bf16")])
    for name in SHAPES:
        np.testing.assert_allclose(mean[name], base[name].astype("f8") + 1, rtol=1e-15)


def test_memory_does_not_grow_with_the_number_of_sites():
    base = make_base()
    mean = WeightedMean(base)
    sizes = []
    for seed in range(6):
        mean.add(make_update(make_base(seed)))
        held = [*mean._sums.values(), *mean._lost.values()]
        sizes.append(sum(a.nbytes for a in held) / sum(a.size for a in base.values()))
    assert sizes == [12.0] * 6


def test_replies_are_left_as_they_were_and_the_sums_are_used_up():
    base, arrays = make_base(), make_base(1)
    before = {n: v.copy() for n, v in arrays.items()}
    mean = WeightedMean(base)
    mean.add(make_update(arrays, 7.0))
    mean.result()
    for name in SHAPES:
        np.testing.assert_array_equal(arrays[name], before[name])
        np.testing.assert_array_equal(base[name], make_base()[name])
    with pytest.raises(ValueError, match="expected at least one usable reply in a round, found n"):
        mean.result()


def test_the_study_names_the_combiner():
    base = make_base()
    assert isinstance(combiner(AggregationSettings(), base), WeightedMean)
    for name in ("median", "trimmed_mean"):
        assert isinstance(combiner(AggregationSettings(combine=name), base), Spooled)
