"""Every kind of sum adds up, travels, keeps small groups back and refuses garbage alike."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Callable, Iterator
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import brainjepa_core.sums
from brainjepa_core.sums.connectivity import ConnectivitySum
from brainjepa_core.sums.coskewness import CoskewnessSum
from brainjepa_core.sums.histogram import BINS, ScoreHistogram
from brainjepa_core.sums.logistic import LogisticSums
from brainjepa_core.sums.moments import Moments
from brainjepa_core.sums.protocol import (
    MOST_COUNTED,
    MOST_PEOPLE,
    SumOverPeople,
    stacked,
    total,
    unstacked,
)

ROIS, P, Q = ("a", "b", "c", "d"), 3, 2
SEEDS = st.integers(0, 2**32 - 1)
PEOPLE = st.integers(0, 12)


def connectivity(rng: np.random.Generator, people: int) -> ConnectivitySum:
    made = ConnectivitySum(ROIS)
    for _ in range(people):
        made.add_scan(rng.standard_normal((len(ROIS), 9)), np.arange(len(ROIS)) == rng.integers(6))
    return made


def moments(rng: np.random.Generator, people: int) -> Moments:
    return Moments.of(5 + rng.standard_normal((people, P)), rng.standard_normal((people, Q)))


def logistic(rng: np.random.Generator, people: int) -> LogisticSums:
    labels = rng.integers(0, 2, people)
    return LogisticSums.of(rng.standard_normal((people, P)), labels, rng.standard_normal(P + 1))


def histogram(rng: np.random.Generator, people: int) -> ScoreHistogram:
    return ScoreHistogram.of(rng.integers(0, 2, people), rng.standard_normal(people), 1)


def coskewness(rng: np.random.Generator, people: int) -> CoskewnessSum:
    made = CoskewnessSum(ROIS)
    for _ in range(people):
        made.add_subject(
            [rng.standard_normal((len(ROIS), 9))], np.arange(len(ROIS)) != rng.integers(6)
        )
    return made


TOTALS = ("subjects",)  # which a site tells anyway
Make = Callable[[np.random.Generator, int], SumOverPeople]
KINDS: dict[type[SumOverPeople], Make] = {
    ConnectivitySum: connectivity,
    Moments: moments,
    LogisticSums: logistic,
    ScoreHistogram: histogram,
    CoskewnessSum: coskewness,
}
every_kind = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)


def test_there_is_no_kind_of_sum_that_is_not_tested_here():
    for module in pkgutil.iter_modules(brainjepa_core.sums.__path__):
        importlib.import_module(f"brainjepa_core.sums.{module.name}")
    assert {kind for kind in below(SumOverPeople) if not inspect.isabstract(kind)} == set(KINDS)


def below(kind: type[SumOverPeople]) -> Iterator[type[SumOverPeople]]:
    for one in kind.__subclasses__():
        yield from (one, *below(one))


def same(a: SumOverPeople, b: SumOverPeople) -> bool:
    """To the bit, dtypes and zeros' signs too."""
    one, other = a.to_arrays(), b.to_arrays()
    return list(one) == list(other) and all(
        one[name].dtype == other[name].dtype
        and one[name].shape == other[name].shape
        and one[name].tobytes() == other[name].tobytes()
        for name in one
    )


def close(a: SumOverPeople, b: SumOverPeople) -> None:
    for name in a.ADDED:
        one, other = getattr(a, name), getattr(b, name)
        np.testing.assert_allclose(one, other, rtol=1e-12, atol=1e-10, err_msg=name)


@every_kind
@settings(max_examples=25, deadline=None)
@given(seed=SEEDS, people=st.tuples(PEOPLE, PEOPLE, PEOPLE))
def test_sums_add_up_in_any_order_and_are_not_changed(kind, seed, people):
    rng = np.random.default_rng(seed)
    a, b, c = (KINDS[kind](rng, n) for n in people)
    before = [one.to_arrays() for one in (a, b, c)]
    assert (a + b).people == a.people + b.people == people[0] + people[1]
    assert same(a + b, b + a)
    close((a + b) + c, a + (b + c))
    assert same(total([a, b, c]), (a + b) + c) and total([a]) is a
    nobody = a.of_nobody()
    assert nobody.people == 0
    close(a + nobody, a)
    for one, arrays in zip((a, b, c), before, strict=True):
        assert all(np.array_equal(one.to_arrays()[name], arrays[name]) for name in arrays)


