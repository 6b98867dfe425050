"""Sums of the sites' training people are the sum of the pooled ones; small sums stay."""

from __future__ import annotations

import numpy as np
from numpy.testing import assert_allclose
from small_sites import ROIS, STUDY, ask, make_site, training_windows

from brainjepa_core.evaluation.splits import fold_of
from brainjepa_core.pretraining.site_sums.basis import connectivity_sum
from brainjepa_core.pretraining.site_sums.coskewness import coskewness_sum
from brainjepa_core.signals.storing.store import ScanStore
from brainjepa_core.signals.windows import Windows
from brainjepa_core.wire.messages import GRADIENTS

PAIRS = ROIS * (ROIS - 1) // 2


def test_sums_over_sites_are_pooled_sums(stores, tmp_path):
    sites = [make_site(store, tmp_path / store.name) for store in stores]
    replies = [site.answer(ask(GRADIENTS)) for site in sites]
    pooled = Windows([ScanStore.open(store) for store in stores], STUDY.windows)
    subjects = [person.records[0].subject for person in pooled.people]
    kept = [i for i, name in enumerate(subjects) if fold_of(name, 0, 5) != 0]
    assert 0 < len(kept) < pooled.subjects
    expected = connectivity_sum(pooled.only(kept))
    assert_allclose(sum(r.arrays["z_sum"] for r in replies), expected.z_sum, rtol=1e-12)
    counts = sum(r.arrays["pair_count"] for r in replies)
    assert np.array_equal(counts, expected.pair_count)
    assert sum(r.metrics["subjects"] for r in replies) == expected.subjects
    for reply in replies:
        assert reply.metrics == {"subjects": reply.arrays["pair_count"].max()}  # nothing besides
        assert reply.arrays.keys() == {"z_sum", "pair_count"}
        assert reply.arrays["z_sum"].dtype == np.float64
        assert reply.arrays["pair_count"].dtype == np.int64
        assert reply.arrays["z_sum"].shape == (PAIRS,)


def test_another_fold_holds_out_other_people(stores, tmp_path):
    replies = [
        make_site(stores[0], tmp_path / str(k)).answer(ask(GRADIENTS, held_out_fold=k))
        for k in range(5)
    ]
    people = sum(reply.metrics["subjects"] for reply in replies)
    assert people == 4 * 12  # everybody is held out once
    for k, reply in enumerate(replies):
        expected = connectivity_sum(training_windows(stores[0], held_out=k))
        assert np.array_equal(reply.arrays["z_sum"], expected.z_sum)


def test_pairs_that_few_people_show_stay_at_the_site(tmp_path):
    from brainjepa_core.atlas import Atlas

    store = ScanStore.create(tmp_path / "store", Atlas.from_names([f"r{i}" for i in range(4)]))
    rng = np.random.default_rng(0)
    for person in range(12):
        series = rng.standard_normal((4, 40))
        series[3] = series[3] if person < 3 else np.nan  # the last ROI is shown by three people
        store.append(series, subject=f"p{person}", tr=2.0)
    trained = sum(fold_of(f"p{i}", 0, 5) != 0 for i in range(3))
    for fewest, shown in ((trained, True), (trained + 1, False)):
        site = make_site(store.path, tmp_path / "state", min_people_in_sum=fewest)
        arrays = site.answer(ask(GRADIENTS)).arrays
        with_last = [2, 4, 5]  # pairs (0, 3), (1, 3), (2, 3)
        assert (arrays["pair_count"][with_last] == (trained if shown else 0)).all()
        assert (arrays["z_sum"][with_last] != 0).all() == shown
        assert (arrays["pair_count"][[0, 1, 3]] > 4).all()


def test_counts_are_rounded_and_the_mean_is_exact(stores, tmp_path):
    exact = make_site(stores[0], tmp_path / "exact").answer(ask(GRADIENTS))
    told = make_site(stores[0], tmp_path / "told", round_counts_to=4).answer(ask(GRADIENTS))
    people, rounded = exact.metrics["subjects"], exact.metrics["subjects"] // 4 * 4
    assert people != rounded == told.metrics["subjects"] == told.arrays["pair_count"].max()
    mean = exact.arrays["z_sum"] / exact.arrays["pair_count"]
    np.testing.assert_allclose(told.arrays["z_sum"] / told.arrays["pair_count"], mean, rtol=1e-12)


PRODUCTS, COUNT = "coskewness.products", "coskewness.pair_count"


def test_co_skewness_over_sites_is_the_pooled_one_where_a_study_asks_for_it(stores, tmp_path):
    sites = [make_site(store, tmp_path / store.name) for store in stores]
    replies = [site.answer(ask(GRADIENTS, coskewness=True)) for site in sites]
    expected = [coskewness_sum(training_windows(store)) for store in stores]
    for reply, own in zip(replies, expected, strict=True):
        assert reply.arrays.keys() == {"z_sum", "pair_count", PRODUCTS, COUNT}
        assert np.array_equal(reply.arrays[PRODUCTS], own.products)  # one site is local, to the bit
        assert np.array_equal(reply.arrays[COUNT], own.pair_count)
        assert reply.arrays[PRODUCTS].shape == (PAIRS + ROIS,)
        assert list(reply.metrics) == ["subjects"]
    pooled = Windows([ScanStore.open(store) for store in stores], STUDY.windows)
    subjects = [person.records[0].subject for person in pooled.people]
    kept = [i for i, name in enumerate(subjects) if fold_of(name, 0, 5) != 0]
    together = coskewness_sum(pooled.only(kept))
    assert_allclose(sum(r.arrays[PRODUCTS] for r in replies), together.products, rtol=1e-9)
    assert np.array_equal(sum(r.arrays[COUNT] for r in replies), together.pair_count)


def test_floors_and_rounding_of_co_skewness_are_those_of_connectivity(stores, tmp_path):
    sums = {store: coskewness_sum(training_windows(store)) for store in stores}
    lacking = [store for store, one in sums.items() if one.pair_count.min() < one.pair_count.max()]
    store, exact = lacking[0], sums[lacking[0]]  # an ROI is missing in somebody
    fewest = int(exact.pair_count.max())
    site = make_site(store, tmp_path, min_people_in_sum=fewest, round_counts_to=7)
    arrays = site.answer(ask(GRADIENTS, coskewness=True)).arrays
    few = exact.pair_count < fewest
    assert not arrays[PRODUCTS][few].any() and not arrays[COUNT][few].any()
    assert (arrays[COUNT][~few] == fewest // 7 * 7).all() and fewest % 7
    mean = exact.products / np.maximum(exact.pair_count, 1)
    assert_allclose((arrays[PRODUCTS] / np.maximum(arrays[COUNT], 1))[~few], mean[~few], rtol=1e-12)
    refused = make_site(stores[0], tmp_path / "other", min_subjects=13)
    assert "min_subjects" in refused.answer(ask(GRADIENTS, coskewness=True)).refusal
