"""Trimmed mean and median: as defined, in any order, and unmoved by a poisoned minority."""

from __future__ import annotations

import statistics

import numpy as np
import pytest
from scipy import stats

from brainjepa_server.combining import robust
from brainjepa_server.combining.robust import Spooled, coordinate_median, trimmed_mean
from brainjepa_server.combining.validation import Update

SHAPES = {"encoder.a": (9, 5), "encoder.b": (1,), "predictor.c": (13,)}
BASE = {n: np.zeros(s, np.float32) for n, s in SHAPES.items()}


def make_update(seed: int, shift: float = 0.0, wire: str = "fp32") -> Update:
    rng = np.random.default_rng(seed)
    arrays = {n: np.asarray(rng.standard_normal(s) + shift, np.float32) for n, s in SHAPES.items()}
    if wire == "bf16":
        arrays = {n: np.asarray(a.view(np.uint32) >> 16, np.uint16) for n, a in arrays.items()}
    return Update(arrays, wire, 10.0**seed, 0.0, {})


def combine(updates, tmp_path, kind="median", trim=0.2):
    spooled = Spooled(BASE, kind, trim, tmp_path)
    for update in updates:
        spooled.add(update)
    return spooled.result()


@pytest.mark.parametrize("block", [1, 4, 1 << 18])
@pytest.mark.parametrize("wire", ["fp32", "bf16"])
@pytest.mark.parametrize("sites", [1, 2, 3, 6])
def test_they_are_what_the_definitions_say(tmp_path, monkeypatch, block, wire, sites):
    monkeypatch.setattr(robust, "BLOCK", block)
    updates = [make_update(seed, wire=wire) for seed in range(sites)]
    found = combine(updates, tmp_path)
    trimmed = combine(updates, tmp_path, "trimmed_mean", 0.34)
    for name in SHAPES:
        values = np.stack([dict(u.values(BASE))[name] for u in updates]).astype("f8")
        columns = values.reshape(sites, -1).T
        expected = [statistics.median(column) for column in columns]
        np.testing.assert_array_equal(found[name].ravel(), expected)
        cut = {1: 0, 2: 0, 3: 1, 6: 2}[sites]
        expected = [statistics.fmean(sorted(c)[cut : sites - cut]) for c in columns]
        np.testing.assert_allclose(trimmed[name].ravel(), expected, rtol=1e-12, atol=1e-15)
        assert found[name].shape == SHAPES[name] and found[name].dtype == np.float64
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("sites", "trim"), [(10, 0.2), (20, 0.1), (5, 0.2), (100, 0.07)])
def test_where_the_share_is_whole_it_is_scipys_trimmed_mean(sites, trim):
    values = np.random.default_rng(0).standard_normal((sites, 8))
    cut = round(sites * trim) / sites + 1e-9
    np.testing.assert_allclose(
        trimmed_mean(values, trim), stats.trim_mean(values, cut, axis=0), rtol=1e-13
    )


def test_few_sites_lose_at_least_the_share_asked_for_and_one_is_left():
    values = np.array([[1.0], [2.0], [90.0]])
    assert trimmed_mean(values, 0.2) == 2 and trimmed_mean(values, 0.49) == 2
    assert trimmed_mean(values[1:], 0.2) == 46 and trimmed_mean(values[:1], 0.4) == 1


@pytest.mark.parametrize("kind", ["median", "trimmed_mean"])
def test_a_poisoned_minority_cannot_leave_the_range_of_the_honest(tmp_path, kind):
    honest = [make_update(seed) for seed in range(5)]
    poisoned = [make_update(7, 1e30), make_update(8, 1e30)]
    found = combine(poisoned + honest, tmp_path, kind, 0.29)
    for name in SHAPES:
        values = np.stack([u.arrays[name] for u in honest])
        assert (found[name] >= values.min(0)).all() and (found[name] <= values.max(0)).all()


@pytest.mark.parametrize("kind", ["median", "trimmed_mean"])
def test_the_order_of_replies_does_not_show(tmp_path, kind):
    updates = [make_update(seed) for seed in range(6)]
    one, other = combine(updates, tmp_path, kind), combine(updates[::-1], tmp_path, kind)
    assert all(one[n].tobytes() == other[n].tobytes() for n in SHAPES)


def test_a_site_that_is_alone_gives_back_its_weights(tmp_path):
    update = make_update(3)
    for kind in ("median", "trimmed_mean"):
        found = combine([update], tmp_path, kind)
        assert all((found[n].astype("f4") == update.arrays[n]).all() for n in SHAPES)


def test_replies_wait_on_disk_and_nothing_is_no_reply(tmp_path):
    spooled = Spooled(BASE, "median", folder=tmp_path)
    with pytest.raises(ValueError, match="expected at least one usable reply in a round, found n"):
        spooled.result()
    spooled.add(make_update(0))
    files = [p for p in tmp_path.rglob("*") if p.is_file()]
    assert [p.stat().st_size for p in files] == [4 * (45 + 1 + 13)]


def test_median_of_an_even_number_does_not_overflow():
    assert np.isfinite(coordinate_median(np.full((2, 1), 3e38, np.float32))).all()