@every_kind
@settings(max_examples=25, deadline=None)
@given(seed=SEEDS, people=PEOPLE, fewest=st.integers(1, 14))
def test_what_travels_comes_back_to_the_bit(tmp_path_factory, kind, seed, people, fewest):
    made = KINDS[kind](np.random.default_rng(seed), people)
    for one in (made, made.told(fewest), made.of_nobody(), made + made):
        arrays = one.to_arrays()
        assert tuple(arrays) == (*kind.SHARED, *kind.ADDED)
        back = kind.from_arrays(arrays)
        assert same(back, one) and type(back) is kind and back.people == one.people
        for array in arrays.values():  # copies on both ways
            array[...] = 0 if array.dtype.kind in "fi" else ""
        assert same(back, one)
    path = tmp_path_factory.getbasetemp() / f"{kind.__name__}.npz"
    made.save(path)
    assert same(kind.load(path), made)


@every_kind
@settings(max_examples=40, deadline=None)
@given(seed=SEEDS, people=PEOPLE, fewest=st.integers(1, 14))
def test_nothing_that_too_few_are_behind_is_told(kind, seed, people, fewest):
    made = KINDS[kind](np.random.default_rng(seed), people)
    told = made.told(fewest)
    values = {name: getattr(told, name) for name in kind.ADDED if name not in TOTALS}
    assert told.people in (0, made.people) or kind is ScoreHistogram
    if people < fewest:
        assert not made.enough(fewest) and not any(np.any(value) for value in values.values())
    assert same(told.told(fewest), told)  # told once is told
    for value in map(np.asarray, values.values()):
        assert value.dtype != np.int64 or not ((value > 0) & (value < fewest)).any()


def test_pairs_that_few_show_and_fits_that_few_carry_are_kept_back():
    rng = np.random.default_rng(0)
    made = connectivity(rng, 5)
    made.add_scan(rng.standard_normal((4, 9)), [False, False, True, True])
    counts = made.pair_count
    fewest = int(counts.max())
    told = made.told(fewest)
    assert (counts < fewest).any()
    assert (told.pair_count == np.where(counts < fewest, 0, counts)).all()
    assert ((told.z_sum == made.z_sum) == (counts == fewest)).all()
    assert told.people == 6 and made.pair_count is counts
    sure = LogisticSums.of(np.arange(9.0)[:, None], np.zeros(9), np.array([1e3, -7.5e3]))
    assert sure.people == 9 and not sure.enough(2) and sure.told(2).people == 0


@every_kind
def test_another_kind_and_another_size_are_not_added(kind):
    rng = np.random.default_rng(0)
    made = KINDS[kind](rng, 4)
    for other, make in KINDS.items():
        if other is not kind:
            with pytest.raises(ValueError, match=f"found a {kind.NAME} and a {other.__name__}"):
                made + make(rng, 4)
    with pytest.raises(ValueError, match=f"found a {kind.NAME} and a int; add each kind to"):
        made + 1
    with pytest.raises(ValueError, match="expected at least one sum, found none; ask a site"):
        total([])


def test_sizes_that_differ_are_named():
    one, narrow = (Moments.of(np.ones((4, p)), np.ones((4, 1))) for p in (3, 1))
    text = r"'x_sum' of a set of moments with shape \(3,\), found \(1,\); give all sites one atlas"
    with pytest.raises(ValueError, match=text):
        one + narrow
    with pytest.raises(ValueError, match="expected the same 4 ROIs, found 2 with missing: c, d"):
        ConnectivitySum(ROIS) + ConnectivitySum(ROIS[:2])


@every_kind
@given(seed=SEEDS, people=st.lists(PEOPLE, min_size=1, max_size=4))
@settings(max_examples=15, deadline=None)
def test_several_travel_in_one_stack(kind, seed, people):
    rng = np.random.default_rng(seed)
    sums = [KINDS[kind](rng, n) for n in people]
    arrays = stacked(sums, "probe.mean.")
    assert all(len(array) == len(sums) for array in arrays.values())
    found = unstacked(kind, arrays | {"else": np.zeros(1)}, len(sums), "probe.mean.")
    assert all(same(a, b) for a, b in zip(found, sums, strict=True)) and len(found) == len(sums)
    with pytest.raises(ValueError, match=f"expected {len(sums) + 1} of a {kind.NAME} in an array"):
        unstacked(kind, arrays, len(sums) + 1, "probe.mean.")


