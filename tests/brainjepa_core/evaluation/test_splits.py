"""Folds by id: independent of the others, even, and the same in every language that has SHA-256."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from brainjepa_core.atlas import Atlas
from brainjepa_core.evaluation.splits import fold_of, folds_of, folds_of_windows
from brainjepa_core.signals.storing.store import ScanStore
from brainjepa_core.signals.window_settings import WindowSettings
from brainjepa_core.signals.windows import Windows

names = st.text(min_size=1, max_size=20)
seeds, counts = st.integers(0, 2**31), st.integers(2, 20)


@given(names, seeds, counts)
def test_by_hand(name, seed, folds):
    digest = hashlib.sha256(f"{seed}:{name}".encode()).digest()
    number = 0
    for byte in digest:
        number = (number * 256 + byte) % folds
    assert fold_of(name, seed, folds) == number


def test_known_values():
    assert [fold_of(f"sub-{i}", 0, 5) for i in range(8)] == [3, 1, 4, 0, 4, 3, 1, 2]


@given(st.lists(names, unique=True, max_size=12), seeds, counts, st.randoms())
def test_a_person_s_fold_does_not_depend_on_the_others(people, seed, folds, random):
    together = dict(zip(people, folds_of(people, seed, folds).tolist(), strict=True))
    shuffled = random.sample(people, len(people))
    some = shuffled[: len(people) // 2]
    assert folds_of(some, seed, folds).tolist() == [together[p] for p in some]
    assert all(0 <= fold < folds for fold in together.values())


@given(seeds)
def test_folds_are_even(seed):
    found = np.bincount(folds_of([f"sub-{i:04d}" for i in range(2000)], seed, 5), minlength=5)
    assert (abs(found - 400) < 100).all()  # 5.6 standard deviations


def test_another_seed_is_another_split():
    people = [f"sub-{i}" for i in range(200)]
    agree = np.mean(folds_of(people, 0, 5) == folds_of(people, 1, 5))
    assert 0.1 < agree < 0.3


@pytest.mark.parametrize("folds", [1, 0, -5])
def test_too_few_folds(folds):
    with pytest.raises(ValueError, match=f"expected at least 2 folds, found {folds}; use 5"):
        fold_of("a", 0, folds)


def test_folds_of_windows_follow_their_people(tmp_path):
    store = ScanStore.create(tmp_path / "site", Atlas.from_names(["a", "b"]))
    rng = np.random.default_rng(0)
    for person in (5, 3, 9, 0, 3):  # in any order, one of them twice
        run = str(len(store.records))
        store.append(rng.standard_normal((2, 20)), subject=f"p{person}", run=run, tr=2.0)
    windows = Windows([store], WindowSettings(frames=10))
    expected = [fold_of(f"p{i}", 7, 5) for i in (0, 3, 5, 9)]
    assert folds_of_windows(windows, 7, 5).tolist() == expected
    assert folds_of_windows(windows.only([2, 0]), 7, 5).tolist() == [expected[2], expected[0]]
    assert folds_of([], 0, 5).shape == (0,)
