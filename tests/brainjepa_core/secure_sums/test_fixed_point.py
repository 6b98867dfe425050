from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from brainjepa_core.secure_sums.encoding.fixed_point import Counts, FixedPoint, OutOfRange
from brainjepa_core.secure_sums.encoding.people import decode_sums, encode_sums
from brainjepa_core.secure_sums.encoding.updates import SHARE, UpdateCode, l2_norm
from brainjepa_core.secure_sums.masks import CHUNK, KeyStream

DTYPES = (np.uint32, np.uint64)
WITHIN = st.floats(-1, 1, allow_nan=False)


def stream(number: int = 0) -> KeyStream:
    return KeyStream(number.to_bytes(32, "big"), 0)


@given(
    st.sampled_from(DTYPES),
    st.floats(1e-6, 1e6),
    st.lists(st.tuples(st.integers(1, 5), st.lists(WITHIN, min_size=3, max_size=3)), min_size=1),
)
def test_sums_are_exact_and_within_the_bound(dtype, reach, sites):
    """Against Python's integers, and against fractions of the numbers themselves."""
    points = FixedPoint(reach, sum(weight for weight, _ in sites), dtype)
    total, exact = np.zeros(3, dtype), [Fraction(0)] * 3
    integers = [0] * 3
    for number, (weight, values) in enumerate(sites):
        own = np.array(values) * reach
        encoded = points.encode(own, stream(number), weight=weight)
        total += encoded
        for at in range(3):
            signed = int(encoded.view(np.int32 if dtype == np.uint32 else np.int64)[at])
            integers[at] += signed
            exact[at] += weight * Fraction(float(own[at]))
    decoded = points.decode(total, points.weights)
    for at in range(3):
        assert decoded[at] == integers[at] * points.step
        error = abs(Fraction(float(decoded[at])) - exact[at])
        rounding = 3 * len(sites) * points.weights * reach * 2**-52
        assert error < len(sites) * points.step + rounding


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("sites", "most"), [(3, 1), (12, 1), (12, 100), (40, 5000), (1000, 1)])
def test_sums_never_wrap(dtype, sites, most):
    """All sites at the end of the reach, with all the weight there is."""
    points = FixedPoint(0.01, sites * most, dtype)
    for sign in (1, -1):
        one = points.encode(np.full(2, sign * 0.01), stream(), weight=most)
        total = np.zeros(2, dtype)
        for _ in range(sites):
            total += one
        np.testing.assert_allclose(points.decode(total, sites * most), sign * 0.01 * sites * most)
    bits = 8 * np.dtype(dtype).itemsize
    assert points.levels * sites * most < 2 ** (bits - 2)
    assert points.levels * sites * most > 2 ** (bits - 2) - 2 * sites * most


def test_equal_weights_of_twelve_sites_keep_26_bits():
    assert np.log2(FixedPoint(1.0, 12, np.uint32).levels) == pytest.approx(26.415, abs=1e-3)


def test_rounding_goes_up_and_down_so_that_the_mean_is_exact():
    points = FixedPoint(1.0, 3, np.uint32)
    size, quarter = 200_000, 1000.25 * points.step
    integers = points.encode(np.full(size, quarter), stream()).view(np.int32)
    assert set(integers.tolist()) == {1000, 1001}
    # Four standard errors of a coin that falls with probability 1/4.
    assert abs((integers == 1001).mean() - 0.25) < 4 * np.sqrt(0.25 * 0.75 / size)


