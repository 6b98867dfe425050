"""Windows: a function of person and seed, whatever the cache, the threads, the order of import."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from shared_data import shared

from brainjepa_core.atlas import Atlas
from brainjepa_core.signals.importing.importers import import_site_archive
from brainjepa_core.signals.scaling import official_scale, pooled_scale, zscore
from brainjepa_core.signals.storing.store import ScanStore
from brainjepa_core.signals.temporal import official_indices, resample
from brainjepa_core.signals.window_settings import WindowSettings
from brainjepa_core.signals.windows import Windows

ATLAS = Atlas.from_names([f"r{i}" for i in range(6)])
SMALL = WindowSettings(frames=40, tr=2.0)


def scan(seed: int, frames: int = 100, level: float = 0.0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return (level + rng.standard_normal((6, frames))).astype(np.float32)


def make_store(path: Path, order: list[int] | None = None, **kinds: float) -> ScanStore:
    """Ten people, two scans each: other TRs, missing ROIs and short scans among them."""
    store = ScanStore.create(path, ATLAS)
    for i in range(20) if order is None else order:
        series = scan(i, frames=30 if i == 3 else 100 + i)
        if i % 4 == 1:
            series[i % 6] = np.nan
        tr = kinds.get("tr", (2.0, 0.8, 2.5)[i % 3])
        store.append(series, subject=f"s{i % 10}", run=str(i // 10), tr=tr)
    return store


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> ScanStore:
    return make_store(tmp_path_factory.mktemp("store") / "site")


def bytes_in(windows: Windows) -> int:
    return sum(series.nbytes for series, _ in windows._aligned._cache.scans.values())


def equal(a: tuple, b: tuple) -> bool:
    return all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))


@given(st.integers(0, 9), st.lists(st.integers(0, 2**40), min_size=1, max_size=4).map(tuple))
def test_window_depends_on_person_and_seed_alone(store, subject, seed):
    fresh, used = Windows([store], SMALL), Windows([store], SMALL)
    for i in range(20):
        used.window(i % 10, (i,))
    window = fresh.window(subject, seed)
    assert equal(window, used.window(subject, seed))
    assert window.signal.shape == (6, 40) and window.signal.dtype == np.float32
    assert np.isfinite(window.signal).all()
    assert not window.signal[~window.roi_valid].any()
    assert not window.signal[:, ~window.frame_valid].any()


def test_other_seeds_give_other_windows_all_over_the_scan(tmp_path):
    store = ScanStore.create(tmp_path, ATLAS)
    store.append(np.tile(np.arange(100.0), (6, 1)), subject="s", tr=2.0)
    windows = Windows([store], WindowSettings(frames=97))
    starts = [windows.window(0, (i,)).signal[0, 0] for i in range(200)]
    values, counts = np.unique(starts, return_counts=True)
    assert len(values) == 4 and counts.min() > 25  # 0, 1, 2, 3


def test_order_of_import_does_not_matter(tmp_path):
    forward = make_store(tmp_path / "forward")
    shuffled = make_store(tmp_path / "shuffled", np.random.default_rng(0).permutation(20).tolist())
    assert forward.fingerprint == shuffled.fingerprint
    one, other = Windows([forward], SMALL), Windows([shuffled], SMALL)
    for i in range(10):
        assert one.name(i).split("/")[1] == other.name(i).split("/")[1] == f"s{i}"
        assert equal(one.window(i, (1, 2)), other.window(i, (1, 2)))
        assert equal(one.full_windows(i), other.full_windows(i))


@pytest.mark.parametrize("scaling", ["zscore", "pooled"])
def test_eviction_and_threads_give_the_same_windows(store, scaling):
    settings = SMALL.model_copy(update={"scaling": scaling})
    asked = [(i % 10, (i,)) for i in range(200)]
    expected = [Windows([store], settings).window(*pair) for pair in asked[:20]]
    tiny = Windows([store], settings, cache_bytes=5000)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda pair: tiny.window(*pair), asked))
    roomy = Windows([store], settings)
    assert all(equal(a, b) for a, b in zip(found, expected, strict=False))
    assert all(equal(a, roomy.window(*pair)) for a, pair in zip(found, asked, strict=True))
    assert tiny._aligned._cache.bytes <= 5000 < roomy._aligned._cache.bytes
    assert roomy._aligned._cache.bytes == bytes_in(roomy)


def test_batch_stacks_windows_and_may_be_written_to(store):
    windows = Windows([store], SMALL)
    signal, frames, rois = windows.batch([3, 7], [(0,), (5, 6)])
    assert (signal.shape, frames.shape, rois.shape) == ((2, 6, 40), (2, 40), (2, 6))
    assert equal((signal[1], frames[1], rois[1]), windows.window(7, (5, 6)))
    signal[:] = 9  # must not reach the cache
    assert not equal((signal[1],), windows.window(7, (5, 6))[:1])
    with pytest.raises(ValueError, match="read-only"):
        windows.aligned(7)[0][0][:] = 9


def test_short_scans_are_padded_and_marked(tmp_path):
    store = ScanStore.create(tmp_path, ATLAS)
    store.append(scan(0, 30), subject="s", tr=2.0)
    window = Windows([store], SMALL).window(0, (0,))
    assert window.frame_valid.tolist() == [True] * 30 + [False] * 10
    np.testing.assert_allclose(window.signal[:, :30], zscore(scan(0, 30)))
    signal, frames, _ = Windows([store], SMALL).full_windows(0)
    assert signal.shape == (1, 6, 40) and frames.sum() == 30


@pytest.mark.parametrize(
    ("tr", "frames", "temporal", "short"),
    [
        (2.0, 40, "antialias", 0),
        (2.0, 39, "antialias", 1),
        (4.0, 20, "antialias", 1),  # 39 frames of 2 s lie between its first frame and its last
        (0.735, 110, "antialias", 0),
        (0.735, 110, "official", 1),  # 40 frames of stride 3
        (0.735, 120, "official", 0),
    ],
)
def test_refusing_short_scans_is_exact_and_names_nobody(tmp_path, tr, frames, temporal, short):
    store = ScanStore.create(tmp_path, ATLAS)
    store.append(scan(0, frames), subject="someone", tr=tr)
    refusing = WindowSettings(frames=40, temporal=temporal, short="refuse")
    padding = Windows([store], refusing.model_copy(update={"short": "pad"}))
    assert padding.window(0, (0,)).frame_valid.all() == (not short)
    if not short:
        assert Windows([store], refusing).subjects == 1
        return
    with pytest.raises(
        ValueError, match=r"at least 80 s \(40 frames at 2 s\), found 1 sh"
    ) as error:
        Windows([store], refusing)
    assert "someone" not in str(error.value) and str(tmp_path) not in str(error.value)


def test_full_windows_cover_the_scans_side_by_side(store):
    windows = Windows([store], SMALL)
    for subject in range(10):
        signal, frames, rois = windows.full_windows(subject)
        expected, valid = [], []
        for series, roi_valid in windows.aligned(subject):
            count = max(1, series.shape[1] // 40)
            expected.append(series[:, : count * 40])
            valid += [roi_valid] * count
        joined = np.concatenate([w[:, v] for w, v in zip(signal, frames, strict=True)], axis=1)
        assert np.array_equal(joined, np.concatenate(expected, axis=1))
        assert np.array_equal(rois, valid)


def test_scans_come_at_the_tr_and_the_scale_asked_for(tmp_path):
    store = ScanStore.create(tmp_path, ATLAS)
    store.append(scan(0, 400, level=1e3), subject="fast", tr=0.735)
    store.append(scan(1, 150, level=1e3), subject="same", tr=2.0)
    for subject, ((series, _),) in enumerate(map(Windows([store]).aligned, range(2))):
        np.testing.assert_allclose(series.mean(1), 0, atol=1e-5)
        np.testing.assert_allclose(series.std(1), 1, atol=1e-5)  # whatever the low-pass took
        raw = store.series(store.records[subject])
        resampled = resample(raw, store.records[subject].tr, 2.0)
        np.testing.assert_allclose(series, zscore(resampled), atol=1e-3)


def test_official_windows_follow_the_description(tmp_path):
    store = ScanStore.create(tmp_path, ATLAS)
    store.append(np.tile(np.arange(490.0), (6, 1)), subject="s", tr=0.735)
    windows = Windows([store], WindowSettings(temporal="official"))
    ((series, _),) = windows.aligned(0)
    assert series.shape == (6, 490)
    starts = set()
    for seed in range(100):
        window = windows.window(0, (seed,))
        start = int(np.argmin(np.abs(series[0] - window.signal[0, 0])))
        starts.add(start)
        assert window.frame_valid.all()
        assert np.array_equal(window.signal, series[:, official_indices(490, 160, 3, start)])
    assert starts == set(range(11))  # 0 .. frames - 480


def test_rois_that_lose_their_signal_are_marked_under_every_scaling(tmp_path):
    store = ScanStore.create(tmp_path, ATLAS)
    for i in range(4):
        series = scan(i, level=100.0 * (i + 1))
        series[5] = 7.0  # constant in everybody
        if i == 0:
            series[2] = 3.0  # constant in one
        if i == 1:
            series[4] = np.nan
        store.append(series, subject=f"s{i}", tr=0.8)
    for scaling in ("zscore", "pooled", "official"):
        windows = Windows([store], SMALL.model_copy(update={"scaling": scaling}))
        valid = np.array([windows.window(i, (0,)).roi_valid for i in range(4)])
        gone = np.zeros((4, 6), bool)
        gone[:, 5] = gone[0, 2] = gone[1, 4] = True
        assert np.array_equal(valid, ~gone), scaling
        assert all(np.isfinite(windows.window(i, (0,)).signal).all() for i in range(4))


def test_pooled_scale_is_one_a_site(tmp_path):
    stores = []
    for site, gain in enumerate((1.0, 50.0)):
        stores.append(ScanStore.create(tmp_path / str(site), ATLAS))
        for i in range(3):
            stores[-1].append(gain * (scan(i) + site), subject=f"s{i}", tr=2.0)
    windows = Windows(stores, WindowSettings(frames=40, scaling="pooled"))
    for i in range(3):
        (one,), (other,) = windows.aligned(i), windows.aligned(i + 3)
        np.testing.assert_allclose(one[0], other[0], atol=1e-3)


def test_empty_and_differing_stores(tmp_path, store):
    empty = ScanStore.create(tmp_path / "empty", ATLAS)
    for nothing in ([], [empty]):
        with pytest.raises(ValueError, match="at least one store with a scan, found none"):
            Windows(nothing)
    pooled = SMALL.model_copy(update={"scaling": "pooled"})
    assert Windows([empty, store], pooled).window(0, (0,)).signal.shape == (6, 40)
    other = ScanStore.create(tmp_path / "other", Atlas.from_names(ATLAS.rois[::-1], "reversed"))
    with pytest.raises(ValueError, match=r"'named list' \(6 ROIs\) and 'reversed' \(6\), or anoth"):
        Windows([store, other])


def test_describe_is_what_a_checkpoint_must_agree_with(store):
    facts = Windows([store], SMALL).describe()
    assert facts == {"frames": 40, "tr": 2.0, "temporal": "antialias", "scaling": "zscore"}
    assert WindowSettings(**facts) == SMALL
    with pytest.raises(ValidationError, match="Extra inputs are not permitted"):
        WindowSettings(frame=3)


def test_twelve_sites_are_one_pool(tmp_path):
    folder = shared("data", "abide")
    sites = sorted(path for path in folder.glob("*.npz") if path.stem != "project_450")
    people = folder / "participants.tsv"
    stores = [import_site_archive(site, tmp_path / site.stem, people) for site in sites]
    windows = Windows(stores)
    assert (len(stores), windows.subjects) == (12, 312)
    assert len({windows.name(i) for i in range(312)}) == 312
    padded = sum(not windows.window(i, (0,)).frame_valid.all() for i in range(0, 312, 6))
    assert 0 < padded < 20
    with pytest.raises(ValueError, match=r"at least 320 s .* found \d+ shorter") as error:
        Windows(stores, WindowSettings(short="refuse"))
    assert not any(site.stem in str(error.value) for site in sites)


def test_windows_of_some_people_are_theirs_under_new_numbers(store):
    whole = Windows([store], SMALL)
    some = whole.only([7, 3, 0])
    assert (some.subjects, whole.subjects) == (3, 10)
    assert [some.name(i) for i in range(3)] == [whole.name(i) for i in (7, 3, 0)]
    for new, old in enumerate((7, 3, 0)):
        assert equal(some.full_windows(new), whole.full_windows(old))
        assert equal(some.window(new, (5,)), some.window(new, (5,)))
    again = some.only(np.array([2, 0]))
    assert [again.name(i) for i in range(2)] == [whole.name(0), whole.name(7)]
    assert some.describe() == whole.describe() and some.atlas is whole.atlas


def test_a_person_alone_is_a_function_of_their_new_number(store):
    """The same people in the same order give the same windows, whoever was left out."""
    first = Windows([store], SMALL).only([4, 1])
    other = Windows([store], SMALL).only([9, 4, 1]).only([1, 2])
    assert equal(first.batch([0, 1], [(0,), (1,)]), other.batch([0, 1], [(0,), (1,)]))


def test_some_people_share_the_cache_of_all(store):
    whole = Windows([store], SMALL, cache_bytes=5000)
    some = whole.only(range(5))
    for subject in range(10):
        whole.full_windows(subject)
        some.full_windows(subject % 5)
    assert some._aligned is whole._aligned
    assert whole._aligned._cache.bytes == bytes_in(whole) <= 5000


@pytest.mark.parametrize(
    ("people", "found"),
    [([], "0 numbers, 0 repeated and 0"), ([1, 1], "2 numbers, 1 repeated and 0"),
     ([0, 10], "2 numbers, 0 repeated and 1"), ([-1], "1 numbers, 0 repeated and 1")],
)  # fmt: skip
def test_people_that_cannot_be_chosen(store, people, found):
    text = f"expected at least one of the 10 people, each once, found {found} that nobody has"
    with pytest.raises(ValueError, match=text):
        Windows([store], SMALL).only(people)


def two_sites(path: Path, held_out: float = 1.0) -> list[ScanStore]:
    """Five people a site, some with two scans; those of number 3 and 4 times a number."""
    stores = []
    for site, gain in enumerate((1.0, 50.0)):
        stores.append(ScanStore.create(path / f"site-{site}", ATLAS))
        for i in range(7):
            series = gain * (scan(10 * site + i, level=5.0 * (i + 1)) + site)
            series *= held_out if i % 5 > 2 else 1.0
            stores[-1].append(series, subject=f"s{i % 5}", run=str(i // 5), tr=2.0)
    return stores


@pytest.mark.parametrize("scaling", ["pooled", "official"])
def test_a_scale_of_some_people_is_that_of_stores_with_nobody_else(tmp_path, scaling):
    settings = SMALL.model_copy(update={"scaling": scaling})
    whole = two_sites(tmp_path / "whole")
    some = [ScanStore.create(tmp_path / "some" / str(site), ATLAS) for site in (0, 1)]
    for store, part in zip(whole, some, strict=True):
        for record in store.records:
            if record.subject in ("s0", "s1", "s2"):
                part.append(
                    store.series(record), subject=record.subject, run=record.run, tr=record.tr
                )
    scaled = Windows(whole, settings).scaled_on([0, 1, 2, 5, 6, 7])
    expected = Windows(some, settings)
    assert scaled.subjects == 10
    for place, person in enumerate((0, 1, 2, 5, 6, 7)):
        assert equal(scaled.full_windows(person), expected.full_windows(place))


@pytest.mark.parametrize("scaling", ["pooled", "official"])
def test_held_out_people_do_not_influence_a_scale(tmp_path, scaling):
    settings = SMALL.model_copy(update={"scaling": scaling})
    plain, loud = (
        Windows(two_sites(tmp_path / str(gain), gain), settings) for gain in (1.0, 1000.0)
    )
    train = [0, 1, 2, 5, 6, 7]
    for person in range(10):  # fills the caches with scans at the scale of all
        plain.full_windows(person), loud.full_windows(person)
    assert not equal(plain.full_windows(0), loud.full_windows(0))
    before, after = plain.scaled_on(train), loud.scaled_on(train)
    for person in train:
        assert equal(before.full_windows(person), after.full_windows(person))
    assert not equal(plain.full_windows(0), before.full_windows(0))  # and its own is as it was


@pytest.mark.parametrize(
    ("scaling", "people", "borrows"),
    [("pooled", [0, 1, 2], True), ("pooled", [0, 1, 9], False), ("official", [0, 1, 9], True)],
)
def test_a_site_without_people_of_its_own_borrows_the_scale_of_all(
    tmp_path, scaling, people, borrows
):
    windows = Windows(two_sites(tmp_path), SMALL.model_copy(update={"scaling": scaling}))
    scans = [
        windows.stores[windows.people[person].store].series(record)
        for person in people
        for record in windows.people[person].records
    ]
    make = {"pooled": pooled_scale, "official": official_scale}[scaling]
    shared = make(scans)
    ((found, _),) = windows.scaled_on(people).aligned(9)
    raw = windows.stores[1].series(windows.people[9].records[0])
    assert np.array_equal(found, shared.apply(raw)) == borrows


def test_scaling_that_learns_nothing_stays_as_it_is(store):
    windows = Windows([store], SMALL)
    assert windows.scaled_on([3]) is windows
    with pytest.raises(ValueError, match=r"at least one of the 10 people, .* found 0 numbers"):
        windows.scaled_on([])