@every_kind
def test_what_no_sum_can_hold_is_refused(kind):
    made = KINDS[kind](np.random.default_rng(0), 9)
    arrays = made.to_arrays()
    for name, dtype in kind.ADDED.items():
        array = arrays[name]
        wrong = {
            "with shape": array[None],
            f"as {np.dtype(dtype).name} with shape": array.astype(np.float32),
            f"expected finite values in '{name}'": np.full_like(array, np.nan, np.float64),
            f"values of at most .* in '{name}'": np.full_like(array, 1e101, np.float64),
        }
        if dtype is np.int64:
            del wrong[f"expected finite values in '{name}'"]
            del wrong[f"values of at most .* in '{name}'"]
            wrong[f"values of at most 1e.12 in '{name}'"] = np.full_like(array, MOST_COUNTED + 1)
            wrong[f"expected counts in '{name}', found the negative"] = array - MOST_COUNTED
        for text, value in wrong.items():
            with pytest.raises(ValueError, match=text):
                kind.from_arrays(arrays | {name: value})
    with pytest.raises(ValueError, match=f"expected a {kind.NAME} with the arrays .*another"):
        kind.from_arrays(arrays | {"a person": np.zeros(1)})
    for name in arrays:
        with pytest.raises(ValueError, match=f"expected a {kind.NAME} with the arrays"):
            kind.from_arrays({key: arrays[key] for key in arrays if key != name})


@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        (Moments, {"n": np.array(MOST_PEOPLE + 1.0)}),
        (LogisticSums, {"people": np.array(MOST_PEOPLE + 1)}),
        (ScoreHistogram, {"histogram": np.full((2, BINS), MOST_PEOPLE // BINS)}),
        (ConnectivitySum, {"subjects": np.array(MOST_PEOPLE + 1)}),
    ],
)
def test_no_cohort_is_as_large(kind, changes):
    arrays = KINDS[kind](np.random.default_rng(0), 9).to_arrays()
    with pytest.raises(ValueError, match=rf"{kind.NAME} over at most 1e\+09 people, found more"):
        kind.from_arrays(arrays | {name: np.asarray(value) for name, value in changes.items()})


GARBAGE = st.sampled_from([
    np.zeros(0), np.zeros((0, 3)), np.array(1.0), np.array(-1.0), np.array(2.5), np.array(1e308),
    np.array(np.nan), np.array(7), np.array(-(2**63)), np.array(2**62), np.array("n"),
    np.array(["x"]), np.array(None), np.array([{}], object), np.full((3, 3), 1e308),
    np.full((2, BINS), 2**62),
    np.array([("x", 1)], [("sub-01", "U3"), ("age", "i8")]), np.ones((2, 2, 2)), np.array(1 + 2j),
    np.array(True), np.array(b"x"), np.array("2020", "M8[Y]"), np.ones(3, ">f8"), np.eye(4),
])  # fmt: skip


@every_kind
@settings(max_examples=150, deadline=None)
@given(seed=SEEDS, data=st.data())
@pytest.mark.filterwarnings("error")
def test_no_garbage_raises_anything_else(kind, seed, data):
    arrays = KINDS[kind](np.random.default_rng(seed), 5).to_arrays()
    for name in data.draw(st.sets(st.sampled_from(sorted(arrays)), min_size=1)):
        scale = st.sampled_from([-1, 0, 1e-9, 1 + 1e-3, 2, 1e99])
        own = arrays[name]
        if own.dtype.kind == "f" and data.draw(st.booleans()):
            arrays[name] = own * data.draw(scale)
        else:
            arrays[name] = data.draw(GARBAGE)
    try:
        found = kind.from_arrays(arrays)
    except ValueError as error:
        assert str(error).startswith("expected") and "sub-01" not in str(error)
        return
    assert same(kind.from_arrays(found.to_arrays()), found)
    for one, two in pairwise([found, found + found, found + found.of_nobody()]):
        assert np.isfinite([np.sum(getattr(s, n)) for s in (one, two) for n in kind.ADDED]).all()