def test_the_same_key_rounds_alike_and_another_one_does_not():
    points = FixedPoint(1.0, 3, np.uint32)
    values = np.random.default_rng(0).uniform(-1, 1, 1000).astype(np.float32)
    first, again, other = (points.encode(values, stream(n)) for n in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert 200 < (first != other).sum() < 800


def test_chunks_make_no_difference():
    points = FixedPoint(1.0, 3, np.uint32)
    values = np.random.default_rng(0).uniform(-1, 1, (3, CHUNK // 8)).astype(np.float32)
    whole = points.encode(values, stream())
    assert whole.shape == values.shape
    exact = values.astype(np.float64) * points.levels
    assert np.abs(whole.view(np.int32) - exact).max() < 1


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("clip", [True, False])
def test_what_is_not_finite_is_refused(wrong, clip):
    values = np.array([0.0, wrong, 0.5])
    with pytest.raises(ValueError, match=r"expected finite numbers .* found NaN or infinite ones"):
        FixedPoint(1.0, 3, np.uint32).encode(values, stream(), clip=clip)


def test_beyond_the_reach():
    points, values = FixedPoint(2.0, 3, np.uint32), np.array([-5.0, 1.0, 3.0])
    with pytest.raises(ValueError, match=r"expected numbers of at most 2 .* found up to 2.5 times"):
        points.encode(values, stream())
    clipped = points.encode(values, stream(), clip=True)
    np.testing.assert_allclose(points.decode(clipped, 1), [-2, 1, 2], atol=points.step)


def test_a_sum_that_sites_cannot_have_is_refused():
    points = FixedPoint(1.0, 12, np.uint32)
    for beyond in (12 * points.levels + 1, 2**31, 2**32 - 12 * points.levels - 1):
        with pytest.raises(OutOfRange, match="expected a sum that these sites can have"):
            points.decode(np.array([beyond], np.uint64).astype(np.uint32), 12)
    # Of nine sites less is possible than of twelve.
    with pytest.raises(OutOfRange):
        points.decode(np.array([9 * points.levels + 1], np.uint32), 9)


@pytest.mark.parametrize(
    ("reach", "weights", "text"),
    [
        (0.0, 3, "expected a reach above 0, found 0.0"),
        (np.nan, 3, "expected a reach above 0, found nan"),
        (1.0, 0, "expected a sum of weights from 1 to 1048576, found 0"),
        (1.0, 2**21, "expected a sum of weights from 1 to 1048576, found 2097152"),
    ],
)
def test_codes_that_cannot_be(reach, weights, text):
    with pytest.raises(ValueError, match=text):
        FixedPoint(reach, weights, np.uint32)


@given(st.lists(st.integers(0, 10**12), min_size=1, max_size=40))
def test_counts_are_exact(sites):
    counts = Counts(10**12, len(sites))
    total = np.zeros(1, np.uint64)
    for count in sites:
        total += counts.encode(np.array([count]))
    assert counts.decode(total, len(sites)).tolist() == [sum(sites)]


def test_counts_that_cannot_be():
    counts = Counts(10, 3)
    for array, text in (
        (np.array([1.0]), "expected counts as whole numbers, found float64"),
        (np.array([-1]), "expected counts from 0 to 10 .* found from -1 to -1"),
        (np.array([3, 11]), "expected counts from 0 to 10 .* found from 3 to 11"),
    ):
        with pytest.raises(ValueError, match=text):
            counts.encode(array)
    with pytest.raises(OutOfRange, match="a site sent what it must not; drop the round"):
        counts.decode(np.array([31], np.uint64), 3)
    with pytest.raises(ValueError, match="expected counts whose sum stays below 2"):
        Counts(2**61, 3)


def updates(sites: int) -> list[dict[str, np.ndarray]]:
    rng = np.random.default_rng(0)
    return [
        {
            "patch": rng.normal(0, 1e-3, (5, 7)).astype(np.float32),
            "bias": rng.normal(0, 1e-3, 7).astype(np.float32),
        }
        for _ in range(sites)
    ]


def test_the_mean_of_updates_is_the_one_by_shares():
    """The oracle: numpy's average in float64."""
    shares, made = [3, 1, 10, 7], updates(4)
    code = UpdateCode(norm=10, reach=0.01, sites=4, most=10)
    total = None
    for number, (share, update) in enumerate(zip(shares, made, strict=True)):
        vector = code.encode(update, share, number.to_bytes(32, "big"))
        assert {array.dtype for array in vector.values()} == {np.dtype(np.uint32)}
        total = vector if total is None else {name: total[name] + vector[name] for name in total}
    assert code.shares(total, alive=4) == 21
    for name in ("patch", "bias"):
        each = np.stack([update[name].astype(np.float64) for update in made])
        mean = code.mean(total[name], 21)
        assert np.abs(mean - np.average(each, axis=0, weights=shares)).max() < (
            4 * code.points.step / 21
        )


def test_a_long_update_is_shortened_to_the_norm():
    (update,) = updates(1)
    length = np.sqrt(sum(np.square(a, dtype=np.float64).sum() for a in update.values()))
    assert l2_norm(update) == pytest.approx(length, rel=1e-14)
    code = UpdateCode(norm=length / 4, reach=0.01, sites=3)
    vector = code.encode(update, 1, bytes(32))
    for name, array in update.items():
        np.testing.assert_allclose(
            code.points.decode(vector[name], 1), array / 4.0, atol=code.points.step
        )


def test_updates_that_cannot_be():
    code = UpdateCode(norm=1, reach=0.01, sites=4, most=10)
    (update,) = updates(1)
    for share in (0, 11):
        with pytest.raises(ValueError, match=f"expected a share from 1 to 10, found {share}"):
            code.encode(update, share, bytes(32))
    with pytest.raises(ValueError, match="expected no weights called 'share'"):
        code.encode({SHARE: update["bias"]}, 1, bytes(32))
    update["bias"][3] = np.nan
    with pytest.raises(ValueError, match="found NaN or infinite ones"):
        code.encode(update, 1, bytes(32))
    with pytest.raises(ValueError, match="expected a norm above 0 and shares from 1, found 0"):
        UpdateCode(norm=0, reach=0.01, sites=4)


def test_a_site_that_wraps_the_integers_spoils_the_round_visibly():
    code = UpdateCode(norm=1, reach=0.01, sites=4, most=10)
    total = code.encode(updates(1)[0], 1, bytes(32))
    with pytest.raises(OutOfRange, match="expected shares from 3 to 30 in all, found 1"):
        code.shares(total, alive=3)
    total["patch"] += np.uint32(2**30)
    with pytest.raises(OutOfRange, match="drop the round"):
        code.shares(total, alive=1)


def test_sums_over_people_come_back():
    rng, sites = np.random.default_rng(0), 5
    codes = {
        "z_sum": FixedPoint(9.0 * 500, sites, np.uint64),
        "pair_count": Counts(500, sites),
    }
    made = [
        {"z_sum": rng.normal(0, 40, 190), "pair_count": rng.integers(0, 500, 190)}
        for _ in range(sites)
    ]
    vectors = [encode_sums(sums, codes, bytes([n]) * 32) for n, sums in enumerate(made)]
    total = {name: sum(vector[name] for vector in vectors) for name in codes}
    found = decode_sums(total, codes, sites)
    exact = np.sum([sums["z_sum"] for sums in made], axis=0)
    np.testing.assert_allclose(found["z_sum"], exact, rtol=0, atol=1e-11)
    assert found["z_sum"].dtype == np.float64 and found["pair_count"].dtype == np.int64
    np.testing.assert_array_equal(
        found["pair_count"], np.sum([sums["pair_count"] for sums in made], axis=0)
    )


def test_sums_over_people_are_never_clipped():
    codes = {"z_sum": FixedPoint(10.0, 3, np.uint64)}
    with pytest.raises(ValueError, match="'z_sum': expected numbers of at most 10 for a secure"):
        encode_sums({"z_sum": np.array([10.5])}, codes, bytes(32))
    with pytest.raises(ValueError, match="expected a sum with the arrays z_sum; found z, z_sum"):
        encode_sums({"z_sum": np.zeros(1), "z": np.zeros(1)}, codes, bytes(32))
